"""Bodies of `infer`, from bytes to a request. No I/O, no HTTP.

A client's JSON header repeats from request to request, all but its id. What it says (names, shapes, datatypes, offsets,
how to answer) is remembered with the runner under the header's bytes, so that a repeated request costs one look-up
and a view for each tensor, and finds its checks done (`Signature.reusable`).
"""

from typing import Final

import numpy as np

from jubako.errors import InvalidArgument
from jubako.protocols.rest.binary_tensor import held, strings, view
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import Body, Plan, ReplyPlan
from jubako.protocols.rest.raw import decode_raw
from jubako.protocols.rest.reading import Reading
from jubako.protocols.shared_memory import NO_REGIONS, Copies, Regions
from jubako.request import InferRequest
from jubako.runner import Runner

ID_HEAD: Final = b'{"id":"'


def header_length(value: bytes | None, body_size: int) -> int:
    """Return the JSON's length from the `Inference-Header-Content-Length` header; all of the body without one.

    Reads a number as C's `stoi` does: leading blanks and a sign are taken, what follows the digits is ignored.

    Raises:
        InvalidArgument: no number, or one out of range.
    """
    if value is None:
        return body_size
    length = int(value) if value.isdigit() and len(value) < 10 else _stoi(value.decode("latin-1"))
    if length < 0 or length > body_size:
        raise InvalidArgument(f"inference header size should be in range (0, {body_size}), got: {length}")
    return length


def _stoi(text: str) -> int:
    stripped = text.lstrip(" \t\n\v\f\r")
    sign = stripped[:1] if stripped[:1] in ("+", "-") else ""
    digits = stripped[len(sign) :]
    end = next((i for i, c in enumerate(digits) if c not in "0123456789"), len(digits))
    if not end:
        raise InvalidArgument(f"Unable to parse Inference-Header-Content-Length, got: {text}")
    value = int(sign + digits[:end]) if end < 20 else 2**63
    if not -(2**31) <= value < 2**31:
        raise InvalidArgument(
            "Unable to parse Inference-Header-Content-Length, value is out of range [ -2147483648, 2147483647 ], got: "
            f"{text}"
        )
    return value


def decode(
    body: Body, length: int, runner: Runner, limits: Limits, start_ns: int, regions: Regions = NO_REGIONS
) -> tuple[InferRequest, ReplyPlan]:
    """Return the request in `body`, whose JSON is the first `length` bytes, and how to answer it.

    Fixed-size binary tensors are views of `body`; those in shared memory are copies.

    Raises:
        JubakoError: the body is not a request; Triton's class and words.
    """
    if length == 0:
        return decode_raw(body, runner, limits, start_ns)
    header = bytes(body[:length])
    request_id, key = _split_id(header)
    plan = runner.memo.get(key)
    if isinstance(plan, Plan) and len(body) - length == plan.total:
        if plan.shared:
            return _shared(body, length, plan, runner, limits, regions, request_id, start_ns)
        arrays = [
            view(body, length, tensor)
            if tensor.datatype.size
            else strings(memoryview(body), length, tensor, runner.name, request_id)
            for tensor in plan.tensors
        ]
        return (
            InferRequest(runner.name, runner.version, plan.signature, arrays, request_id, start_ns),
            plan.reply,
        )
    return Reading(body, header, key, runner, limits, regions).request(start_ns)


def _shared(
    body: Body,
    length: int,
    plan: Plan,
    runner: Runner,
    limits: Limits,
    regions: Regions,
    request_id: str,
    start_ns: int,
) -> tuple[InferRequest, ReplyPlan]:
    """Return a repeated request with tensors in shared memory: what is there now, if its regions still are."""
    copies = Copies(regions, limits.max_body_size)
    arrays = []
    for tensor in plan.tensors:
        if tensor.place is not None:
            data, start = copies.take(tensor.name, tensor.place), 0
        else:
            data, start = memoryview(body), length
        if tensor.datatype.size:
            arrays.append(np.ndarray(tensor.shape, tensor.datatype.dtype, data, start + tensor.offset))
        else:
            arrays.append(strings(data, start, tensor, runner.name, request_id))
    request = InferRequest(runner.name, runner.version, plan.signature, arrays, request_id, start_ns)
    return request, held(plan.reply, regions)


def _split_id(header: bytes) -> tuple[str, bytes]:
    """Cut a leading id off, where it is plain text: what is left repeats from request to request."""
    if header.startswith(ID_HEAD):
        end = header.find(b'"', len(ID_HEAD))
        text = header[len(ID_HEAD) : end]
        if end > 0 and text.isascii() and b"\\" not in text and (name := text.decode()).isprintable():
            return name, header[end:]
    return "", header
