"""What holds of every request under every policy, by a simulated clock."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from jubako.config.interface import Admission
from jubako.errors import Unavailable
from jubako.instances import Execution, InstanceThread
from jubako.request import InferRequest, Signature
from jubako.schedulers.batcher import Batcher, Pending
from jubako.schedulers.in_flight import InFlight
from jubako.schedulers.in_loop import InLoopLeave
from jubako.schedulers.policy import Levels, Policy
from jubako.schedulers.policy_queue import PolicyQueue

from .simulated import Ledger, SimulatedInstance, World

US = 1000
MAX_BATCH_SIZE = 8


@dataclass(frozen=True)
class Arrival:
    gap_us: int
    rows: int
    key: str
    priority: int
    timeout_us: int
    cancelled_after_us: int | None


Arrivals = st.lists(
    st.builds(
        Arrival,
        gap_us=st.sampled_from([0, 0, 0, 10, 60, 150, 500]),
        rows=st.sampled_from([1, 1, 2, 3, 5, 8]),
        key=st.sampled_from("aaabc"),
        priority=st.integers(0, 4),
        timeout_us=st.sampled_from([0, 0, 40, 120, 9000]),
        cancelled_after_us=st.sampled_from([None, None, None, 0, 30, 200]),
    ),
    min_size=1,
    max_size=40,
)
Policies = st.builds(
    Policy,
    max_queue_size=st.sampled_from([1, 3, 1000]),
    timeout_ns=st.sampled_from([0, 50 * US, 300 * US]),
    delays=st.booleans(),
    may_shorten=st.booleans(),
)


@st.composite
def all_levels(draw: st.DrawFn) -> tuple[Levels, bool]:
    """Draw levels, and whether order is to be preserved, as a configuration may have them."""
    count = draw(st.integers(0, 3))
    own = draw(st.dictionaries(st.integers(1, count), Policies, max_size=count)) if count else {}
    levels = Levels(draw(Policies), count, draw(st.integers(1, count)) if count else 0, own)
    delaying = any(policy.delays and policy.timeout_ns for policy in (levels.policy, *own.values()))
    return levels, count <= 1 and not delaying and draw(st.booleans())


@dataclass
class Watch:
    """Holds the batcher to its promises while it runs."""

    world: World
    levels: Levels
    ledger: Ledger
    delay_ns: int
    ordered: bool
    workers: list[SimulatedInstance] = field(default_factory=list)
    accepted: list[Pending] = field(default_factory=list)
    began: list[Pending] = field(default_factory=list)

    def level(self, pending: Pending) -> int:
        return self.levels.level_of(pending.priority)

    def deadline_ns(self, pending: Pending) -> int | None:
        policy = self.levels.policy_of(self.level(pending))
        return policy.deadline_ns(pending.queued_ns, pending.timeout_us)

    def rejects(self, pending: Pending) -> bool:
        return not self.levels.policy_of(self.level(pending)).delays

    def late(self, pending: Pending) -> bool:
        deadline_ns = self.deadline_ns(pending)
        return deadline_ns is not None and deadline_ns <= self.world.now_ns

    def waiting(self) -> list[Pending]:
        return [pending for pending in self.accepted if pending.state is Pending.WAITING]

    def begins(self, execution: Execution) -> None:
        """Check who goes, and who has to stay behind."""
        by_request = {id(pending.request): pending for pending in self.accepted}
        batch = [by_request[id(request)] for request in execution.requests]
        assert len(batch) == 1 or sum(pending.rows for pending in batch) <= MAX_BATCH_SIZE
        assert len({pending.key for pending in batch}) == 1
        assert not any(self.late(pending) and self.rejects(pending) for pending in batch)
        waiting = self.waiting()
        for pending in batch:
            for other in waiting:
                if (self.level(other), other.key) == (self.level(pending), pending.key) and not self.late(other):
                    assert self.accepted.index(pending) < self.accepted.index(other), "passed by its like"
                if self.ordered:
                    assert self.accepted.index(pending) < self.accepted.index(other), "passed in an ordered queue"
        if not self.delay_ns and waiting:
            assert min(map(self.level, batch)) <= min(map(self.level, waiting)), "passed by a worse level"
        self.began += batch

    def between_events(self) -> None:
        """Check who waits."""
        waiting = self.waiting()
        for level in {self.level(pending) for pending in waiting}:
            bound = self.levels.policy_of(level).max_queue_size
            assert sum(self.level(pending) == level for pending in waiting) <= bound
        assert not any(self.late(pending) and self.rejects(pending) for pending in waiting)
        if waiting and not all(worker.busy for worker in self.workers):
            assert self.world.now_ns < min(pending.queued_ns for pending in waiting) + self.delay_ns

    def full(self, priority: int) -> bool:
        level = self.levels.level_of(priority)
        waiting = [pending for pending in self.waiting() if self.level(pending) == level]
        assert not any(self.late(pending) and self.rejects(pending) for pending in waiting), "full of the dead"
        return len(waiting) == self.levels.policy_of(level).max_queue_size


@settings(max_examples=400, deadline=None)
@given(
    arrivals=Arrivals,
    lasts=st.lists(st.tuples(st.integers(0, 300), st.booleans()), min_size=1, max_size=10),
    instances=st.integers(1, 3),
    delay_us=st.sampled_from([0, 50, 100, 400]),
    preferred=st.sampled_from([(), (4,), (4, 8), (2, 6)]),
    drawn=all_levels(),
    closed_after_us=st.sampled_from([None, None, None, 100, 700]),
)
def test_under_every_policy_every_request_ends_once_on_time_and_in_its_turn(
    arrivals: list[Arrival],
    lasts: list[tuple[int, bool]],
    instances: int,
    delay_us: int,
    preferred: tuple[int, ...],
    drawn: tuple[Levels, bool],
    closed_after_us: int | None,
) -> None:
    world = World()
    levels, ordered = drawn
    ledger = Ledger(world)
    watch = Watch(world, levels, ledger, delay_us * US, ordered)
    durations = itertools.cycle(lasts)

    def next_lasts() -> tuple[int, bool]:
        lasts_us, fails = next(durations)
        return lasts_us * US, fails

    watch.workers = [SimulatedInstance(world, next_lasts, watch.begins) for _ in range(instances)]
    queue: PolicyQueue[Pending] = PolicyQueue(
        max_batch_size=MAX_BATCH_SIZE,
        preferred_batch_sizes=preferred,
        max_queue_delay_ns=delay_us * US,
        levels=levels,
        ordered=ordered,
    )
    in_flight = InFlight()
    batcher = Batcher(
        queue,
        cast("Sequence[InstanceThread]", watch.workers),
        ledger,
        outputs=(),
        batched=True,
        leave=InLoopLeave(possible=False),
        in_flight=in_flight,
        loop=cast("asyncio.AbstractEventLoop", world),
        ordered=ordered,
        make_alarm=cast("Any", world.make_alarm),
        now_ns=lambda: world.now_ns,
    )
    withdrawn: set[Pending] = set()
    closed_ns: list[int] = []

    def arrive(arrival: Arrival) -> None:
        signature = Signature((), priority=arrival.priority, timeout_us=arrival.timeout_us)
        request = InferRequest("m", 1, signature, [])
        try:
            pending = batcher.submit(
                request, Admission(arrival.rows, arrival.key, None, nbytes=arrival.rows), cast("Any", None)
            )
        except Unavailable:
            assert batcher.stopping or watch.full(arrival.priority)
            return
        watch.accepted.append(pending)
        if arrival.cancelled_after_us is not None:
            world.at(world.now_ns + arrival.cancelled_after_us * US, lambda: cancel(pending))

    def cancel(pending: Pending) -> None:
        if pending.state is Pending.WAITING:
            withdrawn.add(pending)
        pending.cancel()

    def close() -> None:
        closed_ns.append(world.now_ns)
        batcher.close(Unavailable("over"))

    when_ns = 0
    for arrival in arrivals:
        when_ns += arrival.gap_us * US
        world.at(when_ns, lambda arrival=arrival: arrive(arrival))  # type: ignore[misc]
    if closed_after_us is not None:
        world.at(closed_after_us * US, close)

    rejected_ns: dict[Pending, int] = {}
    while world.step():
        watch.between_events()
        for pending, answers in ledger.answers.items():
            if answers == ["Unavailable"]:
                rejected_ns.setdefault(pending, world.now_ns)

    assert batcher.unfinished == in_flight.requests == in_flight.nbytes == 0
    assert {pending: len(ledger.answers.get(pending, [])) for pending in watch.accepted} == dict.fromkeys(
        watch.accepted, 1
    )
    assert len(watch.began) == len(set(watch.began))
    assert not withdrawn & set(watch.began)
    assert not rejected_ns.keys() & set(watch.began)
    for pending, ns in rejected_ns.items():
        assert ns in {watch.deadline_ns(pending), *closed_ns}
    if ordered:
        answered = [pending for batch in ledger.started for pending in batch]
        assert [watch.accepted.index(pending) for pending in answered] == sorted(map(watch.accepted.index, answered))
