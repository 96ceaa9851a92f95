"""The dynamic batcher's decisions, by a clock that only the tests move."""

from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jubako.errors import Unavailable
from jubako.schedulers.queue import BatchQueue, FifoQueue

US = 1000


@dataclass(eq=False)
class Request:
    rows: int = 1
    key: Hashable = ()
    queued_ns: int = 0


def a_queue(
    *, max_batch_size: int = 8, preferred: tuple[int, ...] = (), delay_us: int = 0, max_queue_size: int = 1000
) -> BatchQueue[Request]:
    return BatchQueue(
        max_batch_size=max_batch_size,
        preferred_batch_sizes=preferred,
        max_queue_delay_ns=delay_us * US,
        max_queue_size=max_queue_size,
    )


def put(queue: FifoQueue[Request], *rows: int, at_us: int = 0, key: Hashable = ()) -> list[Request]:
    requests = [Request(n, key, at_us * US) for n in rows]
    for request in requests:
        queue.put(request)
    return requests


def rows(batch: list[Request]) -> list[int]:
    return [request.rows for request in batch]


def test_without_a_delay_whatever_waits_goes_at_once() -> None:
    queue = a_queue(max_batch_size=8)
    put(queue, 1, 1, 1)

    assert rows(queue.take(0)) == [1, 1, 1]
    assert queue.take(0) == []


def test_a_partial_batch_leaves_once_its_oldest_request_has_waited() -> None:
    queue = a_queue(delay_us=100)
    put(queue, 2, at_us=0)

    assert queue.take(99_999) == []
    assert rows(queue.take(100_000)) == [2]


def test_a_full_batch_does_not_wait() -> None:
    queue = a_queue(max_batch_size=4, delay_us=100)
    put(queue, 2, 2)

    assert rows(queue.take(0)) == [2, 2]


@pytest.mark.parametrize(
    ("waiting", "at_once", "after_the_delay"),
    [
        pytest.param([1] * 4, [1] * 4, [], id="four is preferred and runs at once"),
        pytest.param([1] * 6, [1] * 4, [1] * 2, id="six: four run at once, two wait"),
        pytest.param([1] * 3, [], [1] * 3, id="three wait, then run"),
        pytest.param([1] * 9, [1] * 8, [1], id="the largest preferred size wins"),
        pytest.param([3, 2], [], [3, 2], id="five misses four and waits for eight"),
        pytest.param([3, 2, 4], [3, 2], [4], id="nine does not fit: what is before the limit goes"),
    ],
)
def test_preferred_sizes_choose_what_runs_at_once(
    waiting: list[int], at_once: list[int], after_the_delay: list[int]
) -> None:
    queue = a_queue(max_batch_size=8, preferred=(4, 8), delay_us=100)
    put(queue, *waiting)

    assert rows(queue.take(50_000)) == at_once
    assert rows(queue.take(100_000)) == after_the_delay


def test_preference_is_ignored_once_the_oldest_is_overdue() -> None:
    queue = a_queue(max_batch_size=8, preferred=(4, 8), delay_us=100)
    put(queue, *[1] * 6)

    assert rows(queue.take(100_000)) == [1] * 6


def test_another_shape_at_the_front_closes_the_batch_without_waiting() -> None:
    queue = a_queue(delay_us=100)
    put(queue, 1, 1, key="short")
    put(queue, 1, key="long")

    assert rows(queue.take(0)) == [1, 1]
    assert queue.take(0) == []


def test_a_request_is_never_cut_even_when_it_fills_more_than_the_preferred_size() -> None:
    queue = a_queue(max_batch_size=8, preferred=(2,))
    put(queue, 5, 1)

    assert rows(queue.take(0)) == [5]


def test_a_put_that_cannot_change_the_decision_says_so() -> None:
    queue = a_queue(max_batch_size=8, preferred=(4,), delay_us=100)

    first, second, third, fourth = (queue.put(Request()) for _ in range(4))

    assert (first, second, third, fourth) == (True, False, False, True)


def test_the_queue_refuses_what_passes_its_bound() -> None:
    queue = a_queue(max_queue_size=2)
    put(queue, 1, 1)

    with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
        queue.put(Request())
    assert len(queue) == 2


def test_a_request_taken_out_frees_its_place_and_its_rows() -> None:
    queue = a_queue(max_batch_size=4, delay_us=100, max_queue_size=2)
    first, second = put(queue, 3, 1)

    queue.remove(first)

    assert len(queue) == 1
    assert queue.take(0) == []  # the one row left is no full batch
    put(queue, 3)
    assert queue.take(0)[0] is second


def test_due_is_when_the_oldest_has_waited_its_delay() -> None:
    queue = a_queue(delay_us=100)
    assert queue.due_ns() is None

    put(queue, 1, at_us=5)
    put(queue, 1, at_us=50)

    assert queue.due_ns() == 105_000


def test_the_default_scheduler_runs_one_request_at_a_time_in_order() -> None:
    queue: FifoQueue[Request] = FifoQueue(max_queue_size=10)
    first, second = put(queue, 1, 1)

    assert queue.take(0) == [first]
    assert queue.take(0) == [second]
    assert queue.take(0) == []


Arrivals = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 8), st.sampled_from("aab"), st.booleans()), min_size=1, max_size=40
)


@settings(max_examples=300, deadline=None)
@given(
    arrivals=Arrivals,
    preferred=st.sets(st.integers(1, 8), max_size=3),
    delay_us=st.sampled_from([0, 0, 50, 200]),
)
def test_every_request_leaves_exactly_once_in_order_within_the_limit_and_on_time(
    arrivals: list[tuple[int, int, str, bool]], preferred: set[int], delay_us: int
) -> None:
    queue = a_queue(max_batch_size=8, preferred=tuple(preferred), delay_us=delay_us)
    now_us = 0
    left: list[Request] = []
    taken: list[Request] = []
    withdrawn: list[Request] = []

    def drain(now_us: int) -> None:
        while batch := queue.take(now_us * US):
            assert sum(rows(batch)) <= 8
            assert len({request.key for request in batch}) == 1
            taken.extend(batch)
        for request in left:  # an instance idles all the time: nothing that still waits may be overdue
            if request not in taken and request not in withdrawn:
                assert delay_us
                assert now_us * US - request.queued_ns < delay_us * US

    for gap_us, count, key, cancel in arrivals:
        due_ns = queue.due_ns()
        if due_ns is not None and due_ns <= (now_us + gap_us) * US:
            drain(-(-due_ns // US))
        now_us += gap_us
        request = Request(count, key, now_us * US)
        left.append(request)
        queue.put(request)
        if cancel:
            queue.remove(request)
            withdrawn.append(request)
        drain(now_us)
    drain(now_us + delay_us + 1)

    assert len(queue) == 0
    assert [request for request in left if request not in withdrawn] == taken
