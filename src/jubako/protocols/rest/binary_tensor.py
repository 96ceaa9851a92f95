"""Binary tensors of one request: views of its body, strings out of it, copies of shared memory."""

import numpy as np

from jubako.errors import InvalidArgument
from jubako.protocols.rest.json_tensor import size_of
from jubako.protocols.rest.plan import BinaryTensor, Body, ReplyPlan
from jubako.protocols.shared_memory import Copies, Place, Regions
from jubako.request import label
from jubako.tensor import CUT_STRING, Array, decode_bytes


def view(body: Body, start: int, tensor: BinaryTensor) -> Array:
    """Return a view of `body`, whose header ends at `start`; the bytes must be the shape's."""
    return np.ndarray(tensor.shape, tensor.datatype.dtype, body, start + tensor.offset)


def strings(body: memoryview, start: int, tensor: BinaryTensor, model: str, request_id: str) -> Array:
    """Return the strings of a BYTES tensor.

    Raises:
        InvalidArgument: not as many as its shape has, or cut short.
    """
    begin = start + tensor.offset
    try:
        return decode_bytes(body[begin : begin + tensor.size], tensor.shape, tensor.name, model)
    except InvalidArgument as error:
        if str(error).startswith(CUT_STRING):
            raise
        raise InvalidArgument(f"{label(request_id)}{error}") from error


def has_its_size(tensor: BinaryTensor) -> bool:
    """Whether its bytes are as many as its shape takes."""
    return tensor.datatype.size is None or tensor.size == size_of(tensor.datatype, tensor.shape, tensor.name)


def view_or_nothing(body: Body, start: int, tensor: BinaryTensor) -> Array:
    """Return a view; an empty array where the bytes are not the shape's, which the admission is going to refuse."""
    if not has_its_size(tensor):
        return np.empty(0, tensor.datatype.dtype)
    return view(body, start, tensor)


def copied(copies: Copies, tensor: BinaryTensor, place: Place, model: str, request_id: str) -> Array:
    """Return a tensor that lies in shared memory, copied.

    Raises:
        JubakoError: there is no such region, or it has not those bytes.
    """
    data = copies.take(tensor.name, place)
    if tensor.datatype.size is None:
        return strings(data, 0, tensor, model, request_id)
    if not has_its_size(tensor):
        return np.empty(0, tensor.datatype.dtype)
    return np.ndarray(tensor.shape, tensor.datatype.dtype, data)


def held(reply: ReplyPlan, regions: Regions) -> ReplyPlan:
    """Return `reply` with the slots of its outputs held, so that they outlast their regions' registration."""
    if not reply.shared:
        return reply
    slots = {name: regions.slot(output.place) for name, output in reply.outputs.items() if output.place is not None}
    return ReplyPlan(reply.outputs, reply.default, reply.plain, shared=True, slots=slots, heads=reply.heads)
