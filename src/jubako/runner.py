"""One model version being served: its interface, its instances, its scheduler, and what it has counted."""

import asyncio
import enum
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.placement import Device
from jubako.config.interface import Admission, Interface, interface_of
from jubako.config.metrics import first_response_bounds
from jubako.errors import Cancelled, Exhausted, InvalidArgument, JubakoError, Unavailable
from jubako.instances import Execution, InstanceThread, close_instances
from jubako.request import (
    InferRequest,
    InferResponse,
    ParameterValue,
    Reply,
    ResponseSignature,
    Signature,
    TensorSpec,
    Ticket,
    label,
)
from jubako.schedulers.batcher import Batcher, Pending
from jubako.schedulers.cache import ANSWERED, Remembered, ResponseCache
from jubako.schedulers.choice import queue_for
from jubako.schedulers.ensemble import Ensemble, EnsembleScheduler
from jubako.schedulers.in_flight import InFlight
from jubako.schedulers.in_loop import InLoopLeave
from jubako.statistics import Failure, ModelStatistics, Refusal
from jubako.statistics.extras import FIRST_RESPONSE_BOUNDS_MS, Extras, FirstResponses, Summaries
from jubako.tensor import Array, Datatype

log = logging.getLogger("jubako.runner")

REMEMBERED = 1024
"""How many signatures, of requests and of answers, a runner remembers before it forgets them all."""


class State(enum.Enum):
    """A model version's state, in Triton's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """What the server asks of every runner."""

    max_queue_size: int = 4096
    """Where the configuration sets no bound (0): a queue without one would take memory until there is none."""
    in_flight: InFlight = field(default_factory=InFlight)
    """What all runners with these options have to do together, and may."""
    run_in_loop: bool = True
    """Executions shorter than a thread hop may run in the loop."""
    summaries: bool = False
    """Keep the durations of the last minute, for quantiles."""
    first_responses: bool = False
    """Count the times to the first response."""
    cache: ResponseCache | None = None
    """The server's, for the models that ask for one."""


@dataclass
class Runner:
    """A model version that has been loaded. Made by `loading.load_runner`; lives in the loop's thread."""

    config: ModelConfig
    version: int
    labels: Mapping[str, Sequence[str]]
    instances: Sequence[InstanceThread]
    options: RunnerOptions
    load_ns: int = 0
    statistics: ModelStatistics = field(default_factory=ModelStatistics)
    ensemble: Ensemble | None = None
    """Its steps, where it is an ensemble; it has no instances then."""
    memo: dict[bytes, object] = field(default_factory=dict)
    """Room for a protocol to remember what it found out about this model's requests; it is gone with the runner."""

    def __post_init__(self) -> None:
        self.name: str = self.config.name
        self.interface: Interface = interface_of(self.config)
        self._outputs = tuple(self.interface.outputs)
        self._datatypes = tuple(output.datatype for output in self.interface.outputs.values())
        self._admissions: dict[Signature, Admission] = {}
        self._answers: dict[object, ResponseSignature] = {}
        self.statistics.extras = self._make_extras()
        cache = self.options.cache if self.config.response_cache.enable else None
        self._remembered = None if cache is None else Remembered(cache, self.statistics)
        self._batcher = self._make_batcher() if self.ensemble is None else self._make_ensemble(self.ensemble)

    def _make_batcher(self) -> Batcher:
        return Batcher(
            queue_for(self.config, self.interface, self.options.max_queue_size),
            self.instances,
            self,
            outputs=self._outputs,
            batched=self.interface.batched,
            leave=InLoopLeave(possible=self._may_run_in_loop()),
            loop=asyncio.get_running_loop(),
            ordered=self.config.dynamic_batching.preserve_ordering,
            in_flight=self.options.in_flight,
        )

    def _make_ensemble(self, ensemble: Ensemble) -> EnsembleScheduler:
        return EnsembleScheduler(
            ensemble, self, max_queue_size=self.options.max_queue_size, loop=asyncio.get_running_loop()
        )

    def _make_extras(self) -> Extras | None:
        summaries = Summaries() if self.options.summaries else None
        bounds = first_response_bounds(self.config)
        first = FirstResponses(bounds or FIRST_RESPONSE_BOUNDS_MS) if self.options.first_responses else None
        return None if summaries is None and first is None else Extras(summaries, first)

    def _may_run_in_loop(self) -> bool:
        """Only on CPU, one instance, fixed shapes: the time of the next run is then that of the last ones."""
        fixed = all(
            -1 not in spec.dims and spec.datatype is not Datatype.BYTES for spec in self.interface.inputs.values()
        )
        return (
            self.options.run_in_loop
            and fixed
            and len(self.instances) == 1
            and self.instances[0].placement.device is Device.CPU
            and self.config.backend != "python"
        )

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._batcher.waiting

    @property
    def cached(self) -> bool:
        """Its answers are kept in the server's cache."""
        return self._remembered is not None

    def submit(self, request: InferRequest, reply: Reply) -> Ticket:
        """Check and queue a request; one whose answer is in the cache is answered before this returns.

        Raises:
            InvalidArgument: it does not fit the model.
            Unavailable: the queue or (Exhausted) the server is full, or the runner is stopping.
        """
        signature = request.signature
        admission = self._admissions.get(signature)
        if admission is None:
            try:
                admission = self.interface.admit(signature, request.id)
            except InvalidArgument:
                self.statistics.refused(Refusal.INVALID)
                raise
            if signature.reusable:
                if len(self._admissions) >= REMEMBERED:
                    self._admissions.clear()
                self._admissions[signature] = admission
        if self._remembered is not None and self._may_recall():
            keeping = self._remembered.recall(request, admission, reply)
            if keeping is None:
                return ANSWERED
            reply = keeping
        try:
            return self._batcher.submit(request, admission, reply)
        except Unavailable as error:
            self.statistics.refused(self._refusal(error))
            raise type(error)(f"{label(request.id)}{error}") from None

    def _refusal(self, error: Unavailable) -> Refusal:
        if self._batcher.stopping:
            return Refusal.STOPPING
        return Refusal.SERVER_FULL if isinstance(error, Exhausted) else Refusal.QUEUE_FULL

    def _may_recall(self) -> bool:
        """Whether an answer from the cache overtakes none that must leave before it."""
        ordered = self.config.dynamic_batching.preserve_ordering
        return not (self._batcher.stopping or (ordered and self._batcher.unfinished))

    def executed(self, execution: Execution, batch: Sequence[Pending]) -> None:
        """Count an execution and answer its requests."""
        now_ns = time.monotonic_ns()
        if execution.error is not None:
            for pending in batch:
                if pending.request.trace is not None:
                    _trace(pending, execution)
                reason = Failure.CANCELED if pending.cancelled else Failure.BACKEND
                self._count_failure(reason, now_ns - pending.request.start_ns, execution.gpu)
                error = Cancelled("") if pending.cancelled else execution.error
                pending.reply(InferResponse(pending.request, error=error), True)
            return
        self._count(execution, batch, now_ns)
        for pending, share in zip(batch, execution.shares, strict=True):
            if pending.cancelled:
                pending.reply(InferResponse(pending.request, error=Cancelled("")), True)
            else:
                pending.reply(self._response(pending, share), True)

    def _count(self, execution: Execution, batch: Sequence[Pending], now_ns: int) -> None:
        rows = 0
        input_ns = execution.input_end_ns - execution.start_ns
        infer_ns = execution.infer_end_ns - execution.input_end_ns
        output_ns = execution.stop_ns - execution.infer_end_ns
        now_ms = time.time_ns() // 1_000_000
        statistics, extras = self.statistics, self.statistics.extras
        answered, answered_rows, total_ns, queue_ns = 0, 0, 0, 0
        for pending in batch:
            rows += pending.rows
            if pending.request.trace is not None:
                _trace(pending, execution)
            request_ns = now_ns - pending.request.start_ns
            if pending.cancelled:
                self._count_failure(Failure.CANCELED, request_ns, execution.gpu)
                continue
            queued_ns = execution.start_ns - pending.queued_ns
            answered += 1
            answered_rows += pending.rows
            total_ns += request_ns
            queue_ns += queued_ns
            statistics.took(request_ns, queued_ns)
            if extras is not None:
                extras.succeeded(now_ns, request_ns, queued_ns, input_ns, infer_ns, output_ns)
        shares = (statistics,) if execution.gpu is None else (statistics, statistics.on_gpu(execution.gpu))
        for share in shares:
            share.executed(rows, input_ns, infer_ns, output_ns, now_ms)
            share.succeeded(answered, answered_rows, total_ns, queue_ns, input_ns, infer_ns, output_ns)

    def _count_failure(self, reason: Failure, total_ns: int, gpu: int | None) -> None:
        self.statistics.failed(reason, total_ns)
        if gpu is not None:
            self.statistics.on_gpu(gpu).failed(reason, total_ns)
        if self.statistics.extras is not None:
            self.statistics.extras.failed(total_ns)

    def _response(self, pending: Pending, share: Sequence[Array]) -> InferResponse:
        positions = pending.admission.outputs
        arrays = share if positions is None else [share[i] for i in positions]
        key = (positions, *[array.shape for array in arrays])
        signature = self._answers.get(key)
        if signature is None:
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            signature = self._answers[key] = self._describe(positions, arrays)
        parameters = None if self.ensemble is None else _correlation(pending.request.signature)
        batched = self.interface.batched
        return InferResponse(pending.request, signature, arrays, None, self.labels, batched, parameters)

    def _describe(self, positions: tuple[int, ...] | None, arrays: Sequence[Array]) -> ResponseSignature:
        chosen = range(len(self._outputs)) if positions is None else positions
        return ResponseSignature(
            self.name,
            self.version,
            tuple(
                TensorSpec(self._outputs[i], self._datatypes[i], tuple(array.shape))
                for i, array in zip(chosen, arrays, strict=True)
            ),
        )

    def refused(self, pending: Pending, error: JubakoError) -> None:
        """Count and answer a queued request that will not be executed."""
        self._refuse(pending, error, _reason(error))

    def failed(self, pending: Pending, error: JubakoError) -> None:
        """Count and answer a request that ended on its way through an ensemble, for whatever reason (as in Triton)."""
        self._refuse(pending, error, Failure.CANCELED if pending.cancelled else Failure.OTHER)

    def _refuse(self, pending: Pending, error: JubakoError, reason: Failure) -> None:
        if pending.request.trace is not None:
            pending.request.trace.queued(pending.queued_ns)
        self._count_failure(reason, time.monotonic_ns() - pending.request.start_ns, None)
        pending.reply(InferResponse(pending.request, error=error), True)

    def stop(self) -> None:
        """Accept no more requests; what is queued still runs."""
        self._batcher.stop()

    async def drained(self) -> None:
        """Wait until nothing is queued or running."""
        await self._batcher.drained()

    async def close(self) -> None:
        """Refuse what still waits, let running executions end, and unload."""
        self._batcher.close(
            Unavailable("Server is stopping, scheduler for model has stopped accepting new inference requests")
        )
        await close_instances(self.instances)
        await self._batcher.drained()  # an ensemble has no instances: its last steps end with those of their models


def _correlation(signature: Signature) -> Mapping[str, ParameterValue]:
    """Return what every answer of an ensemble says, as in Triton."""
    return {
        "sequence_id": signature.sequence_id,
        "sequence_start": signature.sequence_start,
        "sequence_end": signature.sequence_end,
    }


def _trace(pending: Pending, execution: Execution) -> None:
    trace = pending.request.trace
    assert trace is not None
    trace.ran(pending.queued_ns, execution.start_ns, execution.input_end_ns, execution.infer_end_ns, execution.stop_ns)


def _reason(error: JubakoError) -> Failure:
    """Return why a request failed that had been queued and was not executed."""
    match error:
        case Cancelled():
            return Failure.CANCELED
        case Unavailable():
            return Failure.REJECTED
        case _:
            return Failure.OTHER
