"""The shell around the queue: who runs, who is answered, who is withdrawn. No thread, no sleep."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from jubako.backends.placement import Placement
from jubako.config.interface import Admission
from jubako.errors import Cancelled, JubakoError, Unavailable
from jubako.instances import Done, Execution, InstanceThread
from jubako.request import InferRequest, InferResponse, Signature, TensorSpec
from jubako.schedulers.batcher import Batcher, Pending
from jubako.schedulers.in_loop import InLoopLeave
from jubako.schedulers.policy import Levels, Policy
from jubako.schedulers.policy_queue import PolicyQueue
from jubako.schedulers.queue import BatchQueue, Queue
from jubako.tensor import Datatype


class HeldInstance:
    """An instance whose executions end when the test says so."""

    def __init__(self, name: str = "held", *, passive: bool = False) -> None:
        self.placement = Placement(name, passive=passive)
        self.running: tuple[Execution, Done] | None = None
        self.ran: list[list[str]] = []

    def run(self, execution: Execution, done: Done) -> None:
        assert self.running is None, "an instance has one execution at a time"
        self.running = execution, done
        self.ran.append([request.id for request in execution.requests])

    def finish(self, error: JubakoError | None = None) -> None:
        assert self.running is not None
        (execution, done), self.running = self.running, None
        execution.error = error
        execution.shares = [() for _ in execution.requests]
        done(execution)


class Recorder:
    """Takes what the batcher says, and answers as a runner would; `then` is what its clients do on an answer."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str]] = []
        self.then: Callable[[str], object] = lambda name: None

    def executed(self, execution: Execution, batch: Sequence[Pending]) -> None:
        for pending in batch:
            self._answer(pending, "cancelled" if pending.cancelled else "done")

    def refused(self, pending: Pending, error: JubakoError) -> None:
        self._answer(pending, type(error).__name__)

    def _answer(self, pending: Pending, how: str) -> None:
        self.answers.append((pending.request.id, how))
        self.then(pending.request.id)


class ByHand:
    """An alarm that rings when the test calls it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self.due_ns: int | None = None
        self.closed = False

    def set(self, due_ns: int) -> None:
        self.due_ns = due_ns

    def clear(self) -> None:
        self.due_ns = None

    def close(self) -> None:
        self.closed = True


class Scene:
    """A batcher on a running loop, with everything around it in the test's hands."""

    def __init__(
        self,
        instances: Sequence[HeldInstance],
        *,
        delay_us: int = 0,
        max_queue_size: int = 100,
        preferred: Sequence[int] = (),
        timeout_us: int = 0,
        ordered: bool = False,
    ) -> None:
        self.recorder = Recorder()
        self.alarms: list[ByHand] = []
        self.now_ns = 0
        self.queue: Queue[Pending] = (
            PolicyQueue(
                max_batch_size=4,
                preferred_batch_sizes=preferred,
                max_queue_delay_ns=delay_us * 1000,
                levels=Levels(Policy(max_queue_size, timeout_us * 1000)),
            )
            if timeout_us
            else BatchQueue(
                max_batch_size=4,
                preferred_batch_sizes=preferred,
                max_queue_delay_ns=delay_us * 1000,
                max_queue_size=max_queue_size,
            )
        )
        self.batcher = Batcher(
            self.queue,
            cast("Sequence[InstanceThread]", instances),
            self.recorder,
            outputs=(),
            batched=True,
            leave=InLoopLeave(possible=False),
            loop=asyncio.get_running_loop(),
            ordered=ordered,
            make_alarm=self._alarm,
            now_ns=lambda: self.now_ns,
        )

    def _alarm(self, _: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> ByHand:
        self.alarms.append(ByHand(ring))
        return self.alarms[-1]

    def submit(self, *names: str, rows: int = 1) -> list[Pending]:
        spec = TensorSpec("x", Datatype.FP32, (rows, 1))
        admission = Admission(rows=rows, key=(), outputs=None)

        def reply(_: InferResponse, __: bool, /) -> None:
            raise AssertionError("the recorder answers")

        return [
            self.batcher.submit(
                InferRequest("m", 1, Signature((spec,)), [np.zeros((rows, 1), np.float32)], name), admission, reply
            )
            for name in names
        ]


def give_up(tickets: Sequence[Pending]) -> None:
    for ticket in tickets:
        ticket.cancel()


async def turn() -> None:
    """Let the loop run what it has planned."""
    await asyncio.sleep(0)


def on_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(cast("Any", test()))

    run.__name__ = test.__name__
    return run


@on_a_loop
async def test_what_one_turn_of_the_loop_submits_runs_together() -> None:
    instance = HeldInstance()
    scene = Scene([instance])

    scene.submit("a", "b", "c")
    await turn()

    assert instance.ran == [["a", "b", "c"]]


@on_a_loop
async def test_an_idle_instance_pulls_what_gathered_while_it_was_busy() -> None:
    instance = HeldInstance()
    scene = Scene([instance])
    scene.submit("a")
    await turn()

    scene.submit("b", "c")
    await turn()
    assert instance.ran == [["a"]]
    instance.finish()
    await turn()

    assert instance.ran == [["a"], ["b", "c"]]
    assert scene.recorder.answers == [("a", "done")]


@on_a_loop
async def test_instances_run_at_the_same_time_and_a_passive_one_never() -> None:
    first, second, passive = HeldInstance("1"), HeldInstance("2"), HeldInstance("3", passive=True)
    scene = Scene([first, second, passive])

    scene.submit(*"abcdefgh")
    await turn()

    assert first.ran == [list("abcd")]
    assert second.ran == [list("efgh")]
    assert passive.ran == []


@on_a_loop
async def test_a_partial_batch_waits_for_its_alarm() -> None:
    instance = HeldInstance()
    scene = Scene([instance], delay_us=10_000_000)
    (pending,) = scene.submit("a")
    await turn()

    assert instance.ran == []
    assert [alarm.due_ns for alarm in scene.alarms] == [pending.queued_ns + 10_000_000_000]


@on_a_loop
async def test_a_queued_request_that_is_cancelled_never_runs_and_is_answered_once() -> None:
    instance = HeldInstance()
    scene = Scene([instance], max_queue_size=2)
    scene.submit("a")
    await turn()
    second, _ = scene.submit("b", "c")

    second.cancel()
    second.cancel()
    scene.submit("d")  # its place is free at once
    instance.finish()
    await turn()

    assert instance.ran == [["a"], ["c", "d"]]
    assert scene.recorder.answers == [("b", "Cancelled"), ("a", "done")]


@on_a_loop
async def test_a_running_request_that_is_cancelled_is_answered_when_its_execution_ends() -> None:
    instance = HeldInstance()
    scene = Scene([instance])
    first, _ = scene.submit("a", "b")
    await turn()

    first.cancel()
    assert scene.recorder.answers == []
    instance.finish()
    first.cancel()

    assert scene.recorder.answers == [("a", "cancelled"), ("b", "done")]


@on_a_loop
async def test_a_stopping_batcher_refuses_new_requests_and_finishes_the_queued_ones() -> None:
    instance = HeldInstance()
    scene = Scene([instance])
    scene.submit("a")
    await turn()
    scene.submit("b")

    scene.batcher.stop()
    with pytest.raises(Unavailable, match="stopped accepting"):
        scene.submit("c")
    drained = asyncio.ensure_future(scene.batcher.drained())
    await turn()
    assert not drained.done()
    instance.finish()
    await turn()
    instance.finish()
    await drained

    assert scene.recorder.answers == [("a", "done"), ("b", "done")]


@on_a_loop
async def test_closing_refuses_what_still_waits_and_releases_the_alarm() -> None:
    scene = Scene([HeldInstance()], delay_us=10_000_000)
    scene.submit("a", "b")
    await turn()

    scene.batcher.close(Unavailable("over"))
    await scene.batcher.drained()

    assert scene.recorder.answers == [("a", "Unavailable"), ("b", "Unavailable")]
    assert [alarm.closed for alarm in scene.alarms] == [True]


@on_a_loop
async def test_a_cancel_that_empties_the_queue_ends_the_drain() -> None:
    scene = Scene([HeldInstance()], delay_us=10_000_000)
    (pending,) = scene.submit("a")
    drained = asyncio.ensure_future(scene.batcher.drained())
    await turn()

    pending.cancel()
    await drained

    assert scene.recorder.answers == [("a", Cancelled.__name__)]


@on_a_loop
async def test_everyone_who_waits_for_the_drain_hears_of_it() -> None:
    instance = HeldInstance()
    scene = Scene([instance])
    scene.submit("a")
    await turn()
    drains = [asyncio.ensure_future(scene.batcher.drained()) for _ in range(2)]
    await turn()

    instance.finish()
    await asyncio.wait_for(asyncio.gather(*drains), 5)

    scene.submit("b")
    assert not asyncio.ensure_future(scene.batcher.drained()).done()


@on_a_loop
async def test_a_drain_after_another_waits_for_what_came_since() -> None:
    instance = HeldInstance()
    scene = Scene([instance])
    await scene.batcher.drained()

    scene.submit("a")
    again = asyncio.ensure_future(scene.batcher.drained())
    await turn()
    assert not again.done()
    instance.finish()
    await asyncio.wait_for(again, 5)


@on_a_loop
async def test_a_client_may_give_up_its_other_requests_when_closing_refuses_one() -> None:
    scene = Scene([HeldInstance()], delay_us=10_000_000)
    tickets = scene.submit("a", "b", "c")
    scene.recorder.then = lambda _: give_up(tickets)
    await turn()

    scene.batcher.close(Unavailable("over"))

    assert scene.recorder.answers == [("a", "Unavailable"), ("b", "Unavailable"), ("c", "Unavailable")]


@on_a_loop
async def test_a_client_may_give_up_its_other_requests_when_one_is_cancelled_or_done() -> None:
    instance = HeldInstance()
    scene = Scene([instance])
    tickets = scene.submit(*"abcdef")  # four run, two wait
    scene.recorder.then = lambda _: give_up(tickets)
    await turn()

    instance.finish()
    await turn()

    assert sorted(scene.recorder.answers) == [
        *[(name, "done") for name in "abcd"],
        *[(name, "Cancelled") for name in "ef"],
    ]
    assert instance.ran == [list("abcd")]


@on_a_loop
async def test_a_client_that_breaks_on_its_answer_does_not_stop_the_queue() -> None:
    def broken(_: str) -> None:
        raise ValueError("a bug in a protocol")

    instance = HeldInstance()
    scene = Scene([instance])
    scene.submit("a")
    await turn()
    scene.submit("b")
    scene.recorder.then = broken

    with pytest.raises(ValueError, match="a bug"):
        instance.finish()
    await turn()

    assert instance.ran == [["a"], ["b"]]


@on_a_loop
async def test_a_queue_is_not_full_while_an_instance_idles_that_could_empty_it() -> None:
    first, second = HeldInstance("1"), HeldInstance("2")
    scene = Scene([first, second], max_queue_size=2)

    scene.submit(*"abcd")  # all in one turn of the loop: nothing was pulled yet
    with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
        scene.submit(*"efg")
    await turn()

    assert [first.ran, second.ran] == [[["a", "b"]], [["c", "d"]]]
    assert scene.batcher.waiting == 2


@on_a_loop
async def test_what_a_cancel_leaves_behind_runs_at_once_if_it_is_a_preferred_batch() -> None:
    instance = HeldInstance()
    scene = Scene([instance], delay_us=10_000_000, preferred=(2, 4))
    (large,) = scene.submit("a", rows=1)
    scene.submit("b", rows=2)
    await turn()
    assert instance.ran == []

    large.cancel()
    await turn()

    assert instance.ran == [["b"]]


@on_a_loop
async def test_a_deadline_comes_while_every_instance_is_busy() -> None:
    instance = HeldInstance()
    scene = Scene([instance], timeout_us=100)
    scene.submit("a")
    await turn()
    scene.submit("b")

    (alarm,) = scene.alarms
    assert alarm.due_ns == 100_000
    scene.now_ns = 100_000
    alarm.ring()

    assert scene.recorder.answers == [("b", "Unavailable")]
    assert instance.ran == [["a"]]


@on_a_loop
async def test_the_alarm_is_set_for_the_next_deadline_when_one_has_come() -> None:
    scene = Scene([HeldInstance()], timeout_us=100)
    scene.submit("a")
    await turn()
    scene.submit("b")
    scene.now_ns = 40_000
    scene.submit("c")

    scene.now_ns = 100_000
    scene.alarms[0].ring()

    assert scene.alarms[0].due_ns == 140_000


@on_a_loop
async def test_an_alarm_for_a_delay_does_not_put_off_a_deadline() -> None:
    scene = Scene([HeldInstance()], timeout_us=100, delay_us=500)
    scene.submit("a")
    await turn()

    assert scene.alarms[0].due_ns == 100_000


@on_a_loop
async def test_what_is_past_its_deadline_takes_no_place_even_before_the_alarm_rings() -> None:
    scene = Scene([HeldInstance()], timeout_us=100, max_queue_size=1)
    scene.submit("a")
    await turn()
    scene.submit("b")
    scene.now_ns = 100_000

    scene.submit("c")

    assert scene.recorder.answers == [("b", "Unavailable")]


@on_a_loop
async def test_the_last_request_to_expire_ends_the_drain() -> None:
    scene = Scene([HeldInstance()], timeout_us=100, delay_us=500)
    scene.submit("a")
    drained = asyncio.ensure_future(scene.batcher.drained())
    await turn()

    scene.now_ns = 100_000
    scene.alarms[0].ring()
    await drained

    assert scene.recorder.answers == [("a", "Unavailable")]


@on_a_loop
async def test_a_client_may_give_up_its_other_requests_when_one_expires() -> None:
    scene = Scene([HeldInstance()], timeout_us=100)
    scene.submit("a")
    await turn()
    tickets = scene.submit("b", "c")
    scene.recorder.then = lambda _: give_up(tickets)

    scene.now_ns = 100_000
    scene.alarms[0].ring()

    assert scene.recorder.answers == [("b", "Unavailable"), ("c", "Unavailable")]


@on_a_loop
async def test_where_order_is_preserved_an_answer_waits_for_those_of_earlier_requests() -> None:
    first, second = HeldInstance("1"), HeldInstance("2")
    scene = Scene([first, second], ordered=True)
    scene.submit(*"abcdefgh")
    await turn()

    second.finish()
    assert scene.recorder.answers == []
    scene.submit(*"ij")  # its instance runs on meanwhile
    await turn()
    second.finish()
    first.finish()

    assert second.ran == [list("efgh"), list("ij")]
    assert [name for name, _ in scene.recorder.answers] == list("abcdefghij")


@on_a_loop
async def test_a_drain_waits_for_answers_that_are_held_back() -> None:
    first, second = HeldInstance("1"), HeldInstance("2")
    scene = Scene([first, second], ordered=True)
    scene.submit(*"abcde")
    await turn()
    drained = asyncio.ensure_future(scene.batcher.drained())

    second.finish()
    await turn()
    assert not drained.done()
    first.finish()
    await asyncio.wait_for(drained, 5)


@on_a_loop
async def test_a_request_that_is_given_up_while_its_answer_is_held_back_is_cancelled() -> None:
    first, second = HeldInstance("1"), HeldInstance("2")
    scene = Scene([first, second], ordered=True)
    *_, last = scene.submit(*"abcde")
    await turn()

    second.finish()
    last.cancel()
    first.finish()

    assert scene.recorder.answers == [*[(name, "done") for name in "abcd"], ("e", "cancelled")]


@on_a_loop
async def test_a_client_that_breaks_holds_no_answer_back() -> None:
    def broken(name: str) -> None:
        if name == "a":
            raise ValueError("a bug in a protocol")

    first, second = HeldInstance("1"), HeldInstance("2")
    scene = Scene([first, second], ordered=True)
    scene.submit(*"abcde")
    await turn()
    second.finish()
    scene.recorder.then = broken

    with pytest.raises(ValueError, match="a bug"):
        first.finish()
    await turn()

    assert scene.recorder.answers == [("a", "done"), ("e", "done")]
