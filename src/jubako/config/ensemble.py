"""What an ensemble's configuration must say: by itself, and beside the models that it is made of. Triton's words. Pure.

An ensemble is a graph: tensors by name, and steps that turn some of them into others. `validate_ensemble` judges the
graph alone; `check_models` judges it once the models of its steps are there; `load_order` says what loads before what.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelEnsembling

from jubako.errors import InvalidArgument, Unsupported
from jubako.tensor import shape_text

NEWEST: Final = -1


def dependencies(config: ModelConfig) -> frozenset[str]:
    """Return the names of the models that a configuration's steps call; empty where it is no ensemble."""
    return frozenset(step.model_name for step in config.ensemble_scheduling.step)


# --- one configuration alone ------------------------------------------------------------------------------------------


def validate_ensemble(config: ModelConfig) -> None:
    """Check the steps of an ensemble; does nothing for any other configuration.

    Raises:
        InvalidArgument: the first fault found.
        Unsupported: a tensor has a `reshape`.
    """
    if not config.HasField("ensemble_scheduling"):
        return
    name = config.name
    if config.instance_group:
        raise InvalidArgument(f"instance group should not be specified for ensemble '{name}'")
    if config.HasField("optimization"):
        raise InvalidArgument(f"optimization should not be specified for ensemble '{name}'")
    if config.model_warmup:
        raise InvalidArgument(f"model_warmup can not be specified for ensemble '{name}'")
    if not config.ensemble_scheduling.step:
        raise InvalidArgument(f"must specify 'step' for ensemble '{name}'")
    for tensor in (*config.input, *config.output):
        if tensor.HasField("reshape"):
            raise Unsupported(
                f"'reshape' of '{tensor.name}' is not supported for ensemble '{name}', its models may have one"
            )
    _check_steps(config.ensemble_scheduling.step, name)
    _check_flow(config)


def _check_steps(steps: Iterable[ModelEnsembling.Step], name: str) -> None:
    written: set[str] = set()
    for index, step in enumerate(steps):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                raise InvalidArgument(f"must specify '{field}' in step {index} of ensemble '{name}'")
        for _, tensor in sorted(step.output_map.items()):
            if tensor in written:
                raise InvalidArgument(
                    f"ensemble tensor '{tensor}' can appear in an output map only once for ensemble '{name}' "
                    f"step {index}"
                )
            written.add(tensor)


def _check_flow(config: ModelConfig) -> None:
    """Check that every tensor is written, that it can be, and that it is read."""
    name, steps = config.name, config.ensemble_scheduling.step
    inputs, outputs = [tensor.name for tensor in config.input], [tensor.name for tensor in config.output]
    read = {tensor for step in steps for tensor in step.input_map.values()}
    written = {tensor for step in steps for tensor in step.output_map.values()}
    for tensor in inputs:
        if tensor not in read | written:
            raise InvalidArgument(f"ensemble input '{tensor}' for ensemble {name}' is not used")
        if tensor in written:
            raise InvalidArgument(f"ensemble input '{tensor}' for ensemble '{name}' is written by a step")
    ready = _reachable(steps, inputs)
    for tensor in outputs:
        if tensor not in read | written:
            raise InvalidArgument(f"ensemble output '{tensor}' for ensemble {name}' is not used")
        if tensor not in ready:
            raise InvalidArgument(
                f"output '{tensor}' for ensemble '{name}' is not written{_cause(tensor, steps, ready)}"
            )
    for tensor in sorted(read | written):
        if tensor not in outputs and (tensor not in ready or tensor not in read):
            raise InvalidArgument(f"ensemble tensor '{tensor}' is unused in ensemble '{name}'")


def _reachable(steps: Sequence[ModelEnsembling.Step], inputs: Iterable[str]) -> set[str]:
    """Return the tensors that exist once every step has run that can."""
    ready, waiting = set(inputs), list(steps)
    while runnable := [step for step in waiting if ready.issuperset(step.input_map.values())]:
        ready.update(tensor for step in runnable for tensor in step.output_map.values())
        waiting = [step for step in waiting if step not in runnable]
    return ready


def _cause(tensor: str, steps: Iterable[ModelEnsembling.Step], ready: Collection[str]) -> str:
    sources = [source for step in steps if tensor in step.output_map.values() for source in step.input_map.values()]
    missing = sorted(source for source in sources if source not in ready)
    return f": at least one of its depending tensors, '{missing[0]}', is not connected" if missing else ""


# --- beside the models of its steps -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Inferred:
    """What is known of an ensemble tensor, and from which model."""

    model: str
    datatype: str
    dims: tuple[int, ...]
    batched: bool

    @property
    def full_dims(self) -> tuple[int, ...]:
        """Its dims with the batch dimension."""
        return (-1, *self.dims) if self.batched else self.dims


def check_models(config: ModelConfig, models: Sequence[ModelConfig]) -> None:
    """Check an ensemble against the completed configurations of its steps' models, in the order of the steps.

    Raises:
        InvalidArgument: the first fault found.
    """
    known = {
        tensor.name: _Inferred(
            config.name, DataType.Name(tensor.data_type), tuple(tensor.dims), config.max_batch_size > 0
        )
        for tensor in (*config.input, *config.output)
    }
    for step, model in zip(config.ensemble_scheduling.step, models, strict=True):
        if model.max_batch_size and config.max_batch_size > model.max_batch_size:
            raise InvalidArgument(
                f"ensemble {config.name} allows maximum batch size {config.max_batch_size}, but it contains model "
                f"{step.model_name} which only allows maximum batch size to be {model.max_batch_size}"
            )
        _check_names(config.name, step, model)
        for tensor, inferred in _mapped(step, model):
            _check_consistent(
                known.setdefault(tensor, inferred), inferred, f"in ensemble {config.name}, ensemble tensor {tensor}"
            )


def _check_names(ensemble: str, step: ModelEnsembling.Step, model: ModelConfig) -> None:
    where = f"in ensemble {ensemble},"
    inputs, outputs = {tensor.name for tensor in model.input}, {tensor.name for tensor in model.output}
    for name, tensor in sorted(step.input_map.items()):
        if name not in inputs:
            raise InvalidArgument(
                f"{where} ensemble tensor {tensor} is mapping to non-existing input {name} in model {step.model_name}"
            )
    for spec in model.input:
        if spec.name not in step.input_map and not spec.optional:
            raise InvalidArgument(
                f"{where} input {spec.name} in model {step.model_name} is not mapped to any ensemble tensors"
            )
    for name, tensor in sorted(step.output_map.items()):
        if name not in outputs:
            raise InvalidArgument(
                f"{where} ensemble tensor {tensor} is mapped from non-existing output {name} in model {step.model_name}"
            )


def _mapped(step: ModelEnsembling.Step, model: ModelConfig) -> Iterator[tuple[str, _Inferred]]:
    """Yield each ensemble tensor that a step reads or writes, as its model has it."""
    batched = model.max_batch_size > 0
    for specs, names in ((model.input, step.input_map), (model.output, step.output_map)):
        for spec in specs:
            if spec.name in names:
                datatype = DataType.Name(spec.data_type)
                yield names[spec.name], _Inferred(step.model_name, datatype, tuple(spec.dims), batched)


def _check_consistent(first: _Inferred, second: _Inferred, where: str) -> None:
    both = f"is inferred from model {first.model} while"
    if first.datatype != second.datatype:
        raise InvalidArgument(
            f"{where}: inconsistent data type: {first.datatype} {both} {second.datatype} is inferred from model "
            f"{second.model}"
        )
    # With the batch dimension too: a model without one, whose first dimension is any, may stand behind one that has.
    if not (fits(first.dims, second.dims) or fits(first.full_dims, second.full_dims)):
        raise InvalidArgument(
            f"{where}: inconsistent shape: {shape_text(first.full_dims)} {both} {shape_text(second.full_dims)} is "
            f"inferred from model {second.model}"
        )


def fits(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two shapes agree, where -1 on either side agrees with any size."""
    return len(first) == len(second) and all(
        -1 in (one, other) or one == other for one, other in zip(first, second, strict=True)
    )


def inherited_labels(
    config: ModelConfig, own: Mapping[str, Sequence[str]], of_steps: Sequence[Mapping[str, Sequence[str]]]
) -> dict[str, Sequence[str]]:
    """Return the class names of each output: its own, or those of the step's output that writes it."""
    labels: dict[str, Sequence[str]] = {}
    for step, known in zip(config.ensemble_scheduling.step, of_steps, strict=True):
        labels.update({tensor: known[output] for output, tensor in step.output_map.items() if output in known})
    outputs = {tensor.name for tensor in config.output}
    return {name: names for name, names in {**labels, **own}.items() if name in outputs}


# --- which models there are -------------------------------------------------------------------------------------------


def not_available(ensemble: str, models: Iterable[str]) -> InvalidArgument:
    """Return the error for models that are nowhere, or whose configuration is broken."""
    names = ", ".join(models)
    return InvalidArgument(f"ensemble {ensemble} contains models that are not available or ambiguous: {names}")


def not_loaded(ensemble: str, model: str, version: int, reasons: Mapping[int, str]) -> InvalidArgument:
    """Return the error for a model of which the wanted version, or any, did not load; `reasons` are by version."""
    needs = f"ensemble '{ensemble}' depends on '{model}'"
    if version != NEWEST:
        return InvalidArgument(f"{needs} whose required version {version} is not loaded.")
    states = "; ".join(f"version {failed} is at UNAVAILABLE state: {why}" for failed, why in sorted(reasons.items()))
    return InvalidArgument(f"{needs} which has no loaded version. Model '{model}' loading failed with error: {states};")


# --- the order of loading ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """Models so that each stands behind all that it depends on, and those that never can."""

    models: tuple[str, ...]
    circular: Mapping[str, str]
    """Those that are part of a circle, or depend on one, and the circle in Triton's words."""


def load_order(depends: Mapping[str, Collection[str]]) -> LoadOrder:
    """Order the keys of `depends`, which maps each model to those that it depends on.

    Dependencies that are no keys are left out: whether they are there is for the load to say.
    """
    waiting = {model: set(needs) & depends.keys() for model, needs in depends.items()}
    order: list[str] = []
    while free := sorted(model for model, needs in waiting.items() if not needs):
        order += free
        for model in free:
            del waiting[model]
        for needs in waiting.values():
            needs.difference_update(free)
    return LoadOrder(tuple(order), {model: _circle(model, waiting) for model in sorted(waiting)})


def _circle(start: str, waiting: Mapping[str, Collection[str]]) -> str:
    """Walk from a model that waits for ever until a model comes again."""
    path = [start]
    while path.count(path[-1]) == 1:
        path.append(min(waiting[path[-1]]))
    circle = path[path.index(path[-1]) :]
    return f"circular dependency between ensembles: {' -> '.join(circle)}"
