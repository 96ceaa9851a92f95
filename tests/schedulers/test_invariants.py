"""What holds of every request, whatever arrives, fails, is cancelled or closed: by a simulated clock, and in real
threads."""

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from programmable import a_config, a_request, a_runner, no_thread_left, run

from jubako.config.interface import Admission
from jubako.errors import Cancelled, Unavailable
from jubako.instances import InstanceThread
from jubako.request import InferRequest, InferResponse, Signature, Ticket
from jubako.runner import RunnerOptions
from jubako.schedulers.batcher import Batcher, Pending
from jubako.schedulers.in_flight import InFlight
from jubako.schedulers.in_loop import InLoopLeave
from jubako.schedulers.queue import BatchQueue, FifoQueue
from jubako.tensor import Array

from .simulated import Ledger, SimulatedInstance, World

US = 1000
MAX_BATCH_SIZE = 8

# --- by a simulated clock ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    gap_us: int
    rows: int
    key: str
    cancelled_after_us: int | None


Arrivals = st.lists(
    st.builds(
        Arrival,
        gap_us=st.sampled_from([0, 0, 0, 10, 60, 150, 500]),
        rows=st.integers(1, MAX_BATCH_SIZE),
        key=st.sampled_from("aaab"),
        cancelled_after_us=st.sampled_from([None, None, None, 0, 30, 200]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(
    arrivals=Arrivals,
    lasts=st.lists(st.tuples(st.integers(0, 300), st.booleans()), min_size=1, max_size=10),
    instances=st.integers(1, 3),
    delay_us=st.sampled_from([0, 50, 100, 400]),
    preferred=st.sets(st.integers(1, MAX_BATCH_SIZE), max_size=2),
    bound=st.sampled_from([2, 5, 1000]),
    closed_after_us=st.sampled_from([None, None, 100, 700]),
)
def test_by_a_simulated_clock_every_request_is_answered_once_in_order_and_in_time(
    arrivals: list[Arrival],
    lasts: list[tuple[int, bool]],
    instances: int,
    delay_us: int,
    preferred: set[int],
    bound: int,
    closed_after_us: int | None,
) -> None:
    world = World()
    durations = itertools.cycle(lasts)

    def next_lasts() -> tuple[int, bool]:
        lasts_us, fails = next(durations)
        return lasts_us * US, fails

    workers = [SimulatedInstance(world, next_lasts) for _ in range(instances)]
    ledger = Ledger(world)
    queue: FifoQueue[Pending] = BatchQueue(
        max_batch_size=MAX_BATCH_SIZE,
        preferred_batch_sizes=sorted(preferred),
        max_queue_delay_ns=delay_us * US,
        max_queue_size=bound,
    )
    in_flight = InFlight()
    batcher = Batcher(
        queue,
        cast("Sequence[InstanceThread]", workers),
        ledger,
        outputs=(),
        batched=True,
        leave=InLoopLeave(possible=False),
        in_flight=in_flight,
        loop=cast("asyncio.AbstractEventLoop", world),
        make_alarm=cast("Any", world.make_alarm),
        now_ns=lambda: world.now_ns,
    )
    accepted: list[Pending] = []
    withdrawn: set[Pending] = set()

    def arrive(arrival: Arrival) -> None:
        request = InferRequest("m", 1, Signature(()), [])
        stopping, waiting = batcher.stopping, batcher.waiting
        try:
            pending = batcher.submit(
                request, Admission(arrival.rows, arrival.key, None, nbytes=arrival.rows), cast("Any", None)
            )
        except Unavailable:
            assert stopping or waiting == bound
            return
        accepted.append(pending)
        if arrival.cancelled_after_us is not None:
            world.at(world.now_ns + arrival.cancelled_after_us * US, lambda: cancel(pending))

    def cancel(pending: Pending) -> None:
        if pending.state is Pending.WAITING:
            withdrawn.add(pending)
        pending.cancel()

    when_ns = 0
    for arrival in arrivals:
        when_ns += arrival.gap_us * US
        world.at(when_ns, lambda arrival=arrival: arrive(arrival))  # type: ignore[misc]
    if closed_after_us is not None:
        world.at(closed_after_us * US, lambda: batcher.close(Unavailable("over")))

    while world.step():
        assert batcher.waiting <= bound
        oldest = next((pending for pending in accepted if pending.state is Pending.WAITING), None)
        if oldest is not None and not all(worker.busy for worker in workers):  # someone idles: nobody is late
            assert world.now_ns < oldest.queued_ns + delay_us * US
            assert world.alarm_ns is not None
            assert world.alarm_ns <= oldest.queued_ns + delay_us * US

    assert batcher.unfinished == in_flight.requests == in_flight.nbytes == 0
    assert {pending: len(ledger.answers.get(pending, [])) for pending in accepted} == dict.fromkeys(accepted, 1)
    ran = [request for worker in workers for batch in worker.ran for request in batch]
    assert len(ran) == len({id(request) for request in ran}), "a request ran twice"
    assert not {id(request) for request in ran} & {id(pending.request) for pending in withdrawn}
    for batch in ledger.started:
        assert len(batch) == 1 or sum(pending.rows for pending in batch) <= MAX_BATCH_SIZE
        assert len({pending.key for pending in batch}) == 1
    place = {id(pending.request): number for number, pending in enumerate(accepted)}
    for worker in workers:
        for requests in worker.ran:
            assert [place[id(request)] for request in requests] == sorted(place[id(request)] for request in requests)
    for pending in accepted:
        assert pending in withdrawn or ledger.answers[pending] != [Cancelled.__name__]


# --- in real threads --------------------------------------------------------------------------------------------------

GOOD, RAISES, WRONG_ROWS, FEW_OUTPUTS, PANICS = range(5)


class Panic(BaseException):
    """What is no `Exception`."""


def misbehave(inputs: Mapping[str, Array]) -> Sequence[Array]:
    """Do the worst that any row of the batch asks for."""
    x = inputs["X"]
    match int((x % 10).max()) if x.size else GOOD:
        case 1:
            raise ValueError("broke")
        case 2:
            return [x, np.zeros((x.shape[0] + 1, 2), np.int32)]
        case 3:
            return [x]
        case 4:
            raise Panic
    return -x, x + 1


class Answers:
    """A `Reply` that counts."""

    def __init__(self) -> None:
        self.responses: list[InferResponse] = []

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        self.responses.append(response)


Act = st.one_of(
    st.tuples(
        st.just("submit"), st.integers(0, 8), st.sampled_from([GOOD] * 8 + [RAISES, WRONG_ROWS, FEW_OUTPUTS, PANICS])
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("turn"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("rest"), st.just(0), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(
    acts=st.lists(Act, min_size=1, max_size=50),
    instances=st.integers(1, 3),
    batching=st.sampled_from(
        ["", "dynamic_batching { }", "dynamic_batching { max_queue_delay_microseconds: 300 preferred_batch_size: 4 }"]
    ),
    bound=st.sampled_from([2, 100]),
    warm=st.booleans(),
    drain_first=st.booleans(),
)
def test_in_real_threads_every_request_is_answered_once_and_counted_once(
    acts: list[tuple[str, int, int]], instances: int, batching: str, bound: int, warm: bool, drain_first: bool
) -> None:
    async def scene() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        runner, _ = await a_runner(
            misbehave, a_config(groups=f"{{ count: {instances} }}", more=batching), RunnerOptions(max_queue_size=bound)
        )
        for _ in range(110 if warm else 0):  # so that one instance's executions move into the loop
            runner.submit(a_request(), lambda response, final: None)
            await runner.drained()
        counted = runner.statistics.success.count

        submitted: list[tuple[InferRequest, int, Answers, Ticket]] = []
        for number, (act, amount, kind) in enumerate(acts):
            if act == "submit":
                request, answers = a_request(10 * number + kind, rows=amount), Answers()
                try:
                    submitted.append((request, kind, answers, runner.submit(request, answers)))
                except Unavailable:
                    assert answers.responses == []
            elif act == "cancel" and submitted:
                submitted[amount % len(submitted)][3].cancel()
            elif act == "turn":
                for _ in range(amount):
                    await asyncio.sleep(0)
            elif act == "rest":
                await asyncio.sleep(0.0005)
        if drain_first:
            runner.stop()
            await runner.drained()
        await runner.close()
        for *_, ticket in submitted:
            ticket.cancel()

        succeeded = 0
        for request, kind, answers, _ticket in submitted:
            (response,) = answers.responses
            assert response.request is request
            if response.error is None:
                succeeded += 1
                assert kind == GOOD or not request.arrays[0].size
                assert [array.tolist() for array in response.arrays] == [
                    (-request.arrays[0]).tolist(),
                    (request.arrays[0] + 1).tolist(),
                ]
            assert drain_first <= (not isinstance(response.error, Unavailable))
        assert runner.statistics.success.count - counted == succeeded
        assert runner.statistics.fail.count == len(submitted) - succeeded
        assert runner.waiting == 0
        assert complaints == []

    logging.disable()
    try:
        with no_thread_left():
            run(scene())
    finally:
        logging.disable(logging.NOTSET)
