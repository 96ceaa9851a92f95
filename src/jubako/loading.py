"""From a stored version to a runner: configuration prepared, instances placed, each loaded in its own thread."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.base import Backend, BackendOptions, Instance, ModelFiles
from jubako.backends.placement import Placement, place
from jubako.backends.registry import BackendRegistry
from jubako.config.backend import ENSEMBLE, infer_backend
from jubako.config.ensemble import check_models, dependencies, inherited_labels
from jubako.config.interface import interface_of
from jubako.config.labels import read_labels
from jubako.config.prepare import prepare
from jubako.errors import InvalidArgument, JubakoError
from jubako.instances import InstanceThread, close_instances, failure
from jubako.repository import StoredVersion, load_config, stored_files
from jubako.runner import Runner, RunnerOptions
from jubako.schedulers.dataflow import graph_of
from jubako.schedulers.ensemble import Ensemble, Submit
from jubako.statistics import ModelStatistics
from jubako.warmup import Sample, read_samples, warm_up

log = logging.getLogger("jubako.loading")


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How models are loaded."""

    auto_complete: bool = True
    gpu_fallback: bool = False
    """A KIND_GPU instance goes to the CPU where there is no GPU, instead of failing the load."""
    model_load_thread_count: int = 4
    backends: Mapping[str, BackendOptions] = field(default_factory=dict)
    gpus: Sequence[int] = ()
    """Ids of the GPUs that may be used."""
    runner: RunnerOptions = field(default_factory=RunnerOptions)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """All that is decided before the first instance loads."""

    config: ModelConfig
    files: ModelFiles
    backend: Backend | None
    """None for an ensemble: other models compute for it."""
    placements: Sequence[Placement]
    labels: Mapping[str, Sequence[str]]
    warnings: Sequence[str]
    warmup: Sequence[Sample] = ()


def plan_load(stored: StoredVersion, backends: BackendRegistry, options: LoadOptions) -> LoadPlan:
    """Prepare the configuration of `stored` and place its instances. Reads files: call it off the loop.

    Raises:
        JubakoError: the model cannot be served, and why; Triton's words where it has some.
    """
    try:
        return _plan(stored, backends, options)
    except JubakoError:
        raise
    except BaseException as error:  # a backend's import or auto-complete: whatever it raises is this model's alone
        log.exception("preparing '%s' version %d broke", stored.model, stored.version)
        raise failure(error) from error


def _plan(stored: StoredVersion, backends: BackendRegistry, options: LoadOptions) -> LoadPlan:
    files = ModelFiles(stored.model, stored.version, stored.root)

    def complete(config: ModelConfig) -> ModelConfig:
        return backends.get(config.backend).complete(config, files)

    config, names = load_config(stored.root, stored.model), stored_files(stored.root, stored.version)
    # Which GPUs there are depends on how the backend was built: KIND_AUTO is the CPU for one without CUDA.
    asked = infer_backend(config or ModelConfig(), stored.model, names).backend
    gpus = backends.get(asked).usable_gpus(options.gpus) if asked else options.gpus
    prepared = prepare(config, stored.model, names, complete if options.auto_complete else None, gpus)
    if prepared.config.platform == ENSEMBLE:
        labels = read_labels(prepared.config, stored.root)
        about_cache = _about_cache(prepared.config, options.runner)
        return LoadPlan(prepared.config, files, None, (), labels, [*prepared.warnings, *about_cache])
    placements, warnings = place(prepared.config, gpus, gpu_fallback=options.gpu_fallback)
    if all(placement.passive for placement in placements):
        raise InvalidArgument(
            f"model '{stored.model}' has no instance that is not passive, so no request would ever run; add an "
            "instance group without 'passive'"
        )
    return LoadPlan(
        prepared.config,
        files,
        backends.get(prepared.config.backend),
        placements,
        read_labels(prepared.config, stored.root),
        [*prepared.warnings, *warnings, *_about_cache(prepared.config, options.runner)],
        read_samples(prepared.config, stored.root),
    )


def _about_cache(config: ModelConfig, options: RunnerOptions) -> list[str]:
    if not config.response_cache.enable or options.cache is not None:
        return []
    return [f"'response_cache.enable' of model '{config.name}' is ignored: the server has no cache, see cache_config"]


def read_dependencies(versions: Iterable[StoredVersion]) -> dict[str, frozenset[str]]:
    """Return, for each model of `versions`, the models that its steps call: none but for an ensemble. Blocks.

    A configuration that cannot be read has none here; its load will say what is wrong with it.
    """
    found: dict[str, frozenset[str]] = {}
    for stored in versions:
        try:
            config = load_config(stored.root, stored.model) or ModelConfig()
        except JubakoError:
            config = ModelConfig()
        found[stored.model] = found.get(stored.model, frozenset()) | dependencies(config)
    return found


def load_ensemble(
    plan: LoadPlan, version: int, steps: Sequence[Runner], submit: Submit, options: RunnerOptions
) -> Runner:
    """Return the runner of an ensemble whose steps' models are served by `steps`; call it in the loop's thread.

    Raises:
        InvalidArgument: the steps do not fit their models.
    """
    config, models = plan.config, [runner.config for runner in steps]
    check_models(config, models)
    labels = inherited_labels(config, plan.labels, [runner.labels for runner in steps])
    bound = config.ensemble_scheduling.max_inflight_requests
    return Runner(config, version, labels, (), options, ensemble=Ensemble(graph_of(config, models), submit, bound))


async def load_runner(
    config: ModelConfig,
    version: int,
    labels: Mapping[str, Sequence[str]],
    placements: Sequence[Placement],
    load: Callable[[Placement], Instance],
    options: RunnerOptions,
    warmup: Sequence[Sample] = (),
) -> Runner:
    """Load an instance for each of `placements`, each in its own thread, warm them up, and return the runner.

    When it fails or is cancelled, what had loaded is closed again first. A load cannot be interrupted: what still loads
    then is not waited for, and is closed by its thread when it has loaded.

    Raises:
        JubakoError: what a backend said, or why a sample of `warmup` failed.
    """
    started_ns = time.monotonic_ns()
    loop = asyncio.get_running_loop()
    instances = [InstanceThread(placement, loop) for placement in placements]
    try:
        results = await asyncio.gather(
            *(instance.start(partial(load, instance.placement)) for instance in instances), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        statistics = ModelStatistics()
        if warmup:
            await warm_up(instances, warmup, interface_of(config), statistics)
        load_ns = time.monotonic_ns() - started_ns
        return Runner(config, version, labels, instances, options, load_ns, statistics)
    except BaseException:
        await close_instances(instances)
        raise
