"""An ensemble as a graph: what a request needs, what each step waits for, and how tensors pass. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

from jubako.config.ensemble import fits
from jubako.request import Signature, TensorSpec
from jubako.tensor import BY_CONFIG_NUMBER, Array, Datatype

REMEMBERED: Final = 1024
"""How many signatures a step remembers before it forgets them all."""
Correlation = tuple[int | str, bool, bool]
"""A sequence's id, and whether it starts and ends here."""


@dataclass(frozen=True, slots=True)
class Port:
    """A model's input or output, and the ensemble tensor that it reads or writes."""

    name: str
    tensor: str
    datatype: Datatype
    dims: tuple[int, ...]
    """As its model has them, without the batch dimension; -1 where any size goes."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call of a model."""

    model: str
    version: int
    batched: bool
    """Its model's tensors have a batch dimension."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """An ensemble: what comes in and goes out, and the steps between."""

    name: str
    batched: bool
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    optional: frozenset[str] = frozenset()
    """Inputs that may be left out."""


def graph_of(config: ModelConfig, models: Sequence[ModelConfig]) -> Graph:
    """Read the graph out of an ensemble's configuration and those of its steps' models, in the order of the steps."""
    own = {tensor.name: tensor.name for tensor in (*config.input, *config.output)}
    return Graph(
        config.name,
        config.max_batch_size > 0,
        tuple(
            Step(
                step.model_name,
                step.model_version,
                model.max_batch_size > 0,
                _ports(model.input, step.input_map),
                _ports(model.output, step.output_map),
            )
            for step, model in zip(config.ensemble_scheduling.step, models, strict=True)
        ),
        _ports(config.input, own),
        _ports(config.output, own),
        frozenset(tensor.name for tensor in config.input if tensor.optional),
    )


def _ports(specs: Iterable[ModelInput | ModelOutput], tensors: Mapping[str, str]) -> tuple[Port, ...]:
    return tuple(
        Port(spec.name, tensors[spec.name], BY_CONFIG_NUMBER[spec.data_type], tuple(spec.dims))
        for spec in specs
        if spec.name in tensors
    )


class PlannedStep:
    """A step that runs, the outputs asked of it, and the signatures of its requests so far."""

    __slots__ = ("_asked", "_signatures", "step")

    def __init__(self, step: Step, asked: tuple[str, ...]) -> None:
        self.step = step
        self._asked = asked
        self._signatures: dict[object, Signature] = {}

    def signature(
        self, inputs: tuple[TensorSpec, ...], origin: Signature, correlation: Correlation | None
    ) -> Signature:
        """Return what a request of this step repeats, given that of the ensemble's request.

        The same object for the same arguments where `origin` is reusable, so that models check it once.
        """
        if not origin.reusable:
            return self._make(inputs, origin, correlation)
        key = (origin, correlation, inputs)
        signature = self._signatures.get(key)
        if signature is None:
            if len(self._signatures) >= REMEMBERED:
                self._signatures.clear()
            signature = self._signatures[key] = self._make(inputs, origin, correlation)
        return signature

    def _make(self, inputs: tuple[TensorSpec, ...], origin: Signature, correlation: Correlation | None) -> Signature:
        sequence_id, start, end = correlation or (origin.sequence_id, origin.sequence_start, origin.sequence_end)
        return Signature(
            inputs,
            self._asked,
            parameters=origin.parameters,
            priority=origin.priority,
            timeout_us=origin.timeout_us,
            sequence_id=sequence_id,
            sequence_start=start,
            sequence_end=end,
            reusable=origin.reusable,
        )


class Plan:
    """What runs for some of an ensemble's outputs: only the steps that these depend on."""

    def __init__(self, graph: Graph, wanted: Sequence[int]) -> None:
        """Plan for the outputs at the positions `wanted`."""
        needed = {graph.outputs[position].tensor for position in wanted}
        steps: list[Step] = []
        while more := [s for s in graph.steps if s not in steps and any(port.tensor in needed for port in s.outputs)]:
            steps += more
            needed.update(port.tensor for step in more for port in step.inputs)
        self.steps = tuple(
            PlannedStep(step, tuple(port.name for port in step.outputs if port.tensor in needed)) for step in steps
        )
        self.readers: dict[str, list[int]] = {}
        """By tensor, the positions of the steps that wait for it."""
        self.waits_for: list[int] = []
        """By step, how many tensors it waits for."""
        for index, step in enumerate(steps):
            tensors = {port.tensor for port in step.inputs}
            self.waits_for.append(len(tensors))
            for tensor in tensors:
                self.readers.setdefault(tensor, []).append(index)


def bridged(array: Array, *, batched: bool, into_batched: bool, dims: Sequence[int]) -> Array:
    """Return a tensor as its reader wants it, where its writer has a batch dimension and the reader none, or not.

    `dims` are the reader's. A single one is put in front or taken away where that makes the shape fit; any other shape
    passes as it is, and the reader's own check judges it.
    """
    if batched == into_batched:
        return array
    if into_batched:
        return array[None] if fits(dims, array.shape) else array
    return array.reshape(array.shape[1:]) if array.shape[:1] == (1,) and not fits(dims, array.shape) else array
