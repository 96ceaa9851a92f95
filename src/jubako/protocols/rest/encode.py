"""Responses of `infer`, from arrays to bytes. No HTTP, and no I/O but to the shared memory that a client asks for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from jubako.errors import InvalidArgument
from jubako.protocols.classification import classify
from jubako.protocols.rest.json_text import dump, dump_numbers, dump_value
from jubako.protocols.rest.plan import Buffer, Encoded, ReplyPlan
from jubako.request import InferResponse, ParameterValue, TensorSpec
from jubako.tensor import Array, Datatype, encode_bytes

REMEMBERED_HEADS: Final = 256


def encode(response: InferResponse, plan: ReplyPlan) -> Encoded:
    """Return the body of an answer that is not an error.

    Outputs come in the model's order. Tensors are the response's own arrays, not copies, where their layout allows.
    Those that go to shared memory are there when this returns.

    Raises:
        InvalidArgument: an output cannot be written as asked: FP16 in JSON, classes of strings.
        Internal: its place in shared memory is too small.
    """
    assert response.signature is not None
    if plan.plain and not response.parameters and (head := plan.heads.get(response.signature)) is not None:
        tail, size = head
        json = (b'{"id":%b,' % orjson.dumps(response.request.id) if response.request.id else b"{") + tail
        arrays = response.arrays if not plan.shared else _not_stored(response, plan)
        return Encoded(json, arrays, len(json) + size, size > 0)
    return _encode_anew(response, plan)


def _not_stored(response: InferResponse, plan: ReplyPlan) -> Sequence[Array]:
    """Write the outputs that go to shared memory there; return the others."""
    assert response.signature is not None
    others = []
    for spec, array in zip(response.signature.outputs, response.arrays, strict=True):
        if (slot := plan.slots.get(spec.name)) is not None:
            slot.write(spec.name, _binary(array, spec))
        else:
            others.append(array)
    return others


def _encode_anew(response: InferResponse, plan: ReplyPlan) -> Encoded:
    signature = response.signature
    assert signature is not None
    entries: list[bytes] = []
    tensors: list[Buffer] = []
    repeats = plan.plain and not response.parameters
    for spec, array in zip(signature.outputs, response.arrays, strict=True):
        output = plan.outputs.get(spec.name, plan.default)
        if output.classification:
            labels = (response.labels or {}).get(spec.name, ())
            array = classify(array, spec.datatype, output.classification, labels, response.batched)
            spec = TensorSpec(spec.name, Datatype.BYTES, array.shape)
        if (slot := plan.slots.get(spec.name)) is not None:
            slot.write(spec.name, _binary(array, spec))
            entries.append(_entry(spec))
        elif output.binary:
            tensor = _binary(array, spec)
            repeats = repeats and tensor is array
            entries.append(_entry(spec, b',"parameters":{"binary_data_size":%d}' % _size(tensor)))
            tensors.append(tensor)
        else:
            entries.append(_entry(spec, b',"data":' + json_values(array, spec)))
    size = sum(map(_size, tensors))
    tail = b'"model_name":%b,"model_version":"%d",%b"outputs":[%b]}' % (
        dump(signature.model_name),
        signature.model_version,
        _parameters(response.parameters) if response.parameters else b"",
        b",".join(entries),
    )
    if repeats:
        if len(plan.heads) >= REMEMBERED_HEADS:
            plan.heads.clear()
            plan.answers.clear()
        plan.heads[signature] = (tail, size)
    json = (b'{"id":%b,' % dump(response.request.id) if response.request.id else b"{") + tail
    return Encoded(json, tensors, len(json) + size, size > 0)


def _parameters(parameters: Mapping[str, ParameterValue]) -> bytes:
    entries = (b"%b:%b" % (dump(key), dump_value(value)) for key, value in parameters.items())
    return b'"parameters":{%b},' % b",".join(entries)


def _entry(spec: TensorSpec, rest: bytes = b"") -> bytes:
    return b'{"name":%b,"datatype":"%b","shape":%b%b}' % (
        dump(spec.name),
        spec.datatype.name.encode(),
        dump(spec.shape),
        rest,
    )


def _size(tensor: Buffer) -> int:
    return tensor.nbytes if isinstance(tensor, np.ndarray) else len(tensor)


def _binary(array: Array, spec: TensorSpec) -> Buffer:
    if spec.datatype is Datatype.BYTES:
        return encode_bytes(array)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def json_values(array: Array, spec: TensorSpec) -> bytes:
    """Return an output as a flat JSON list.

    Raises:
        InvalidArgument: its datatype has no JSON, or a string is not UTF-8.
    """
    if spec.datatype in (Datatype.FP16, Datatype.BF16):
        raise InvalidArgument(
            f"sending {spec.datatype.name} data via JSON is not supported. Please use the binary data format for output"
        )
    if spec.datatype is Datatype.BYTES:
        return dump([_text(element, spec.name) for element in array.ravel()])
    return dump_numbers(array)


def _text(element: Any, name: str) -> str:
    data = element if isinstance(element, bytes) else str(element).encode()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"output '{name}' has bytes that are not UTF-8, which JSON can not carry. Please use the binary data format"
        ) from error
