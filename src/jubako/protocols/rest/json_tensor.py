"""Tensors written as JSON lists: checked and narrowed as Triton does (http.md section 4.1)."""

from typing import Any, Final

import numpy as np

from jubako.errors import Internal, InvalidArgument
from jubako.tensor import Array, Datatype, element_count

MAX_DEPTH: Final = 100
"""Triton refuses a tensor in this many lists, one in another."""
TOO_DEEP: Final = f"JSON nesting depth exceeds maximum allowed limit ({MAX_DEPTH})"

_INTEGER = frozenset((int,))
_NUMBER = frozenset((int, float))
_BOOLEAN = frozenset((bool,))
_STRING = frozenset((str,))

_ACCEPTED: Final = {
    "b": (_BOOLEAN, "non-boolean as boolean"),
    "u": (_INTEGER, "non-unsigned-integer as unsigned-integer"),
    "i": (_INTEGER, "non-signed-integer as signed-integer"),
    "f": (_NUMBER, "non-number as double"),
}
"""By dtype kind: the JSON types that pass, and Triton's words for the others."""


class WrongStringCount(InvalidArgument):
    """Not as many strings as the shape has elements; Triton names the request that this happens to."""


def decode_list(
    data: Any, datatype: Datatype, shape: tuple[int, ...], name: str, model: str, max_input_size: int
) -> Array:
    """Return the tensor that the JSON value `data` holds: nested as it likes, row-major, integers truncated to fit.

    Raises:
        InvalidArgument: FP16 or BF16, too deep, or too large once expanded; `WrongStringCount`.
        Internal: an element of another type, or a count that is not the shape's (Triton answers 500).
    """
    expected = element_count(shape, name)
    _check_size(expected, datatype, name, max_input_size)
    if not expected:
        return np.empty(shape, datatype.dtype)
    refuse_halves(datatype, name)
    if datatype is Datatype.BYTES:
        return _strings(data, expected, name, model).reshape(shape)
    flat = _flatten(data, "Unable to parse 'data': ")
    accepted, wrong = _ACCEPTED[datatype.dtype.kind]
    if not accepted.issuperset(map(type, flat)):
        raise Internal(f"Unable to parse 'data': attempt to access JSON {wrong}")
    if len(flat) > expected:
        raise Internal("Unable to parse 'data': Shape does not match true shape of 'data' field")
    if len(flat) < expected:
        raise Internal("Failed to parse 'data' field: shape does not match true shape")
    return _narrow(flat, datatype, wrong).reshape(shape)


def refuse_halves(datatype: Datatype, name: str) -> None:
    """Refuse the datatypes that have no JSON.

    Raises:
        InvalidArgument: FP16 or BF16.
    """
    if datatype in (Datatype.FP16, Datatype.BF16):
        raise InvalidArgument(
            f"receiving {datatype.name} data via JSON is not supported. Please use the binary data format for input "
            f"{name}"
        )


def _strings(data: Any, expected: int, name: str, model: str) -> Array:
    """Return strings as a flat array of their bytes.

    Triton writes them as a binary tensor before it counts them, so that the words are those for binary ones.
    """
    flat = _flatten(data, "")
    if not _STRING.issuperset(map(type, flat)):
        raise Internal("Unable to parse JSON bytes array: attempt to access JSON non-string as string")
    if len(flat) > expected:
        raise WrongStringCount(
            f"unexpected number of string elements {expected + 1} for inference input '{name}' for model '{model}', "
            f"expecting {expected}"
        )
    if len(flat) < expected:
        raise WrongStringCount(
            f"expected {expected} string elements for inference input '{name}' for model '{model}', got {len(flat)}"
        )
    array = np.empty(len(flat), dtype=object)
    array[:] = [text.encode("utf-8", "surrogatepass") for text in flat]
    return array


def _check_size(count: int, datatype: Datatype, name: str, limit: int) -> None:
    size = count * (datatype.size or 4)
    if size > limit:
        raise InvalidArgument(
            f"JSON input '{name}' has a byte_size ({size} bytes) that exceeds the maximum allowed value of {limit} "
            "bytes. Use --http-max-input-size to increase the limit."
        )


def _flatten(data: Any, prefix: str) -> list[Any]:
    if type(data) is not list:
        raise Internal("Unable to parse 'data': attempt to access JSON non-array as array")
    if list not in set(map(type, data)):
        return data
    flat: list[Any] = []
    _extend(flat, data, 1, prefix)
    return flat


def _extend(flat: list[Any], data: list[Any], depth: int, prefix: str) -> None:
    if depth >= MAX_DEPTH:
        raise InvalidArgument(f"{prefix}{TOO_DEEP}")
    if list not in set(map(type, data)):
        flat.extend(data)
        return
    for item in data:
        if type(item) is list:
            _extend(flat, item, depth + 1, prefix)
        else:
            flat.append(item)


def _narrow(flat: list[Any], datatype: Datatype, wrong: str) -> Array:
    kind = datatype.dtype.kind
    if kind == "f":
        with np.errstate(over="ignore"):  # 1e300 in FP32 is an infinity, as in C
            return np.array(flat, dtype=np.float64).astype(datatype.dtype, copy=False)
    if kind == "b":
        return np.array(flat, dtype=np.bool_)
    try:
        if kind == "u" and min(flat) < 0:
            raise OverflowError
        return np.array(flat, dtype=np.uint64 if kind == "u" else np.int64).astype(datatype.dtype, copy=False)
    except OverflowError as error:
        raise Internal(f"Unable to parse 'data': attempt to access JSON {wrong}") from error


def size_of(datatype: Datatype, shape: tuple[int, ...], name: str) -> int | None:
    """Return the bytes that a binary tensor takes; None where its elements vary.

    Raises:
        InvalidArgument: the element count, or the byte size, passes INT64_MAX.
    """
    if datatype.size is None:
        return None
    count = element_count(shape, name)
    size = count * datatype.size
    if size > 2**63 - 1:
        raise InvalidArgument(
            f"byte size overflow for input '{name}': element count ({count}) * data type size ({datatype.size}) "
            f"exceeds maximum allowed size ({2**63 - 1})"
        )
    return size
