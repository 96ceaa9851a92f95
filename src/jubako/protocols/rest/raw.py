"""Bodies that are one tensor and nothing else: the model says what it is (http.md section 4.2)."""

import math

import numpy as np

from jubako.errors import InvalidArgument
from jubako.protocols.rest.binary_tensor import view
from jubako.protocols.rest.json_tensor import size_of
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import BinaryTensor, Body, OutputPlan, ReplyPlan
from jubako.request import InferRequest, Signature, TensorSpec, label
from jubako.runner import Runner
from jubako.tensor import Array, Datatype


def decode_raw(body: Body, runner: Runner, limits: Limits, start_ns: int) -> tuple[InferRequest, ReplyPlan]:
    """Read a body that is one tensor and nothing else; the model says what it is (http.md section 4.2)."""
    if len(body) > limits.max_input_size:
        raise InvalidArgument(
            f"Raw input has a byte_size ({len(body)} bytes) that exceeds the maximum allowed value of "
            f"{limits.max_input_size} bytes. Use --http-max-input-size to increase the limit."
        )
    inputs = list(runner.interface.inputs.values())
    if len(inputs) != 1:
        raise InvalidArgument(
            f"{label('')}Raw request must only have 1 input (found 1) to be deduced but got "
            f"{len(inputs)} inputs in '{runner.name}' model configuration"
        )
    (spec,) = inputs
    batch = (1,) if runner.interface.batched else ()
    if spec.datatype is Datatype.BYTES:
        if spec.dims != (1,):
            raise InvalidArgument(
                f"{label('')}For BYTE datatype raw input '{spec.name}', the model must have input shape [1]"
            )
        shape = (*batch, 1)
        array = np.empty(shape, dtype=object)
        array[...] = bytes(body)
    else:
        shape = (*batch, *_raw_shape(spec.name, spec.dims, len(body) // spec.datatype.dtype.itemsize))
        array = _raw_view(body, BinaryTensor(spec.name, shape, spec.datatype, 0, len(body)), runner.name)
    signature = Signature((TensorSpec(spec.name, spec.datatype, shape),), byte_sizes=(len(body),))
    return (
        InferRequest(runner.name, runner.version, signature, [array], "", start_ns),
        ReplyPlan(default=OutputPlan(binary=True), plain=True),
    )


def _raw_view(body: Body, tensor: BinaryTensor, model: str) -> Array:
    expected = size_of(tensor.datatype, tensor.shape, tensor.name)
    if tensor.size != expected:
        raise InvalidArgument(
            f"{label('')}input byte size mismatch for input 'raw_input' for model '{model}'. Expected "
            f"{expected}, got {tensor.size}"
        )
    return view(body, 0, tensor)


def _raw_shape(name: str, dims: tuple[int, ...], count: int) -> tuple[int, ...]:
    if dims.count(-1) > 1:
        raise InvalidArgument(
            f"{label('')}The shape of the raw input '{name}' can not be deduced because there are more "
            "than one variable-sized dimension"
        )
    fixed = math.prod(size for size in dims if size != -1)
    return tuple(count // max(1, fixed) if size == -1 else size for size in dims)
