"""How `forward` of a TorchScript module is called: checked against the configuration at load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

from jubako.backends.pytorch.names import input_positions, output_positions
from jubako.backends.reshape import model_dims
from jubako.errors import Internal, InvalidArgument
from jubako.tensor import BY_CONFIG_NUMBER, Datatype

Tensors = torch.Tensor | list[str]
"""What goes into `forward`, and comes out, for one configured tensor."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A checked call: `order` has the inputs' names as `forward` takes them, `results` an output's position.

    `order` is None where `forward` takes one dictionary with all inputs by name.
    """

    call: Callable[..., Any]
    order: Sequence[str] | None
    results: Mapping[str, int]

    def __call__(self, inputs: Mapping[str, Tensors]) -> Sequence[Any]:
        """Call `forward` and return its results as a sequence.

        Raises:
            Internal: a result is neither a tensor, nor strings, nor a tuple or list of those.
        """
        if self.order is None:
            return results(self.call(dict(inputs)))
        return results(self.call(*[inputs[name] for name in self.order]))


def results(returned: Any) -> Sequence[Any]:
    """Return what `forward` returned as a sequence of its results. Raises as `Forward.__call__` does."""
    if isinstance(returned, torch.Tensor):
        return (returned,)
    if isinstance(returned, tuple):
        return returned
    if isinstance(returned, list):
        if all(isinstance(element, str) for element in returned):
            return (returned,)
        if all(isinstance(element, torch.Tensor) for element in returned):
            return returned
    raise Internal(
        "PyTorch execute failure: output must be of type Tensor, List[str] or Tuple containing one of these two types. "
        "It should not be a Dictionary of Tensors or a Scalar"
    )


def forward(module: Any, config: ModelConfig) -> Forward:
    """Return the call of `module` that `config` describes.

    Raises:
        InvalidArgument: the number of inputs, or their names, do not fit.
        Internal: nothing is configured, or `forward` takes what no tensor can be; Triton's words and status.
    """
    check_listed(config)
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            _check_datatype(config, kind, tensor)
    names = [tensor.name for tensor in config.input]
    names += [target for batch_input in config.batch_input for target in batch_input.target_name]
    names += [control.name for control in config.sequence_batching.control_input]
    names += [state.input_name for state in config.sequence_batching.state]
    outputs = output_positions(config.name, [tensor.name for tensor in config.output])
    arguments = arguments_of(module)
    if len(arguments) == 1 and arguments[0].type.kind() == "DictType":
        return Forward(module.forward, None, outputs)
    _check_arguments(config, arguments, len(names))
    positions = input_positions(config.name, names, [argument.name for argument in arguments])
    return Forward(module.forward, sorted(names, key=positions.__getitem__), outputs)


def arguments_of(module: Any) -> list[Any]:
    """Return the arguments of `forward`, without the module itself."""
    return list(module.forward.schema.arguments[1:])


def check_listed(config: ModelConfig) -> None:
    """Refuse a configuration without inputs or without outputs: TorchScript cannot fill them in."""
    for kind, tensors in (("input", config.input), ("output", config.output)):
        if not tensors:
            raise Internal(f"model configuration must contain at least one {kind}, none were specified.")


def _check_arguments(config: ModelConfig, arguments: Sequence[Any], expected: int) -> None:
    for argument in arguments:
        kind = argument.type.kind()
        if kind == "DictType":
            raise Internal(
                "Multiple inputs of kind DictType were detected. Only a single input of type Dict(str, Tensor) is "
                "supported."
            )
        if kind not in ("TensorType", "ListType"):
            raise Internal(
                f"An input of type '{argument.type}' was detected in the model. Only a single input of type "
                "Dict(str, Tensor) or input(s) of type Tensor are supported."
            )
    if len(arguments) != expected:
        raise InvalidArgument(
            f"unable to load model '{config.name}', configuration expects {expected} inputs, model provides "
            f"{len(arguments)}"
        )


def _check_datatype(config: ModelConfig, kind: str, tensor: ModelInput | ModelOutput) -> None:
    datatype = BY_CONFIG_NUMBER.get(tensor.data_type)
    if datatype is None:
        raise Internal(f"unsupported datatype TYPE_INVALID for {kind} '{tensor.name}' for model '{config.name}'")
    rank = len(model_dims(tensor)) + (config.max_batch_size > 0)
    if datatype is Datatype.BYTES and rank > 1:
        raise Internal(
            f"Triton only supports 1 dimensional List of String as {kind} for '{tensor.name}' for model '{config.name}'"
        )
