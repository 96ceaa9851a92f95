"""Requests through a graph of models: each step is a request to its model, made as soon as its inputs exist.

The scheduler is handed a `submit` and never looks a model up. It makes no task and no future: an answer of one step
starts those that waited for it. A request that fails is answered at once, and its other steps are cancelled.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from jubako.config.interface import Admission
from jubako.errors import Cancelled, InvalidArgument, JubakoError, Unavailable
from jubako.instances import Execution
from jubako.request import InferRequest, InferResponse, Reply, TensorSpec, Ticket, label
from jubako.schedulers.batcher import Pending
from jubako.schedulers.dataflow import Correlation, Graph, Plan, bridged
from jubako.tensor import Array

STOPPING: Final = "Server is stopping, scheduler for model has stopped accepting new inference requests"
NOT_ASKED_FOR: Final[Array] = np.empty(0)
"""Stands for an output that the request does not name."""
Submit = Callable[[InferRequest, Reply], Ticket]
"""Give a request to a model's newest or given version; raises a `JubakoError` where that refuses it."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What makes a runner one of an ensemble."""

    graph: Graph
    submit: Submit
    max_inflight: int = 0
    """Requests that are in their steps at a time; 0 sets no bound. Others wait."""


class Answers(Protocol):
    """Whom the scheduler tells how requests ended; it counts them and sends the answers."""

    def executed(self, execution: Execution, batch: Sequence[Pending]) -> None:
        """A request went through all its steps."""

    def refused(self, pending: Pending, error: JubakoError) -> None:
        """A request ended before it was in any step."""

    def failed(self, pending: Pending, error: JubakoError) -> None:
        """A request ended on its way."""


class EnsembleScheduler:
    """Scheduler of one version of an ensemble. Lives in the loop's thread."""

    def __init__(
        self,
        ensemble: Ensemble,
        answers: Answers,
        *,
        max_queue_size: int,
        loop: asyncio.AbstractEventLoop,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.graph = ensemble.graph
        self.send = ensemble.submit
        self.answers = answers
        self.now_ns = now_ns
        self.closed = False
        self._max_inflight = ensemble.max_inflight
        self._max_queue_size = max_queue_size
        self._loop = loop
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._waiting: deque[EnsembleRun] = deque()
        self._inflight = 0
        self._begin_planned = False
        self._stopping = False
        self._emptied: asyncio.Event | None = None

    @property
    def waiting(self) -> int:
        """Requests that are in no step yet."""
        return len(self._waiting)

    @property
    def stopping(self) -> bool:
        """No more requests are accepted."""
        return self._stopping

    @property
    def unfinished(self) -> int:
        """Requests that wait, or of which a step still runs."""
        return len(self._waiting) + self._inflight

    def submit(self, request: InferRequest, admission: Admission, reply: Reply) -> "EnsembleRun":
        """Take a request; it will be answered through `Answers`, after this has returned.

        Raises:
            Unavailable: too many wait, or the scheduler is stopping.
        """
        if self._stopping:
            raise Unavailable(STOPPING)
        if len(self._waiting) >= self._max_queue_size:
            if self._full:
                raise Unavailable("Exceeds maximum queue size")
            self._begin()  # what this turn of the loop brought
        run = EnsembleRun(self, request, admission, reply)
        run.queued_ns = self.now_ns()
        self._waiting.append(run)
        self._plan_begin()
        return run

    def withdraw(self, run: "EnsembleRun") -> None:
        """Take a waiting request out and answer it as cancelled."""
        self._waiting.remove(run)
        run.state = Pending.ANSWERED
        self.answers.refused(run, Cancelled(""))
        self._check_emptied()

    def stop(self) -> None:
        """Accept no more requests; those that were accepted go on."""
        self._stopping = True

    async def drained(self) -> None:
        """Wait until nothing waits, and no step of any request runs."""
        if self.unfinished:
            if self._emptied is None:
                self._emptied = asyncio.Event()
            await self._emptied.wait()

    def close(self, error: JubakoError) -> None:
        """Refuse what waits with `error`; what is on its way ends with the steps that run now."""
        self._stopping = self.closed = True
        refused = list(self._waiting)
        self._waiting.clear()
        for run in refused:
            run.state = Pending.ANSWERED
        for run in refused:
            self.answers.refused(run, error)
        self._check_emptied()

    def plan(self, admission: Admission) -> Plan:
        """Return which steps a request needs."""
        wanted = admission.outputs if admission.outputs is not None else tuple(range(len(self.graph.outputs)))
        plan = self._plans.get(wanted)
        if plan is None:
            if len(self._plans) >= 64:  # of the 2^n that there are; a plan holds signatures
                self._plans.clear()
            plan = self._plans[wanted] = Plan(self.graph, wanted)
        return plan

    def ended(self) -> None:
        """Take note that a request is answered and that none of its steps runs any more."""
        self._inflight -= 1
        if self._waiting:
            self._plan_begin()
        self._check_emptied()

    @property
    def _full(self) -> bool:
        return 0 < self._max_inflight <= self._inflight

    def _plan_begin(self) -> None:
        if not self._begin_planned and not self._full:
            self._begin_planned = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._begin_planned = False
        while self._waiting and not self._full:
            self._inflight += 1
            self._waiting.popleft().begin()

    def _check_emptied(self) -> None:
        if self._emptied is not None and not self.unfinished:
            self._emptied.set()
            self._emptied = None


@dataclass(slots=True)
class _Value:
    """An ensemble tensor of one request."""

    array: Array
    batched: bool
    correlation: Correlation | None = None


class EnsembleRun(Pending):
    """A request on its way through an ensemble."""

    __slots__ = (
        "_busy",
        "_calls",
        "_missing",
        "_plan",
        "_ready",
        "_scheduler",
        "_start_ns",
        "_values",
        "infer_ns",
        "input_ns",
        "output_ns",
    )

    def __init__(self, scheduler: EnsembleScheduler, request: InferRequest, admission: Admission, reply: Reply) -> None:
        super().__init__(scheduler, request, admission, reply)  # type: ignore[arg-type]
        self._scheduler = scheduler
        self._plan = scheduler.plan(admission)
        self._missing = list(self._plan.waits_for)
        self._values: dict[str, _Value] = {}
        self._ready: list[int] = []
        self._calls: dict[int, Ticket | None] = {}  # the steps that run; no ticket while one is being submitted
        self._busy = False  # steps are being started or cancelled: answers that come meanwhile only leave their mark
        self._start_ns = 0
        self.input_ns = self.infer_ns = self.output_ns = 0

    def begin(self) -> None:
        """Start the steps that need no other."""
        scheduler, request = self._scheduler, self.request
        self.state = Pending.RUNNING
        self._start_ns = scheduler.now_ns()
        batched = scheduler.graph.batched
        for spec, array in zip(request.signature.inputs, request.arrays, strict=True):
            self._set(spec.name, _Value(array, batched))
        for name in scheduler.graph.optional:
            if name not in self._values:
                self._settle(name)
        self._go_on()

    def cancel(self) -> None:
        """Give the request up: no more steps start, and it is answered once those that run have ended."""
        if self.state is Pending.ANSWERED or self.cancelled:
            return
        self.cancelled = True
        if self.state is Pending.WAITING:
            self._scheduler.withdraw(self)
        else:
            self._cancel_steps()
            self._go_on()

    def answered(self, index: int, response: InferResponse) -> None:
        """Take the answer of a step."""
        del self._calls[index]
        if self._goes_on:
            if response.error is not None:
                self._fail(index, response.error)
            else:
                self._take(index, response)
        self._go_on()

    @property
    def _goes_on(self) -> bool:
        return self.state is Pending.RUNNING and not self.cancelled

    def _set(self, tensor: str, value: _Value) -> None:
        self._values[tensor] = value
        self._settle(tensor)

    def _settle(self, tensor: str) -> None:
        """What waits for `tensor` need not wait for it any more."""
        for index in self._plan.readers.get(tensor, ()):
            self._missing[index] -= 1
            if not self._missing[index]:
                self._ready.append(index)

    def _go_on(self) -> None:
        if self._busy:
            return
        self._busy = True
        while self._ready and self._goes_on:
            self._start(self._ready.pop(0))
        self._busy = False
        if not self._calls:
            if self.state is not Pending.ANSWERED:
                self._end()
            self._scheduler.ended()

    def _start(self, index: int) -> None:
        self._calls[index] = None
        try:
            if self._scheduler.closed:
                raise Unavailable(STOPPING)
            call = _StepCall(self, index)
            ticket = self._scheduler.send(self._request(index, call), call)
        except JubakoError as error:
            del self._calls[index]
            self._fail(index, error)
            return
        if index in self._calls:  # else it was answered at once
            self._calls[index] = ticket
            if not self._goes_on:  # it was cancelled from within
                ticket.cancel()

    def _request(self, index: int, call: "_StepCall") -> InferRequest:
        planned, origin = self._plan.steps[index], self.request
        step = planned.step
        specs: list[TensorSpec] = []
        arrays: list[Array] = []
        correlation: Correlation | None = None
        for port in step.inputs:
            value = self._values.get(port.tensor)
            if value is not None:  # an optional input of the ensemble that did not come
                array = bridged(value.array, batched=value.batched, into_batched=step.batched, dims=port.dims)
                specs.append(TensorSpec(port.name, port.datatype, array.shape))
                arrays.append(array)
                correlation = value.correlation or correlation
        return InferRequest(
            step.model,
            step.version,
            planned.signature(tuple(specs), origin.signature, correlation),
            arrays,
            origin.id,
            self._scheduler.now_ns(),
            call,
        )

    def _take(self, index: int, response: InferResponse) -> None:
        assert response.signature is not None
        correlation = _correlation(response)
        by_name = dict(zip((spec.name for spec in response.signature.outputs), response.arrays, strict=True))
        for port in self._plan.steps[index].step.outputs:
            array = by_name.get(port.name)
            if array is not None:
                self._set(port.tensor, _Value(array, response.batched, correlation))

    def _fail(self, index: int, error: JubakoError) -> None:
        """Answer with what a step said, and give up the others."""
        self.state = Pending.ANSWERED
        self._cancel_steps()
        model = self._plan.steps[index].step.model
        step = "" if f"'{model}'" in str(error) else f" (step {self._position(index)}, model '{model}')"
        self._scheduler.answers.failed(self, type(error)(f"in ensemble '{self._name}', {error}{step}"))

    def _cancel_steps(self) -> None:
        busy, self._busy = self._busy, True
        for ticket in list(self._calls.values()):
            if ticket is not None:
                ticket.cancel()
        self._busy = busy

    def _end(self) -> None:
        """Answer, now that no step runs and none can start."""
        self.state = Pending.ANSWERED
        scheduler = self._scheduler
        if self.cancelled:
            scheduler.answers.failed(self, Cancelled(""))
            return
        shares = self._outputs()
        if shares is None:
            scheduler.answers.failed(
                self,
                InvalidArgument(
                    f"in ensemble '{self._name}', {label(self.request.id)}unexpected deadlock, at least one output is "
                    "not set while no more ensemble steps can be made"
                ),
            )
            return
        scheduler.answers.executed(self._execution(shares), [self])
        self._values.clear()  # its sender may keep the ticket, and with it the arrays

    @property
    def _name(self) -> str:
        return self._scheduler.graph.name

    def _position(self, index: int) -> int:
        """Return where the configuration has a step of the plan."""
        return self._scheduler.graph.steps.index(self._plan.steps[index].step)

    def _outputs(self) -> list[Array] | None:
        """Return the outputs, in the configuration's order; None where one that was asked for is not there."""
        graph, positions = self._scheduler.graph, self.admission.outputs
        arrays: list[Array] = []
        for position, port in enumerate(graph.outputs):
            if positions is not None and position not in positions:
                arrays.append(NOT_ASKED_FOR)
            elif (value := self._values.get(port.tensor)) is None:
                return None
            else:
                batched = value.batched
                arrays.append(bridged(value.array, batched=batched, into_batched=graph.batched, dims=port.dims))
        return arrays

    def _execution(self, share: Sequence[Array]) -> Execution:
        """Return what the request counts as: one execution, whose phases are the sums of those of its steps."""
        graph = self._scheduler.graph
        names = [port.name for port in graph.outputs]
        execution = Execution([self.request], [self.admission.rows], names, graph.batched)
        execution.shares = [share]
        execution.start_ns = self._start_ns
        execution.input_end_ns = execution.start_ns + self.input_ns
        execution.infer_end_ns = execution.input_end_ns + self.infer_ns
        execution.stop_ns = execution.infer_end_ns + self.output_ns
        return execution


class _StepCall:
    """A request to a step's model: takes its answer, and the times of its execution (`request.Trace`)."""

    __slots__ = ("_index", "_run")

    def __init__(self, run: EnsembleRun, index: int) -> None:
        self._run = run
        self._index = index

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        if final:
            self._run.answered(self._index, response)

    def queued(self, ns: int, /) -> None:
        """It left its queue without an execution: nothing to add."""

    def ran(self, queued_ns: int, start_ns: int, input_end_ns: int, infer_end_ns: int, end_ns: int, /) -> None:
        """Add the phases of its execution to those of the ensemble's request."""
        self._run.input_ns += input_end_ns - start_ns
        self._run.infer_ns += infer_end_ns - input_end_ns
        self._run.output_ns += end_ns - infer_end_ns


def _correlation(response: InferResponse) -> Correlation | None:
    """Return what a step's answer says of the sequence that its tensors belong to, if anything."""
    said = response.parameters
    if not said or "sequence_id" not in said:
        return None
    sequence_id = said["sequence_id"]
    if not isinstance(sequence_id, (int, str)):
        return None
    return sequence_id, bool(said.get("sequence_start", False)), bool(said.get("sequence_end", False))
