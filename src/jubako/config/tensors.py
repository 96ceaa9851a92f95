"""What a configuration may say about its tensors: shapes, reshapes, formats, batch inputs. Triton's words. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from tritonclient.grpc.model_config_pb2 import (
    BatchInput,
    BatchOutput,
    DataType,
    ModelConfig,
    ModelInput,
    ModelOutput,
)

from jubako.errors import InvalidArgument

VARIABLE: Final = -1
TENSORRT_PLATFORM: Final = "tensorrt_plan"


def validate_tensors(config: ModelConfig) -> None:
    """Check inputs, outputs, batch inputs and batch outputs of a completed configuration.

    Raises:
        InvalidArgument: the first fault found.
    """
    try:
        for tensor in config.input:
            _check_input(tensor, config)
        for tensor in config.output:
            _check_shape(tensor, config, "model output ")
            _check_layout(tensor, config, "output")
        _check_batch_io(config)
    except InvalidArgument as error:
        raise InvalidArgument(f"{error} for {config.name}") from None


def _check_input(tensor: ModelInput, config: ModelConfig) -> None:
    _check_shape(tensor, config, "model input ")
    if tensor.format in (ModelInput.FORMAT_NHWC, ModelInput.FORMAT_NCHW) and len(tensor.dims) != 3:
        raise InvalidArgument("model input NHWC/NCHW require 3 dims")
    _check_layout(tensor, config, "input")


def _check_shape(tensor: ModelInput | ModelOutput, config: ModelConfig, prefix: str) -> None:
    if not tensor.name:
        raise InvalidArgument(f"{prefix}must specify 'name'")
    named = f"{prefix}'{tensor.name}' "
    if tensor.data_type == DataType.TYPE_INVALID:
        raise InvalidArgument(f"{named}must specify 'data_type'")
    if not tensor.dims:
        raise InvalidArgument(f"{named}must specify 'dims'")
    reshaped = tensor.HasField("reshape")
    if reshaped and not tensor.reshape.shape and config.max_batch_size == 0:
        raise InvalidArgument(
            f"{named}cannot have empty reshape for non-batching model as scalar tensors are not supported"
        )
    _check_dims(tensor.dims, f"{named}dimension")
    if reshaped:
        _check_dims(tensor.reshape.shape, f"{named}reshape dimensions")
        _check_reshape(list(tensor.dims), list(tensor.reshape.shape), named)


def _check_dims(dims: Iterable[int], what: str) -> None:
    if any(dim < 1 and dim != VARIABLE for dim in dims):
        raise InvalidArgument(f"{what} must be integer >= 1, or -1 to indicate a variable-size dimension")


def _check_reshape(dims: Sequence[int], shape: Sequence[int], named: str) -> None:
    if (VARIABLE in dims) != (VARIABLE in shape):
        raise InvalidArgument(f"{named}has different size for dims and reshape")
    before, after = _segments(dims), _segments(shape)
    if len(before) != len(after):
        raise InvalidArgument(f"{named}has different number of variable-size dimensions for dims and reshape")
    if before != after:
        raise InvalidArgument(f"{named}has different size for dims and reshape")


def _segments(dims: Sequence[int]) -> list[int]:
    """Return the element counts between the variable dimensions: [2, 4, -1, 6] gives [8, 6]."""
    cuts = [index for index, dim in enumerate(dims) if dim == VARIABLE]
    starts = [0, *(cut + 1 for cut in cuts)]
    return [math.prod(dims[start:end]) for start, end in zip(starts, [*cuts, len(dims)], strict=True)]


def _check_layout(tensor: ModelInput | ModelOutput, config: ModelConfig, what: str) -> None:
    if tensor.is_shape_tensor and config.platform != TENSORRT_PLATFORM:
        raise InvalidArgument("shape tensors are only supported for TensorRT platform")
    if tensor.is_non_linear_format_io:
        if config.platform != TENSORRT_PLATFORM:
            raise InvalidArgument("Non-linear IO format is only supported for the TensorRT platform")
        if len(tensor.dims) != 3:
            raise InvalidArgument(f"Non-linear IO format {what} requires 3 dims")


def _check_batch_io(config: ModelConfig) -> None:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for batch_input in config.batch_input:
        _check_sources("input", BatchInput.Kind.Name(batch_input.kind), batch_input.source_input, inputs)
        if batch_input.data_type not in (DataType.TYPE_INT32, DataType.TYPE_FP32):
            raise InvalidArgument("batch input data type must be TYPE_INT32 or TYPE_FP32")
    for batch_output in config.batch_output:
        _check_sources("output", BatchOutput.Kind.Name(batch_output.kind), batch_output.source_input, inputs)
        targets = list(batch_output.target_name)
        for index, target in enumerate(targets):
            if target not in outputs:
                raise InvalidArgument(f"unknown target output name '{target}'")
            if target in targets[:index]:
                raise InvalidArgument(f"target output name '{target}' can only be specified once")


def _check_sources(what: str, kind: str, sources: Sequence[str], inputs: set[str]) -> None:
    if len(sources) != 1:
        raise InvalidArgument(f"batch {what} kind '{kind}' expects 1 source input, got {len(sources)}")
    if sources[0] not in inputs:
        raise InvalidArgument(f"unknown source input name '{sources[0]}'")
