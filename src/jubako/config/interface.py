"""What a model takes and gives, read once from its configuration, and the check of a request against it.

The order of the checks and their words are Triton's (http.md section 4.5). Knows no arrays: shapes, names and byte
counts are all in a request's signature, so that a check holds for every request that shares it.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.errors import InvalidArgument
from jubako.request import Signature, TensorSpec, label
from jubako.tensor import BY_CONFIG_NUMBER, Datatype, shape_text

BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input as the configuration has it; `dims` without the batch dimension, -1 where any size goes."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output as the configuration has it; `dims` without the batch dimension."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """What a scheduler needs to know of a request that passed the check."""

    rows: int
    """The request's batch size, which may be 0; 1 where the model has no batch dimension."""
    key: Hashable
    """Requests may share a batch when their keys are equal: shapes of variable inputs, and which optional ones came."""
    outputs: tuple[int, ...] | None
    """Positions of the outputs asked for, in the model's order; None for all."""
    nbytes: int | None = 0
    """Bytes of the inputs; None where the signature does not say, because there are strings among them."""


@dataclass(frozen=True)
class Interface:
    """A model's inputs and outputs by name, in the configuration's order."""

    model: str
    max_batch_size: int
    inputs: dict[str, InputSpec]
    outputs: dict[str, OutputSpec]
    required: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "required", frozenset(i.name for i in self.inputs.values() if not i.optional))

    @property
    def batched(self) -> bool:
        """Every tensor has a leading batch dimension."""
        return self.max_batch_size > 0

    def admit(self, signature: Signature, request_id: str = "") -> Admission:
        """Check a request's signature against this model. `request_id` is for the errors.

        Raises:
            InvalidArgument: what does not fit first, in Triton's order and words.
        """
        self._check_names(signature)
        try:
            self._check_count(signature)
            rows = self._rows(signature)
            for spec in signature.inputs:
                self._check_tensor(spec)
            for spec, size in zip(signature.inputs, signature.byte_sizes, strict=False):
                self._check_size(spec, size)
        except InvalidArgument as error:
            raise InvalidArgument(f"{label(request_id)}{error}") from None
        return Admission(rows, self._key(signature), self._positions(signature), _nbytes(signature))

    def _check_names(self, signature: Signature) -> None:
        """Check outputs, and inputs if there are as many as there should be; Triton puts no label on these errors."""
        for name in signature.outputs:
            if name not in self.outputs:
                raise InvalidArgument(f"unexpected inference output '{name}' for model '{self.model}'")
        if not self._fits(len(signature.inputs)):
            return
        for spec in signature.inputs:
            if spec.name not in self.inputs:
                raise InvalidArgument(f"unexpected inference input '{spec.name}' for model '{self.model}'")

    def _fits(self, count: int) -> bool:
        return len(self.required) <= count <= len(self.inputs)

    def _check_count(self, signature: Signature) -> None:
        given = [spec.name for spec in signature.inputs]
        if self._fits(len(given)):
            return
        missing = sorted(self.required.difference(given))
        expected = (
            f"expected {len(self.inputs)} inputs"
            if len(self.required) == len(self.inputs)
            else f"expected number of inputs between {len(self.required)} and {len(self.inputs)}"
        )
        raise InvalidArgument(
            f"{expected} but got {len(given)} inputs for model '{self.model}'. Got input(s) {_names(sorted(given))}, "
            f"but missing required input(s) {_names(missing)}. Please provide all required input(s)."
        )

    def _rows(self, signature: Signature) -> int:
        if not self.batched:
            return 1
        rows: int | None = None
        for spec in signature.inputs:
            if not spec.shape:
                raise InvalidArgument(
                    f"input '{spec.name}' has no shape but model requires batch dimension for '{self.model}'"
                )
            if rows is None:
                rows = spec.shape[0]
            elif spec.shape[0] != rows:
                raise InvalidArgument(f"input '{spec.name}' batch size does not match other inputs for '{self.model}'")
        if rows is not None and rows > self.max_batch_size:
            raise InvalidArgument(f"inference request batch-size must be <= {self.max_batch_size} for '{self.model}'")
        return rows or 0

    def _check_tensor(self, spec: TensorSpec) -> None:
        known = self.inputs[spec.name]
        if spec.datatype is not known.datatype:
            raise InvalidArgument(
                f"inference input '{spec.name}' data-type is '{spec.datatype.name}', but model '{self.model}' expects "
                f"'{known.datatype.name}'"
            )
        shape = spec.shape[1:] if self.batched else spec.shape
        if any(size < 0 for size in shape):
            raise InvalidArgument(
                f"All input dimensions should be specified for input '{spec.name}' for model '{self.model}', got "
                f"{shape_text(spec.shape)}"
            )
        fits = len(shape) == len(known.dims) and all(
            want in (-1, got) for want, got in zip(known.dims, shape, strict=True)
        )
        if not fits:
            expected = (-1, *known.dims) if self.batched else known.dims
            raise InvalidArgument(
                f"unexpected shape for input '{spec.name}' for model '{self.model}'. Expected {shape_text(expected)}, "
                f"got {shape_text(spec.shape)}. " + (BATCH_NOTE if self.batched else "")
            )

    def _check_size(self, spec: TensorSpec, given: int | None) -> None:
        if given is None or spec.datatype.size is None:
            return
        expected = math.prod(spec.shape) * spec.datatype.size
        if given != expected:
            raise InvalidArgument(
                f"input byte size mismatch for input '{spec.name}' for model '{self.model}'. Expected {expected}, got "
                f"{given}"
            )

    def _key(self, signature: Signature) -> Hashable:
        """Fixed dims need no comparison; the set of inputs only where some are optional (scheduling.md 2.5)."""
        variable = tuple(
            sorted((spec.name, spec.shape[1:]) for spec in signature.inputs if -1 in self.inputs[spec.name].dims)
        )
        if len(self.required) == len(self.inputs):
            return variable
        return variable, frozenset(spec.name for spec in signature.inputs)

    def _positions(self, signature: Signature) -> tuple[int, ...] | None:
        if not signature.outputs:
            return None
        asked = frozenset(signature.outputs)
        if len(asked) == len(self.outputs):
            return None
        return tuple(i for i, name in enumerate(self.outputs) if name in asked)


def _nbytes(signature: Signature) -> int | None:
    total = 0
    for number, spec in enumerate(signature.inputs):
        given = signature.byte_sizes[number] if number < len(signature.byte_sizes) else None
        if given is None and spec.datatype.size is None:
            return None
        total += given if given is not None else math.prod(spec.shape) * (spec.datatype.size or 0)
    return total


def _names(names: list[str]) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"


def interface_of(config: ModelConfig) -> Interface:
    """Read the interface out of a completed configuration."""
    return Interface(
        model=config.name,
        max_batch_size=config.max_batch_size,
        inputs={
            tensor.name: InputSpec(tensor.name, BY_CONFIG_NUMBER[tensor.data_type], tuple(tensor.dims), tensor.optional)
            for tensor in config.input
        },
        outputs={
            tensor.name: OutputSpec(tensor.name, BY_CONFIG_NUMBER[tensor.data_type], tuple(tensor.dims))
            for tensor in config.output
        },
    )
