"""A backend, and models of it, whose loads and executions the tests decide. Real threads; no sleeps, no sockets."""

import asyncio
import importlib.machinery
import sys
import threading
import time
import types
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.base import Backend, Instance, ModelFiles
from jubako.backends.placement import Placement, place
from jubako.config.normalise import normalise
from jubako.loading import LoadOptions, load_runner
from jubako.repository import BrokenModel, Snapshot, StoredVersion
from jubako.request import InferRequest, InferResponse, Signature, TensorSpec
from jubako.runner import Runner, RunnerOptions
from jubako.server import InferenceServer, ServerOptions
from jubako.tensor import Array, Datatype

PATIENCE_S = 20.0
T = TypeVar("T")
Execute = Callable[[Mapping[str, Array]], Sequence[Array]]


def run(scene: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; what hangs fails."""

    async def impatiently() -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await scene

    return asyncio.run(impatiently())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds."""
    while not condition():  # noqa: ASYNC110  (what tests wait for happens in threads that know no loop)
        await asyncio.sleep(0.001)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait, outside of any loop, until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.001)


def instance_threads() -> list[str]:
    """Return the names of the threads of instances that are alive."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("jubako "))


def negate(inputs: Mapping[str, Array]) -> Sequence[Array]:
    """Return Y = -X and Z = X + 1."""
    return -inputs["X"], inputs["X"] + 1


class Held:
    """A step that waits until the test lets it go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    def wait(self) -> None:
        self.begun.set()
        assert self.release.wait(PATIENCE_S)

    async def has_begun(self) -> None:
        await until(self.begun.is_set)

    def then(self, execute: Execute = negate) -> Execute:
        """Return `execute`, held until the test lets it go."""

        def held(inputs: Mapping[str, Array]) -> Sequence[Array]:
            self.wait()
            return execute(inputs)

        return held


class FakeInstance(Instance):
    """Computes what it was told to, and remembers in which threads it was called."""

    def __init__(self, execute: Execute = negate, name: str = "") -> None:
        self.compute = execute
        self.name = name
        self.threads: list[int] = [threading.get_ident()]
        self.rows: list[int] = []
        self.closed = threading.Event()

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        self.threads.append(threading.get_ident())
        self.rows.append(inputs["X"].shape[0])
        return self.compute(inputs)

    def close(self) -> None:
        self.threads.append(threading.get_ident())
        assert not self.closed.is_set(), "closed twice"
        self.closed.set()


def a_request(value: int = 0, *, rows: int = 1, id: str = "", signature: Signature | None = None) -> InferRequest:
    """Return a request whose X is full of `value`."""
    spec = TensorSpec("X", Datatype.INT32, (rows, 2))
    array = np.full((rows, 2), value, np.int32)
    return InferRequest("m", -1, signature or Signature((spec,)), [array], id, time.monotonic_ns())


class Answered:
    """A `Reply` that keeps what it is told; more than one answer fails."""

    def __init__(self) -> None:
        self.response: InferResponse | None = None
        self.arrived = asyncio.Event()

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        assert final
        assert self.response is None, "answered twice"
        self.response = response
        self.arrived.set()

    @property
    def error(self) -> str:
        """The error's class and text; empty for a success, or before any answer."""
        error = self.response.error if self.response is not None else None
        return "" if error is None else f"{type(error).__name__}: {error}"

    @property
    def values(self) -> list[Any]:
        assert self.response is not None
        assert self.response.error is None, self.error
        return [array.tolist() for array in self.response.arrays]


# --- configurations, runners and servers ------------------------------------------------------------------------------


def a_config(name: str = "m", *, batch: int = 8, groups: str = "{ count: 1 }", more: str = "") -> ModelConfig:
    """Return the configuration of a model with X, INT32 [2], in and Y and Z out; CPU only."""
    dims = "dims: [ 2 ]" if batch else "dims: [ -1, 2 ]"
    kinds = groups.replace("{", "{ kind: KIND_CPU")
    text = f"""
        name: "{name}" backend: "programmable" default_model_filename: "model" max_batch_size: {batch}
        input {{ name: "X" data_type: TYPE_INT32 {dims} }}
        output [ {{ name: "Y" data_type: TYPE_INT32 {dims} }}, {{ name: "Z" data_type: TYPE_INT32 {dims} }} ]
        instance_group [ {kinds} ] {more}
    """
    return normalise(text_format.Parse(text, ModelConfig()), ())


DYNAMIC = "dynamic_batching { }"


async def a_runner(
    execute: Execute | Sequence[Execute] = negate,
    config: ModelConfig | None = None,
    options: RunnerOptions | None = None,
) -> tuple[Runner, list[FakeInstance]]:
    """Load a runner; `execute` is what its instances compute, one for all or one each."""
    config = config or a_config()
    placements, _ = place(config, ())
    each = execute if isinstance(execute, Sequence) else [execute] * len(placements)
    made: dict[str, FakeInstance] = {}

    def load(placement: Placement) -> Instance:
        index = placements.index(placement)
        made[placement.name] = FakeInstance(each[index], placement.name)
        return made[placement.name]

    runner = await load_runner(config, 1, {}, placements, load, options or RunnerOptions())
    return runner, [made[placement.name] for placement in placements]


@dataclass
class Model:
    """A model in a snapshot: what its load does, in an instance's thread, and what came of it."""

    name: str = "m"
    version: int = 1
    config: ModelConfig | None = None
    execute: Execute = negate
    complete: Callable[[], object] = lambda: None
    """Called when the configuration is completed, before any instance loads."""
    load: Callable[[str], object] = lambda instance: None
    """Called with the name of each instance as it loads; may raise or wait."""
    instances: list[FakeInstance] = field(default_factory=list)


class ProgrammableBackend(Backend):
    """The backend `programmable`: a model's folder says which `Model` it is."""

    by_root: dict[Path, Model] = {}  # noqa: RUF012  (one for all, on purpose: a registry makes its own backend)

    def complete(self, config: ModelConfig, files: ModelFiles) -> ModelConfig:
        self.by_root[files.root].complete()
        return config

    def load(self, config: ModelConfig, files: ModelFiles, placement: Placement) -> Instance:
        model = self.by_root[files.root]
        model.load(placement.name)
        instance = FakeInstance(model.execute, placement.name)
        model.instances.append(instance)
        return instance


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Callable[..., Snapshot]]:
    """Give a function that writes models into a folder and returns them as the store would."""
    name = "jubako.backends.programmable"
    module: Any = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.BACKEND = ProgrammableBackend
    sys.modules[name] = module

    def write(*models: Model, broken: Sequence[BrokenModel] = ()) -> Snapshot:
        stored = []
        for model in models:
            root = tmp_path / f"{model.name}-{model.version}"
            (root / str(model.version)).mkdir(parents=True)
            (root / str(model.version) / "model").touch()
            config = model.config or a_config(model.name)
            (root / "config.pbtxt").write_text(text_format.MessageToString(config))
            ProgrammableBackend.by_root[root] = model
            stored.append(StoredVersion(model.name, model.version, "", "", "", root))
        return Snapshot(stored, broken)

    yield write
    del sys.modules[name]
    ProgrammableBackend.by_root.clear()


def a_server(*, threads: int = 4, strict: bool = True, runner: RunnerOptions | None = None) -> InferenceServer:
    """Return a server without models."""
    load = LoadOptions(model_load_thread_count=threads, runner=runner or RunnerOptions())
    return InferenceServer(ServerOptions(strict_readiness=strict, load=load))


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Check that the threads of all instances that the block starts have ended with it."""
    before = instance_threads()
    yield
    assert instance_threads() == before
