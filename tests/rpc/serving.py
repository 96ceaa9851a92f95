"""A gRPC server over fake models, in a thread of this process."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from fakes import PATIENCE_S, FakeModel, write_models
from tritonclient.grpc import service_pb2 as pb

from jubako.protocols.access import OPEN, AccessRules
from jubako.protocols.forwarding import NO_FORWARDING, Forwarding
from jubako.protocols.grpc.aio import GrpcServer
from jubako.protocols.grpc.options import GrpcOptions
from jubako.protocols.settings import NO_SETTINGS, Settings
from jubako.protocols.shared_memory import NO_REGIONS, Regions
from jubako.server import InferenceServer

LOCAL = GrpcOptions(address="127.0.0.1", port=0)


@dataclass
class Served:
    """A server that is running in a thread."""

    models: Mapping[str, FakeModel]
    server: InferenceServer
    front: GrpcServer
    loop: asyncio.AbstractEventLoop
    ending: asyncio.Event

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.front.port}"

    def in_loop(self, function: Callable[[], Any]) -> Any:
        """Call `function` in the server's loop and return what it returns."""

        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE_S)

    def waiting(self, model: str) -> int:
        """Return how many requests stand in the model's queue."""
        return int(self.in_loop(lambda: self.server.runner(model).waiting))

    def wait_until_queued(self, model: str, count: int) -> None:
        until(lambda: self.waiting(model) == count)

    def begin_to_stop(self, grace_s: float) -> None:
        """Have the gRPC server stop, while the caller goes on."""
        asyncio.run_coroutine_threadsafe(self.front.stop(grace_s), self.loop)


def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds."""
    pause = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to be")


@contextlib.contextmanager
def serving(
    folder: Path,
    models: Mapping[str, FakeModel],
    options: GrpcOptions = LOCAL,
    access: AccessRules = OPEN,
    regions: Regions = NO_REGIONS,
    forwarding: Forwarding = NO_FORWARDING,
    settings: Settings = NO_SETTINGS,
) -> Iterator[Served]:
    """Serve `models` over gRPC until the end of the block."""
    snapshot = write_models(folder, models)
    started: list[Served] = []
    ready = threading.Event()

    async def serve() -> None:
        async with InferenceServer() as server:
            await server.load(snapshot)
            front = GrpcServer(server, options, access, regions, forwarding, settings)
            await front.start()
            started.append(Served(models, server, front, asyncio.get_running_loop(), asyncio.Event()))
            ready.set()
            await started[0].ending.wait()
            await front.stop(0)

    def live() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=live, name="gRPC server")
    thread.start()
    ready.wait(PATIENCE_S)
    assert started, "the server did not start"
    try:
        yield started[0]
    finally:
        for model in models.values():
            model.release.set()
        started[0].loop.call_soon_threadsafe(started[0].ending.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def a_request(model: str = "simple", *, id: str = "", rows: int = 1, version: str = "") -> pb.ModelInferRequest:
    """Return a request for a `simple` model, raw: INPUT0 counts up, INPUT1 is ones."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    counting = np.arange(16 * rows, dtype=np.int32)
    for name, array in (("INPUT0", counting), ("INPUT1", np.ones(16 * rows, np.int32))):
        request.inputs.add(name=name, datatype="INT32", shape=[rows, 16])
        request.raw_input_contents.append(array.tobytes())
    return request
