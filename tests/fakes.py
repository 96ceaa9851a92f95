"""A backend whose models are Python functions over arrays, and a server of such models in a thread of this process."""

import asyncio
import contextlib
import importlib.machinery
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import uvicorn
import uvloop
from tritonclient.grpc.model_config_pb2 import ModelConfig
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jubako.backends.base import Backend, Instance, ModelFiles
from jubako.backends.placement import Placement
from jubako.loading import LoadOptions
from jubako.protocols.forwarding import NO_FORWARDING, Forwarding
from jubako.protocols.rest.app import RestApp
from jubako.protocols.rest.gate import Gate, allow_all
from jubako.protocols.rest.lane import protocol_class
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.parts import Parts
from jubako.protocols.settings import NO_SETTINGS, Settings
from jubako.protocols.shared_memory import NO_REGIONS, Regions
from jubako.repository import Snapshot, StoredVersion
from jubako.runner import RunnerOptions
from jubako.server import InferenceServer, ServerOptions
from jubako.statistics import Failure
from jubako.tensor import Array

Function = Callable[[Mapping[str, Array]], Sequence[Array]]
LANES = ("fast", "asgi")
PATIENCE_S = 20


@dataclass
class FakeModel:
    """A model: its config.pbtxt without name and backend, and what it computes.

    With `held`, an execution waits until the test lets it go.
    """

    config: str
    function: Function
    labels: Sequence[str] = ()
    held: bool = False
    executions: int = 0
    """Executions that have begun."""
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    release: threading.Event = field(default_factory=threading.Event)

    def execute(self, inputs: Mapping[str, Array]) -> Sequence[Array]:
        self.executions += 1
        self.begun.release()
        if self.held:
            assert self.release.wait(PATIENCE_S)
        return self.function(inputs)

    def wait_until_it_runs(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE_S)


class FakeInstance(Instance):
    def __init__(self, model: FakeModel) -> None:
        self._model = model

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        return self._model.execute(inputs)


class FakeBackend(Backend):
    """The backend `fake`: a model's folder says which `FakeModel` it is."""

    by_folder: ClassVar[dict[Path, FakeModel]] = {}

    def complete(self, config: ModelConfig, files: ModelFiles) -> ModelConfig:
        return config

    def load(self, config: ModelConfig, files: ModelFiles, placement: Placement) -> Instance:
        return FakeInstance(self.by_folder[files.root])


def register_fake_backend() -> None:
    """Make `backend: "fake"` in a config.pbtxt mean `FakeBackend`."""
    name = "jubako.backends.fake"
    module: Any = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.BACKEND = FakeBackend
    sys.modules[name] = module


def write_models(folder: Path, models: Mapping[str, FakeModel]) -> Snapshot:
    """Write a folder for each model and return them as the store would."""
    register_fake_backend()
    stored = []
    for name, model in models.items():
        root = folder / name
        (root / "1").mkdir(parents=True)
        (root / "1" / "model.fake").touch()
        if model.labels:
            (root / "labels.txt").write_text("".join(f"{label}\n" for label in model.labels))
        (root / "config.pbtxt").write_text(
            f'name: "{name}"\nbackend: "fake"\ndefault_model_filename: "model.fake"\n{model.config}'
        )
        FakeBackend.by_folder[root] = model
        stored.append(StoredVersion(name, 1, "", "", "", root))
    return Snapshot(stored, [])


def tensors(kind: str, *entries: tuple[str, str, str]) -> str:
    """Write `input` or `output` entries of a config.pbtxt from (name, datatype, dims)."""
    lines = (f'{{ name: "{name}" data_type: TYPE_{datatype} dims: {dims} }}' for name, datatype, dims in entries)
    return f"{kind} [ {', '.join(lines)} ]\n"


def simple(*, held: bool = False, more: str = "") -> FakeModel:
    """Return INPUT0 ± INPUT1, INT32 [16], batches of up to 8."""
    config = (
        "max_batch_size: 8\n"
        + tensors("input", ("INPUT0", "INT32", "[ 16 ]"), ("INPUT1", "INT32", "[ 16 ]"))
        + tensors("output", ("OUTPUT0", "INT32", "[ 16 ]"), ("OUTPUT1", "INT32", "[ 16 ]"))
        + more
    )
    return FakeModel(config, _sum_and_difference, held=held)


def _sum_and_difference(inputs: Mapping[str, Array]) -> Sequence[Array]:
    first, second = inputs["INPUT0"], inputs["INPUT1"]
    return first + second, first - second


def identity(datatype: str, *, dims: str = "[ -1 ]", held: bool = False, more: str = "") -> FakeModel:
    """Return INPUT0 as it came, of any datatype; without a batch dimension."""
    config = tensors("input", ("INPUT0", datatype, dims)) + tensors("output", ("OUTPUT0", datatype, dims)) + more
    return FakeModel(config, lambda inputs: [inputs["INPUT0"].copy()], held=held)


def failing() -> FakeModel:
    """Return a model that breaks whenever it runs."""
    model = identity("FP32")

    def fail(inputs: Mapping[str, Array]) -> Sequence[Array]:
        raise ValueError("no luck \x1b[31m\ntoday")

    model.function = fail
    return model


@dataclass
class Served:
    """A server that is running in a thread."""

    host: str
    port: int
    models: Mapping[str, FakeModel]
    server: InferenceServer
    front: uvicorn.Server
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

    def waiting(self, model: str) -> int:
        """Return how many requests stand in the model's queue."""
        return int(self.in_loop(lambda: self.server.runner(model).waiting))

    def failures(self, model: str) -> dict[str, int]:
        """Return how many requests of the model failed, by the reason that the metrics show."""
        found = self.in_loop(lambda: self.server.statistics(model))[0].statistics.failures
        return {reason.name: found[reason] for reason in Failure if found[reason]}

    def in_loop(self, function: Callable[[], Any]) -> Any:
        """Call `function` in the server's loop and return what it returns."""

        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE_S)


@contextlib.contextmanager
def serving(
    lane: str,
    folder: Path,
    models: Mapping[str, FakeModel],
    *,
    limits: Limits | None = None,
    gate: Gate = allow_all,
    regions: Regions = NO_REGIONS,
    forwarding: Forwarding = NO_FORWARDING,
    settings: Settings = NO_SETTINGS,
    runner: RunnerOptions | None = None,
    **options: Any,
) -> Iterator[Served]:
    """Serve `models` over `lane` until the end of the block; `options` are uvicorn's."""
    limits = limits or Limits()
    snapshot = write_models(folder, models)
    started: list[Served] = []
    ready = threading.Event()

    async def serve(listener: socket.socket) -> None:
        load = LoadOptions(runner=runner or RunnerOptions())
        async with InferenceServer(ServerOptions(load=load)) as server:
            await server.load(snapshot)
            parts = Parts(server, limits, gate, regions=regions, forwarding=forwarding, settings=settings)
            config = uvicorn.Config(
                RestApp(parts),
                http=protocol_class(parts) if lane == "fast" else HttpToolsProtocol,
                lifespan="off",
                log_config=None,
                log_level="critical",
                **options,
            )
            front = uvicorn.Server(config)
            host, port = listener.getsockname()
            loop = asyncio.get_running_loop()
            started.append(Served(host, port, models, server, front, loop, threading.current_thread()))
            ready.set()
            await front.serve(sockets=[listener])

    def live() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(listener))
        finally:
            ready.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=live, name=f"server ({lane})")
        thread.start()
        ready.wait(PATIENCE_S)
        assert started, "the server did not start"
        try:
            yield started[0]
        finally:
            for model in models.values():
                model.release.set()
            started[0].front.should_exit = True
            thread.join(PATIENCE_S)
            started[0].front.force_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
