"""A server of fake models in the test's own loop, and requests for them."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import uvloop
from fakes import FakeModel, write_models

from jubako.errors import JubakoError
from jubako.loading import LoadOptions
from jubako.request import InferRequest, InferResponse, Signature, TensorSpec, Ticket
from jubako.runner import RunnerOptions
from jubako.server import InferenceServer, ServerOptions
from jubako.tensor import Datatype

P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


@contextlib.asynccontextmanager
async def serving(
    folder: Path, models: Mapping[str, FakeModel], options: RunnerOptions | None = None
) -> AsyncIterator[InferenceServer]:
    """Load `models`; whatever they hold is let go at the end."""
    load = LoadOptions(runner=options or RunnerOptions())
    async with InferenceServer(ServerOptions(load=load)) as server:
        await server.load(write_models(folder, models))
        assert server.ready, server.index()
        try:
            yield server
        finally:
            for model in models.values():
                model.release.set()


class Sent:
    """A request that was sent, and its answer."""

    def __init__(self, server: InferenceServer, request: InferRequest) -> None:
        self._answer: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()
        self.ticket: Ticket | None = server.submit(request, self._take)

    def _take(self, response: InferResponse, final: bool, /) -> None:
        assert final
        self._answer.set_result(response)

    async def error(self) -> JubakoError | None:
        async with asyncio.timeout(20):
            return (await self._answer).error


def sum_of(rows: int, model: str = "simple", columns: int = 16) -> InferRequest:
    """Return a request for fakes.simple."""
    zeros = np.zeros((rows, columns), np.int32)
    specs = tuple(TensorSpec(f"INPUT{i}", Datatype.INT32, zeros.shape) for i in range(2))
    return InferRequest(model, -1, Signature(specs), [zeros, zeros], start_ns=time.monotonic_ns())


async def send(server: InferenceServer, *rows: int, model: str = "simple") -> None:
    """Send requests of so many rows at the same time, and wait until all are answered."""
    sent = [Sent(server, sum_of(r, model)) for r in rows]
    for one in sent:
        assert await one.error() is None


def floats(count: int, model: str) -> InferRequest:
    """Return a request for fakes.failing, or an identity of FP32."""
    array = np.zeros(count, np.float32)
    signature = Signature((TensorSpec("INPUT0", Datatype.FP32, array.shape),))
    return InferRequest(model, -1, signature, [array], start_ns=time.monotonic_ns())


async def until_it_runs(model: FakeModel) -> None:
    """Wait until the model has begun to execute."""
    await asyncio.to_thread(model.wait_until_it_runs)
