"""Answers of inference, from arrays to bytes. No gRPC, and no I/O but to the shared memory that a client asks for.

Outputs always travel in `raw_output_contents` (grpc.md section 3.4). What answers with the same outputs have in common
is remembered; the id and the tensors are set behind it, because protobuf reads fields in any order.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from jubako.errors import InvalidArgument
from jubako.protocols.classification import classify
from jubako.protocols.grpc.plan import Buffer, Encoded, Head, ReplyPlan
from jubako.protocols.grpc.wire import prefix
from jubako.request import InferResponse, ParameterValue, TensorSpec
from jubako.tensor import Array, Datatype, encode_bytes

REMEMBERED_HEADS: Final = 256
MAX_SIZE: Final = 2**31 - 1
_ID: Final = 3
_RAW_OUTPUT: Final = 6
_NOTHING: Final = np.empty(0, np.uint8)


def encode(response: InferResponse, plan: ReplyPlan) -> Encoded:
    """Return an answer that is not an error as a ModelInferResponse.

    Outputs come in the model's order. Tensors are the response's own arrays, not copies, where their layout allows.
    Those that go to shared memory are there when this returns.

    Raises:
        InvalidArgument: an output cannot be written as asked (classes of strings), or the answer is too large.
        Internal: its place in shared memory is too small.
    """
    assert response.signature is not None
    arrays = response.arrays if not plan.slots else _stored(response, plan)
    head = plan.heads.get(response.signature)
    if head is None:
        return _encode_anew(response, plan, arrays)
    parts: list[Buffer] = [head.message]
    size = head.size or len(head.message)
    request_id = response.request.id
    if request_id:
        written = request_id.encode()
        before = prefix(_ID, len(written))
        parts += (before, written)
        size += len(before) + len(written)
    if head.size:
        for before, array in zip(head.prefixes, arrays, strict=True):
            parts += (before, array if array.flags.c_contiguous else np.ascontiguousarray(array))
    else:
        for spec, array in zip(response.signature.outputs, arrays, strict=True):
            size += _append(parts, array, spec.datatype)
    return _finished(parts, size, response)


def _stored(response: InferResponse, plan: ReplyPlan) -> Sequence[Array]:
    """Write the outputs that go to shared memory there, and return all with nothing in the place of those."""
    assert response.signature is not None
    arrays = []
    for spec, array in zip(response.signature.outputs, response.arrays, strict=True):
        slot = plan.slots.get(spec.name)
        if slot is not None:
            slot.write(
                spec.name, encode_bytes(array) if spec.datatype is Datatype.BYTES else np.ascontiguousarray(array)
            )
            array = _NOTHING
        arrays.append(array)
    return arrays


def _append(parts: list[Buffer], array: Array, datatype: Datatype) -> int:
    data: Buffer = encode_bytes(array) if datatype is Datatype.BYTES else np.ascontiguousarray(array)
    length = data.nbytes if isinstance(data, np.ndarray) else len(data)
    before = prefix(_RAW_OUTPUT, length)
    parts += (before, data)
    return len(before) + length


def _finished(parts: list[Buffer], size: int, response: InferResponse) -> Encoded:
    if response.parameters:
        written = _parameters(response.parameters)
        parts.append(written)
        size += len(written)
    if size > MAX_SIZE:
        raise InvalidArgument(f"Response has byte size {size} which exceeds gRPC's byte size limit {MAX_SIZE}.")
    return Encoded(parts, size)


def _parameters(parameters: Mapping[str, ParameterValue]) -> bytes:
    message = pb.ModelInferResponse()
    for key, value in parameters.items():
        match value:
            case bool():
                message.parameters[key].bool_param = value
            case int():
                message.parameters[key].int64_param = value
            case float():
                message.parameters[key].double_param = value
            case str():
                message.parameters[key].string_param = value
    written: bytes = message.SerializeToString()
    return written


def _encode_anew(response: InferResponse, plan: ReplyPlan, arrays: Sequence[Array]) -> Encoded:
    signature = response.signature
    assert signature is not None
    message = pb.ModelInferResponse(model_name=signature.model_name, model_version=str(signature.model_version))
    tensors: list[Buffer] = []
    size = 0
    for spec, array in zip(signature.outputs, arrays, strict=True):
        if count := plan.classes.get(spec.name):
            labels = (response.labels or {}).get(spec.name, ())
            array = classify(array, spec.datatype, count, labels, response.batched)
            spec = TensorSpec(spec.name, Datatype.BYTES, array.shape)
        message.outputs.add(name=spec.name, datatype=spec.datatype.name, shape=spec.shape)
        size += _append(tensors, array, spec.datatype)
    written: bytes = message.SerializeToString()
    if not plan.classes:
        fixed = all(spec.datatype.size for spec in signature.outputs)
        prefixes = [before for before in tensors[::2] if isinstance(before, bytes)]
        if len(plan.heads) >= REMEMBERED_HEADS:
            plan.heads.clear()
        plan.heads[signature] = Head(written, prefixes, len(written) + size) if fixed else Head(written)
    before = pb.ModelInferResponse(id=response.request.id).SerializeToString()
    return _finished([written, before, *tensors], len(written) + len(before) + size, response)


def joined(parts: Sequence[Buffer]) -> bytes:
    """Return `parts` as one; arrays are read where they lie."""
    return b"".join(cast("Sequence[bytes]", parts))  # numpy's types do not say that an array is a buffer
