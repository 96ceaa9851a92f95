"""The v2 protocol's verbs as methods: all that a protocol calls, and the one data plane under them.

`submit` is the verb of inference; it and everything it calls run in the loop's thread, without a task, a future or a
lock. The others are the control plane.
"""

import asyncio
import logging
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako import __version__
from jubako.errors import InvalidArgument, JubakoError, Unavailable
from jubako.lifecycle import IndexRow, Lifecycle
from jubako.loading import LoadOptions
from jubako.repository import Snapshot
from jubako.request import LATEST, InferRequest, InferResponse, Reply, TensorSpec, Ticket
from jubako.runner import Runner
from jubako.schedulers.cache import ResponseCache
from jubako.statistics import ModelStatistics, Refusal

log = logging.getLogger("jubako.server")

EXTENSIONS: Sequence[str] = (
    "classification",
    "model_repository",
    "model_configuration",
    "system_shared_memory",
    "cuda_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
"""What is built, in the order in which Triton lists its own."""
ON_DEMAND = frozenset(("system_shared_memory", "cuda_shared_memory", "trace", "logging"))
"""Those that are there only where they are asked for (`ServerOptions.extensions`)."""

VERSION = re.compile(r"[ \t-\r]*([+-]?)([0-9]+)")
STOPPING: Final = "Server is stopping, scheduler for model has stopped accepting new inference requests"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the whole server is told at its start."""

    server_id: str = "triton"
    strict_readiness: bool = True
    extensions: Collection[str] = ()
    """Those extensions of `ON_DEMAND` that the protocols offer."""
    load: LoadOptions = field(default_factory=LoadOptions)


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model's face: its ready versions, and its tensors with the batch dimension as -1."""

    name: str
    versions: Sequence[int]
    platform: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]


@dataclass(frozen=True, slots=True)
class VersionStatistics:
    """What one model version has counted."""

    name: str
    version: int
    statistics: ModelStatistics
    waiting: int = 0
    """Requests in the queue, now."""
    load_ns: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    """The configuration's `metric_tags`."""
    cached: bool = False
    """Its answers are kept in the cache."""


def parse_version(text: str) -> int:
    """Return a version as clients write it; the empty string asks for the highest ready one.

    Reads a number as C's `stol` does: white space before the digits, and whatever follows them, is ignored.

    Raises:
        InvalidArgument: not a number, one that takes more than 63 bits, or a negative one.
    """
    if not text:
        return LATEST
    found = VERSION.match(text)
    digits = found[2].lstrip("0") or "0" if found else ""
    number = int(found[1] + digits) if found and len(digits) <= 19 else None
    if number is None or not -(2**63) <= number < 2**63:
        raise InvalidArgument(
            f"failed to get model version from specified version string '{text}' (details: stol), version should be "
            "an integral value > 0"
        )
    if number < 0:
        raise InvalidArgument(f"invalid model version specified '{text}' , version should be an integral value > 0")
    return number


class InferenceServer:
    """Everything that is served, from `async with` to the end of it."""

    def __init__(self, options: ServerOptions | None = None) -> None:
        self.options = options or ServerOptions()
        self._lifecycle = Lifecycle(self.options.load)
        self._accepting = True

    async def __aenter__(self) -> "InferenceServer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- the data plane -------------------------------------------------------------------------------------------

    def runner(self, name: str, version: int = LATEST) -> Runner:
        """Return the ready version asked for, for an inference.

        Raises:
            NotFound: no such model or version, or none ready.
            Unavailable: the version is known but not ready, or the server is shutting down.
        """
        if not self._accepting:
            self._lifecycle.refuse(name, version, Refusal.STOPPING)
            raise Unavailable(STOPPING)
        return self._lifecycle.runner(name, version)

    def submit(self, request: InferRequest, reply: Reply) -> Ticket | None:
        """Check and queue `request`; `reply` is called in the loop with its answers, errors among them.

        Never raises. A request that is refused here is answered before this returns, and there is no ticket to cancel.
        """
        try:
            return self.runner(request.model_name, request.model_version).submit(request, reply)
        except JubakoError as error:
            reply(InferResponse(request, error=error), True)
            return None

    async def infer(self, request: InferRequest) -> InferResponse:
        """Return the answer to `request`, for callers to whom a future is worth its 50 µs.

        Cancelling the caller cancels the request.

        Raises:
            JubakoError: the answer was an error.
        """
        response = await self._answered(request)
        if response.error is None:
            return response
        try:
            raise response.error
        finally:
            del response  # the error's traceback holds this frame: a circle that would keep the request's arrays alive

    async def _answered(self, request: InferRequest) -> InferResponse:
        if not request.start_ns:
            request.start_ns = time.monotonic_ns()
        answer: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()

        def take(response: InferResponse, final: bool, /) -> None:
            if final and not answer.done():
                answer.set_result(response)

        ticket = self.submit(request, take)
        try:
            return await answer
        except asyncio.CancelledError:
            if ticket is not None:
                ticket.cancel()
            raise

    # --- the control plane ----------------------------------------------------------------------------------------

    @property
    def cache(self) -> ResponseCache | None:
        """The answers that are kept for all models, if any are."""
        return self.options.load.runner.cache

    @property
    def live(self) -> bool:
        """The process answers; it does so until its end."""
        return True

    @property
    def ready(self) -> bool:
        """Inference may be sent: loading is over, and with strict readiness every version is ready."""
        return (
            self._accepting
            and self._lifecycle.settled
            and (not self.options.strict_readiness or self._lifecycle.all_ready)
        )

    @property
    def stopping(self) -> bool:
        """New inference is refused."""
        return not self._accepting

    def metadata(self) -> tuple[str, str, Sequence[str]]:
        """Return the server's name, version and extensions."""
        there = [name for name in EXTENSIONS if name not in ON_DEMAND or name in self.options.extensions]
        return self.options.server_id, __version__, there

    def model_ready(self, name: str, version: int = LATEST) -> bool:
        """Whether a version can take requests.

        Raises:
            NotFound: no such model or version, or none ready.
            Unavailable: known, but not ready.
        """
        if not self._accepting:
            raise Unavailable(STOPPING)
        self._lifecycle.runner(name, version)
        return True

    def model_metadata(self, name: str, version: int = LATEST) -> ModelMetadata:
        """Return a model's face; with a version, of that one alone.

        Raises:
            NotFound: no such model or version, or none ready.
            Unavailable: known, but not ready.
        """
        runner = self._lifecycle.runner(name, version)
        batch = (-1,) if runner.interface.batched else ()
        return ModelMetadata(
            name,
            self._lifecycle.ready_versions(name) if version == LATEST else [version],
            runner.config.platform or runner.config.backend,
            [TensorSpec(i.name, i.datatype, (*batch, *i.dims)) for i in runner.interface.inputs.values()],
            [TensorSpec(o.name, o.datatype, (*batch, *o.dims)) for o in runner.interface.outputs.values()],
        )

    def model_config(self, name: str, version: int = LATEST) -> ModelConfig:
        """Return the completed and normalised configuration.

        Raises:
            NotFound: no such model or version, or none ready.
            Unavailable: known, but not ready.
        """
        return self._lifecycle.runner(name, version).config

    def statistics(self, name: str = "", version: int = LATEST) -> list[VersionStatistics]:
        """Return the counts of every ready version of every model, of one model, or of one version.

        Raises:
            InvalidArgument: the model, or the version, is not ready or not known; Triton answers 400 to both.
        """
        runners = self._lifecycle.ready_runners()
        if name:
            runners = [runner for runner in runners if runner.name == name]
            if not runners:
                raise InvalidArgument(f"requested model '{name}' is not available")
            if version != LATEST:
                runners = [runner for runner in runners if runner.version == version]
                if not runners:
                    raise InvalidArgument(f"requested model version is not available for model '{name}'")
        return [_statistics_of(runner) for runner in runners]

    def index(self, ready_only: bool = False) -> list[IndexRow]:
        """Return a row for each known version, sorted by name and version."""
        return self._lifecycle.index(ready_only)

    def expect(self, snapshot: Snapshot) -> None:
        """Know what is going to be loaded, as loading, before `load` is called with it."""
        self._lifecycle.expect(snapshot)

    async def load(self, snapshot: Snapshot) -> None:
        """Load everything in `snapshot`; return when each version is ready or has failed."""
        await self._lifecycle.load(snapshot)

    def stop_accepting(self) -> None:
        """Refuse new inference from now on, and turn ready off; live stays on."""
        self._accepting = False

    async def drain(self, timeout_s: float) -> bool:
        """Wait until no request is queued or running; False if that took longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._lifecycle.drained()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Refuse what still waits, let running executions end, and unload everything."""
        self.stop_accepting()
        await self._lifecycle.close()


def _statistics_of(runner: Runner) -> VersionStatistics:
    tags = dict(runner.config.metric_tags)
    return VersionStatistics(
        runner.name, runner.version, runner.statistics, runner.waiting, runner.load_ns, tags, runner.cached
    )
