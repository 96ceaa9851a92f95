"""Whether a configuration and the ONNX model it is for agree. Pure; Triton's words."""

from collections.abc import Iterable, Mapping

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

from jubako.backends.onnxruntime.signature import ModelTensor, Signature
from jubako.backends.reshape import model_dims
from jubako.errors import InvalidArgument
from jubako.tensor import BY_CONFIG_NUMBER, shape_text


def check(config: ModelConfig, model: Signature) -> None:
    """Refuse a configuration that `model` cannot serve.

    Every input of the model must be there (optional ones, its overridable initialisers, need not); of the outputs, any
    subset. A model's -1 accepts any size of an input, but an output's must be -1 too.

    Raises:
        InvalidArgument: they do not agree.
        Unsupported: a tensor is of a kind that v2 does not have.
    """
    expected = _expected_inputs(config)
    if len(model.inputs) != expected:
        raise InvalidArgument(
            f"unable to load model '{config.name}', configuration expects {expected} inputs, model provides "
            f"{len(model.inputs)}"
        )
    for tensor in config.input:
        _check_input(config, tensor, {**model.inputs, **model.optional})
    computed = {name for batch_output in config.batch_output for name in batch_output.target_name}
    for output in config.output:
        found = _find("output", output.name, model.outputs)
        _check_datatype(config, "output", output, found)
        if output.name not in computed:
            _check_dims(config, output.name, model_dims(output), found.shape, exact=True)


def _expected_inputs(config: ModelConfig) -> int:
    required = sum(not tensor.optional for tensor in config.input)
    sequence = config.sequence_batching
    return required + len(config.batch_input) + len(sequence.control_input) + len(sequence.state)


def _check_input(config: ModelConfig, tensor: ModelInput, known: Mapping[str, ModelTensor]) -> None:
    who = f"unable to load model '{config.name}'"
    if tensor.optional and config.max_batch_size != 0:
        raise InvalidArgument(
            f"{who}, optional input '{tensor.name}' is not supported for models that support batching"
        )
    found = _find("input", tensor.name, known)
    _check_datatype(config, "input", tensor, found)
    if not tensor.allow_ragged_batch:
        _check_dims(config, tensor.name, model_dims(tensor), found.shape, exact=False)
    elif found.shape != (-1,):
        raise InvalidArgument(
            f"{who}, configuration expects model provides input with shape [-1]  for ragged input '{tensor.name}', "
            f"model provides {shape_text(found.shape)}"
        )


def _find(kind: str, name: str, known: Mapping[str, ModelTensor]) -> ModelTensor:
    if name not in known:
        raise InvalidArgument(f"unexpected inference {kind} '{name}', allowed {kind}s are: {_names(known)}")
    return known[name]


def _names(tensors: Iterable[str]) -> str:
    return ", ".join(sorted(tensors))


def _check_datatype(config: ModelConfig, kind: str, tensor: ModelInput | ModelOutput, found: ModelTensor) -> None:
    expected = BY_CONFIG_NUMBER.get(tensor.data_type)
    if expected is not found.datatype:
        raise InvalidArgument(
            f"unable to load model '{config.name}', configuration expects datatype "
            f"{expected.config_name if expected else 'TYPE_INVALID'} for {kind} '{tensor.name}', model provides "
            f"TYPE_{found.datatype.name}"
        )


def _check_dims(config: ModelConfig, name: str, dims: tuple[int, ...], shape: tuple[int, ...], *, exact: bool) -> None:
    if not shape:
        if any(size != 1 for size in dims):
            raise InvalidArgument(
                f"unable to load model '{config.name}', scalar tensor '{name}', should only provide 1 in the model "
                "configuration when the model doesn't support batching. Model configuration provided: "
                f"{shape_text(dims)}."
            )
        return
    who = f"model '{config.name}', tensor '{name}': "
    batched = config.max_batch_size > 0
    if batched and shape[0] != -1:
        raise InvalidArgument(
            f"{who}for the model to support batching the shape should have at least 1 dimension and the first "
            f"dimension must be -1; but shape expected by the model is {shape_text(shape)}"
        )
    full = (-1, *dims) if batched else dims
    if len(full) == len(shape) and all(
        size == model_size or (model_size == -1 and not exact) for size, model_size in zip(full, shape, strict=True)
    ):
        return
    explained = (
        f"{len(full)} dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit "
        f"tensor shape, making complete shape {shape_text(full)})"
        if batched
        else f"{len(full)} dimensions (shape {shape_text(full)})"
    )
    raise InvalidArgument(
        f"{who}the model expects {len(shape)} dimensions (shape {shape_text(shape)}) but the model configuration "
        f"specifies {explained}"
    )
