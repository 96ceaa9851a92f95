"""Instances, a loop and a clock that only the tests move."""

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jubako.backends.placement import Placement
from jubako.errors import JubakoError
from jubako.instances import Done, Execution
from jubako.request import InferRequest
from jubako.schedulers.batcher import Pending


class World:
    """A loop, a clock and an alarm that only events move."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._events: list[tuple[int, int, Callable[[], object]]] = []
        self._soon: list[Callable[[], object]] = []
        self._order = itertools.count()
        self.alarm_ns: int | None = None

    def at(self, due_ns: int, event: Callable[[], object]) -> None:
        heapq.heappush(self._events, (due_ns, next(self._order), event))

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._soon.append(callback)

    def make_alarm(self, _: object, ring: Callable[[], None]) -> "World":
        self._ring = ring
        return self

    def set(self, due_ns: int) -> None:
        self.alarm_ns = due_ns

    def clear(self) -> None:
        self.alarm_ns = None

    close = clear

    def turn(self) -> None:
        """Run what is planned, then go on to the next event or to the alarm, whichever is first."""
        while self._soon:
            self._soon.pop(0)()

    def step(self) -> bool:
        """Go on to what happens next; False when nothing does any more."""
        if self.alarm_ns is not None and (not self._events or self.alarm_ns <= self._events[0][0]):
            self.now_ns, self.alarm_ns = max(self.now_ns, self.alarm_ns), None
            self._ring()
        elif self._events:
            due_ns, _, event = heapq.heappop(self._events)
            self.now_ns = max(self.now_ns, due_ns)
            event()
        else:
            return False
        self.turn()
        return True


class SimulatedInstance:
    """An instance whose executions take as long as the test says, and fail when it says so."""

    def __init__(
        self,
        world: World,
        lasts: Callable[[], tuple[int, bool]],
        begins: Callable[[Execution], None] = lambda execution: None,
    ) -> None:
        self.placement = Placement("simulated")
        self.busy = False
        self.ran: list[list[InferRequest]] = []
        self._world = world
        self._lasts = lasts
        self._begins = begins

    def run(self, execution: Execution, done: Done) -> None:
        assert not self.busy, "an instance has one execution at a time"
        self.busy = True
        self.ran.append(list(execution.requests))
        self._begins(execution)
        lasts_ns, fails = self._lasts()
        execution.start_ns = self._world.now_ns

        def end() -> None:
            self.busy = False
            execution.stop_ns = self._world.now_ns
            execution.error = JubakoError("broke") if fails else None
            done(execution)

        self._world.at(self._world.now_ns + lasts_ns, end)


@dataclass
class Ledger:
    """Takes the batcher's word for how requests ended."""

    world: World
    started: list[list[Pending]] = field(default_factory=list)
    answers: dict[Pending, list[str]] = field(default_factory=dict)

    def executed(self, execution: Execution, batch: Sequence[Pending]) -> None:
        self.started.append(list(batch))
        for pending in batch:
            self.answers.setdefault(pending, []).append(
                "cancelled" if pending.cancelled else "failed" if execution.error else "done"
            )

    def refused(self, pending: Pending, error: JubakoError) -> None:
        self.answers.setdefault(pending, []).append(type(error).__name__)
