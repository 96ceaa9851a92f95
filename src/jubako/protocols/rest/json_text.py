"""JSON as Triton reads and writes it: fast where it is ordinary, RapidJSON's words where it is wrong.

orjson reads almost everything. What it refuses (NaN, Infinity, plain mistakes) is read again by RapidJSON, Triton's own
parser, so that literals mean the same and errors are worded the same. RapidJSON's binding recurses, so depth is bounded
before it is called.
"""

import codecs
import json
import math
import re
from typing import Any, Final

import numpy as np
import orjson
import rapidjson

from jubako.errors import Internal, InvalidArgument
from jubako.tensor import Array

MAX_DEPTH: Final = 512
"""Nesting of a whole document; tensors have a bound of their own."""
CHUNK: Final = 1 << 20
TOO_MANY_DIGITS: Final = re.compile(rb"[0-9]{309}")
"""What an integer beyond every double has, and what Python would read all the same."""
_DOUBLES: Final = rapidjson.NM_NAN | rapidjson.NM_NATIVE
FAILED: Final = "failed to parse the request JSON buffer"
PARSE_ERROR: Final = re.compile(r"Parse error at offset (?P<offset>[0-9]+): (?P<what>.*)", re.DOTALL)


def parse(text: bytes | bytearray | memoryview) -> Any:
    """Return the document in `text`.

    Raises:
        Internal: it does not parse (Triton answers 500); RapidJSON's message and offset.
        InvalidArgument: it is nested more than 512 deep.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _parse_again(bytes(text).removeprefix(codecs.BOM_UTF8))


def _parse_again(text: bytes) -> Any:
    if _depth(text) > MAX_DEPTH:
        raise InvalidArgument(f"JSON nesting depth exceeds maximum allowed limit ({MAX_DEPTH})")
    try:
        return rapidjson.loads(text, number_mode=_DOUBLES if TOO_MANY_DIGITS.search(text) else rapidjson.NM_NAN)
    except UnicodeDecodeError as error:
        raise _not_utf8(text, error.start) from error
    except (rapidjson.JSONDecodeError, ValueError) as error:
        raise Internal(f"{FAILED}: {_rapidjson_text(str(error), text)}") from error


def _not_utf8(text: bytes, position: int) -> Internal:
    """Return what is wrong with a text that is no UTF-8 from `position` on: perhaps something before that."""
    readable = re.sub("[\udc80-\udcff]", "?", text.decode("utf-8", "surrogateescape"))
    try:
        rapidjson.loads(readable, number_mode=rapidjson.NM_NAN)
    except (rapidjson.JSONDecodeError, ValueError) as error:
        found = PARSE_ERROR.match(str(error))
        if found and int(found["offset"]) <= position:
            return Internal(f"{FAILED}: {_rapidjson_text(str(error), text)}")
    return Internal(f"{FAILED}: Invalid encoding in string. at {position}")


def _rapidjson_text(message: str, text: bytes) -> str:
    """Turn `Parse error at offset 3: Invalid value.` into `Invalid value. at 3`, as Triton prints it.

    Triton's older RapidJSON has another word for a control character that stands in a string as it is.
    """
    found = PARSE_ERROR.match(message)
    if not found:
        return message
    offset, what = int(found["offset"]), found["what"]
    if what == "Invalid encoding in string." and text[offset : offset + 1] < b" ":
        what = "Invalid escape character in string."
    return f"{what} at {offset}"


def _depth(text: bytes) -> int:
    """Return no less than the nesting depth of `text`: brackets inside strings count as well."""
    depth = deepest = 0
    for start in range(0, len(text), CHUNK):
        codes = np.frombuffer(text, np.uint8, count=min(CHUNK, len(text) - start), offset=start)
        folded = codes | 0x20  # [ and { are 5b and 7b, ] and } are 5d and 7d
        steps = (folded == 0x7B).astype(np.int32) - (folded == 0x7D).astype(np.int32)
        levels = np.cumsum(steps, dtype=np.int32)
        deepest = max(deepest, depth + int(levels.max()))
        depth += int(levels[-1])
    return deepest


def dump(document: Any) -> bytes:
    """Return `document` as compact JSON; numpy arrays in it are flat lists."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def dump_value(value: str | int | float | bool) -> bytes:
    """Return a parameter's value as JSON; what is not finite as in `dump_numbers`."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value).encode()
    return orjson.dumps(value)


def dump_numbers(array: Array) -> bytes:
    """Return a numeric array as a flat JSON list.

    FP32 goes through double, as in Triton (0.1 is 0.10000000149011612); what is not finite is written as the bare
    `NaN`, `Infinity` and `-Infinity`.
    """
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind == "f":
        flat = flat.astype(np.float64)
        if not np.isfinite(flat).all():
            return json.dumps(flat.tolist(), separators=(",", ":")).encode()
    return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
