"""The shell around a queue: idle instances pull batches from it, and each request is answered exactly once.

All of it runs in the loop's thread, so there is no lock. Nothing here awaits: a submit, an instance that falls idle, or
the alarm asks the queue for the next batch, and that is all that ever happens.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from jubako.config.interface import Admission
from jubako.errors import Cancelled, JubakoError, Unavailable
from jubako.instances import Execution, InstanceThread
from jubako.request import InferRequest, Reply, label
from jubako.schedulers.alarm import Alarm, make_alarm
from jubako.schedulers.in_flight import InFlight
from jubako.schedulers.in_loop import InLoopLeave
from jubako.schedulers.queue import Queue

log = logging.getLogger("jubako.schedulers")


class Pending:
    """A submitted request: what its queue orders, and what its sender may cancel."""

    __slots__ = (
        "_batcher",
        "admission",
        "cancelled",
        "key",
        "nbytes",
        "queued_ns",
        "reply",
        "request",
        "rows",
        "state",
    )

    WAITING, RUNNING, ANSWERED = range(3)

    def __init__(self, batcher: "Batcher", request: InferRequest, admission: Admission, reply: Reply) -> None:
        self._batcher = batcher
        self.request = request
        self.reply = reply
        self.admission = admission
        self.rows = max(1, admission.rows)  # an empty request takes a place in a batch too
        self.key: Hashable = admission.key
        self.nbytes = _string_bytes(request) if admission.nbytes is None else admission.nbytes
        self.queued_ns = 0
        self.cancelled = False
        self.state = Pending.WAITING

    @property
    def priority(self) -> int:
        """The level that it asks for; 0 asks for none."""
        return self.request.signature.priority

    @property
    def timeout_us(self) -> int:
        """How long it would wait in a queue; 0 does not say."""
        return self.request.signature.timeout_us

    def cancel(self) -> None:
        """Give the request up (see `request.Ticket`)."""
        if self.state is not Pending.ANSWERED and not self.cancelled:
            self.cancelled = True
            if self.state is Pending.WAITING:
                self._batcher.withdraw(self)


class Answers(Protocol):
    """Whom the batcher tells how requests ended; it counts them and sends the answers."""

    def executed(self, execution: Execution, batch: Sequence[Pending]) -> None:
        """An execution is over; each of `batch` is to be answered, here and now."""

    def refused(self, pending: Pending, error: JubakoError) -> None:
        """A request that had been queued ends without an execution."""


class Batcher:
    """Scheduler of one model version, for all of its instances."""

    def __init__(
        self,
        queue: Queue[Pending],
        instances: Sequence[InstanceThread],
        answers: Answers,
        *,
        outputs: Sequence[str],
        batched: bool,
        leave: InLoopLeave,
        loop: asyncio.AbstractEventLoop,
        ordered: bool = False,
        in_flight: InFlight | None = None,
        make_alarm: Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm] = make_alarm,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._queue = queue
        self._idle = [instance for instance in reversed(instances) if not instance.placement.passive]
        self._running = 0
        self._answers = answers
        self._outputs = outputs
        self._batched = batched
        self._leave = leave
        self._loop = loop
        self._make_alarm = make_alarm
        self._now_ns = now_ns
        self._in_flight = in_flight or InFlight()
        self._started: deque[_Run] | None = deque() if ordered and len(self._idle) > 1 else None
        self._alarm: Alarm | None = None
        self._alarm_ns: int | None = None
        self._pull_planned = False
        self._stopping = False
        self._emptied: asyncio.Event | None = None

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def stopping(self) -> bool:
        """No more requests are accepted."""
        return self._stopping

    @property
    def unfinished(self) -> int:
        """Requests in the queue, and executions that are under way or not answered yet."""
        return len(self._queue) + self._running

    def submit(self, request: InferRequest, admission: Admission, reply: Reply) -> Pending:
        """Queue a request; it will be answered through `Answers`.

        Raises:
            Unavailable: the queue is full, or the scheduler is stopping. Such a request was never queued.
            Exhausted: the whole server is full. Likewise.
        """
        if self._stopping:
            raise Unavailable("Server is stopping, scheduler for model has stopped accepting new inference requests")
        pending = Pending(self, request, admission, reply)
        self._in_flight.check(pending.nbytes)
        pending.queued_ns = self._now_ns()
        try:
            news = self._queue.put(pending)
        except Unavailable:
            if not self._make_room():
                raise
            news = self._queue.put(pending)
        self._in_flight.enter(pending.nbytes)
        if self._queue.expires:
            self._watch_deadlines()
        if news and self._idle and not self._pull_planned:
            # Not at once: what else this turn of the loop reads from its sockets may join the batch.
            self._plan_pull()
        return pending

    def withdraw(self, pending: Pending) -> None:
        """Take a waiting request out and answer it as cancelled."""
        self._queue.remove(pending)
        self._leave_unrun((pending,))
        if self._idle and not self._pull_planned:
            self._plan_pull()  # what it stood in front of may be a batch now
        self._answers.refused(pending, Cancelled(""))
        self._check_emptied()

    def stop(self) -> None:
        """Accept no more requests; what is queued still runs."""
        self._stopping = True

    async def drained(self) -> None:
        """Wait until nothing is queued or running."""
        if self.unfinished:
            if self._emptied is None:
                self._emptied = asyncio.Event()
            await self._emptied.wait()

    def close(self, error: JubakoError) -> None:
        """Refuse what still waits with `error`, and ring no more alarms."""
        self._stopping = True
        refused = self._queue.drain()
        self._leave_unrun(refused)
        for pending in refused:
            self._answers.refused(pending, error)
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None
        self._check_emptied()

    def _make_room(self) -> bool:
        """Empty a full queue of what need not wait there; False if there is no such thing."""
        if self._pull_planned and self._idle:
            self._pull()  # what this turn of the loop brought, while an instance idles
            return True
        return self._queue.expires and self._expire()

    def _expire(self) -> bool:
        """Refuse whom a deadline rejects; False if there was nobody."""
        rejected = self._queue.expire(self._now_ns())
        self._leave_unrun(rejected)
        for pending in rejected:
            self._answers.refused(pending, Unavailable(f"{label(pending.request.id)}Request timeout expired"))
        if rejected:
            self._check_emptied()
        return bool(rejected)

    def _leave_unrun(self, refused: Sequence[Pending]) -> None:
        """Take leave of them all, before the first client hears of it and cancels the others."""
        for pending in refused:
            pending.state = Pending.ANSWERED
            self._in_flight.leave(1, pending.nbytes)

    def _plan_pull(self) -> None:
        self._pull_planned = True
        self._loop.call_soon(self._pull)

    def _pull(self) -> None:
        """Give each idle instance the next batch, if it is time for one."""
        self._pull_planned = False
        if self._queue.expires:
            self._expire()
        while self._idle:
            batch = self._queue.take(self._now_ns())
            if not batch:
                self._watch_delay()
                return
            for pending in batch:
                pending.state = Pending.RUNNING
            execution = Execution(
                [pending.request for pending in batch],
                [pending.admission.rows for pending in batch],
                self._outputs,
                self._batched,
            )
            instance = self._idle.pop()
            execution.gpu = instance.placement.gpu
            self._running += 1
            if self._leave.given:
                self._run_here(instance, execution, batch)
                return
            run = _Run(self, instance, batch)
            if self._started is not None:
                self._started.append(run)
            instance.run(execution, run)

    def _run_here(self, instance: InstanceThread, execution: Execution, batch: Sequence[Pending]) -> None:
        before = time.thread_time_ns()
        execution.run(instance.instance)
        self._leave.ran(execution.stop_ns - execution.start_ns, time.thread_time_ns() - before)
        self._idle.append(instance)
        self._answer(execution, batch)

    def _watch_delay(self) -> None:
        """Have the alarm ring when the oldest request has waited its delay."""
        due_ns = self._queue.due_ns()
        if due_ns is not None:
            expiry_ns = self._queue.expiry_ns() if self._queue.expires else None
            self._set_alarm(due_ns if expiry_ns is None else min(due_ns, expiry_ns))

    def _watch_deadlines(self) -> None:
        """Have the alarm ring at the first deadline, unless it rings before."""
        due_ns = self._queue.expiry_ns()
        if due_ns is not None and (self._alarm_ns is None or due_ns < self._alarm_ns):
            self._set_alarm(due_ns)

    def _set_alarm(self, due_ns: int) -> None:
        if self._alarm is None:
            self._alarm = self._make_alarm(self._loop, self._ring)
        self._alarm.set(due_ns)
        self._alarm_ns = due_ns

    def _ring(self) -> None:
        self._alarm_ns = None
        self._pull()
        if self._queue.expires:
            self._watch_deadlines()

    def finished(self, run: "_Run", execution: Execution) -> None:
        """Take note, in the loop, that a thread is done with `execution`."""
        self._leave.ran(execution.stop_ns - execution.start_ns)
        self._idle.append(run.instance)
        if self._started is None:
            self._answer(execution, run.batch)
        else:
            run.execution = execution
            self._answer_in_order(self._started)

    def _answer_in_order(self, started: "deque[_Run]") -> None:
        """Answer what has ended and waits for no execution that began before it."""
        try:
            while started and (execution := started[0].execution) is not None:
                self._answer(execution, started.popleft().batch)
        finally:
            if started and started[0].execution is not None:  # a bug in who takes the answers
                self._loop.call_soon(self._answer_in_order, started)
            if len(self._queue) and not self._pull_planned:
                self._plan_pull()

    def _answer(self, execution: Execution, batch: Sequence[Pending]) -> None:
        self._running -= 1
        nbytes = 0
        for pending in batch:
            pending.state = Pending.ANSWERED
            nbytes += pending.nbytes
        self._in_flight.leave(len(batch), nbytes)
        try:
            self._answers.executed(execution, batch)
        finally:  # a bug in who takes the answers must not stop the queue
            if not len(self._queue):
                self._check_emptied()
            elif not self._pull_planned:
                self._plan_pull()

    def _check_emptied(self) -> None:
        if self._emptied is not None and not self.unfinished:
            self._emptied.set()
            self._emptied = None


def _string_bytes(request: InferRequest) -> int:
    """Return the bytes of a request's inputs, strings among them."""
    return sum(sum(map(len, array.flat)) if array.dtype.hasobject else array.nbytes for array in request.arrays)


class _Run:
    """`Done` for one execution: cheaper than a closure, and says what it is."""

    __slots__ = ("batch", "batcher", "execution", "instance")

    def __init__(self, batcher: Batcher, instance: InstanceThread, batch: Sequence[Pending]) -> None:
        self.batcher = batcher
        self.instance = instance
        self.batch = batch
        self.execution: Execution | None = None
        """Set once it is over, where answers leave in order."""

    def __call__(self, execution: Execution) -> None:
        self.batcher.finished(self, execution)
