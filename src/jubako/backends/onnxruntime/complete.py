"""Auto-complete: what an ONNX model's own signature adds to its configuration. Pure (repository.md section 4)."""

import logging
from collections.abc import Iterable
from typing import TypeVar

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

from jubako.backends.onnxruntime.signature import ModelTensor, Signature
from jubako.errors import InvalidArgument

T = TypeVar("T", ModelInput, ModelOutput)

log = logging.getLogger("jubako.backends.onnxruntime")


def is_complete(config: ModelConfig) -> bool:
    """Whether inputs and outputs are listed: then nothing is filled in, not even max_batch_size."""
    return bool((config.input or config.batch_input) and config.output)


def completed(config: ModelConfig, model: Signature, default_max_batch_size: int) -> ModelConfig:
    """Return `config` with max_batch_size, scheduler, and whichever of inputs and outputs is empty, filled in.

    A max_batch_size of 0 cannot be told from an unset one: it becomes the default where the model can batch.

    Raises:
        InvalidArgument: the model cannot batch and `config` says that it does.
        Unsupported: a tensor is of a kind that v2 does not have.
    """
    filled = ModelConfig()
    filled.CopyFrom(config)
    if is_complete(config):
        log.info(
            "skipping model configuration auto-complete for '%s': inputs and outputs already specified", config.name
        )
        return filled
    _fill_batching(filled, model, default_max_batch_size)
    batched = filled.max_batch_size > 0
    if not (config.input or config.batch_input):
        filled.input.extend(_tensor(ModelInput, tensor, batched) for tensor in model.inputs.values())
    if not config.output:
        filled.output.extend(_tensor(ModelOutput, tensor, batched) for tensor in model.outputs.values())
    return filled


def can_batch(tensors: Iterable[ModelTensor]) -> bool:
    """Whether each of `tensors` has a first dimension, and it is variable."""
    return all(tensor.shape[:1] == (-1,) for tensor in tensors)


def _fill_batching(config: ModelConfig, model: Signature, default_max_batch_size: int) -> None:
    if not can_batch((*model.inputs.values(), *model.outputs.values())):
        if config.max_batch_size != 0:
            raise InvalidArgument(
                f"autofill failed for model '{config.name}': model does not support batching while non-zero "
                "max_batch_size is specified"
            )
        return
    if config.max_batch_size == 0:
        config.max_batch_size = max(default_max_batch_size, 0)
        log.warning(
            "autofilled max_batch_size to %d for model '%s' since batching is supported but no max_batch_size is "
            "specified in model configuration",
            config.max_batch_size,
            config.name,
        )
    if config.max_batch_size > 1 and config.WhichOneof("scheduling_choice") is None:
        config.dynamic_batching.SetInParent()


def _tensor(kind: type[T], tensor: ModelTensor, batched: bool) -> T:
    filled = kind(name=tensor.name, data_type=tensor.datatype.config_number)
    dims = tensor.shape[1:] if batched else tensor.shape
    filled.dims.extend(dims or (1,))
    if batched and not dims:  # a scalar for each row; without batching, an empty reshape is not legal
        filled.reshape.SetInParent()
    return filled
