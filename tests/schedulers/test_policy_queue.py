"""Levels, deadlines and shapes, by a clock that only the tests move."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jubako.errors import Unavailable
from jubako.schedulers.policy import Levels, Policy
from jubako.schedulers.policy_queue import PolicyQueue
from jubako.schedulers.queue import BatchQueue, Queue

US = 1000
MS = 1000 * US
FREE = Policy(1000)


@dataclass(eq=False)
class Request:
    name: str = ""
    rows: int = 1
    key: Hashable = ()
    queued_ns: int = 0
    priority: int = 0
    timeout_us: int = 0


def a_queue(
    policy: Policy = FREE,
    *,
    levels: int = 0,
    default: int = 0,
    own: Mapping[int, Policy] | None = None,
    batch: int = 8,
    preferred: tuple[int, ...] = (),
    delay_us: int = 0,
    ordered: bool = False,
) -> PolicyQueue[Request]:
    return PolicyQueue(
        max_batch_size=batch,
        preferred_batch_sizes=preferred,
        max_queue_delay_ns=delay_us * US,
        levels=Levels(policy, levels, default, own or {}),
        ordered=ordered,
    )


def put(
    queue: Queue[Request],
    names: str,
    *,
    at_us: int = 0,
    rows: int = 1,
    key: Hashable = (),
    priority: int = 0,
    timeout_us: int = 0,
) -> list[Request]:
    """Queue a request for each letter of `names`."""
    requests = [Request(name, rows, key, at_us * US, priority, timeout_us) for name in names]
    for request in requests:
        queue.put(request)
    return requests


def names(requests: list[Request]) -> str:
    return "".join(request.name for request in requests)


def taken(queue: Queue[Request], now_us: int = 0) -> list[str]:
    """Take all that goes, as idle instances would."""
    batches = []
    while batch := queue.take(now_us * US):
        batches.append(names(batch))
    return batches


# --- levels -----------------------------------------------------------------------------------------------------------


def test_a_better_level_goes_first_and_the_next_fills_the_batch_up() -> None:
    queue = a_queue(levels=2, default=2, batch=4)
    put(queue, "abc", priority=2)
    put(queue, "xy", priority=1)

    assert taken(queue) == ["xyab", "c"]


def test_a_better_level_goes_first_whatever_its_shape() -> None:
    queue = a_queue(levels=3, default=3)
    put(queue, "a", key="A", priority=2)
    put(queue, "b", key="B", priority=3)
    put(queue, "c", key="C", priority=1)

    assert taken(queue) == ["c", "a", "b"]


@pytest.mark.parametrize("priority", [0, 4, 2**64 - 1])
def test_a_priority_that_there_is_not_means_the_default_level(priority: int) -> None:
    queue = a_queue(levels=3, default=2, batch=1)
    put(queue, "a", priority=3)
    put(queue, "b", priority=priority)
    put(queue, "c", priority=1)

    assert taken(queue) == ["c", "b", "a"]


def test_without_levels_priorities_mean_nothing() -> None:
    queue = a_queue(batch=1)
    put(queue, "a", priority=2)
    put(queue, "b", priority=1)

    assert taken(queue) == ["a", "b"]


def test_as_many_levels_as_can_be_configured_cost_nothing() -> None:
    queue = a_queue(levels=2**64 - 1, default=2**63)
    put(queue, "a", priority=2**64 - 1)
    put(queue, "b")

    assert taken(queue) == ["ba"]


def test_each_level_has_a_bound_of_its_own() -> None:
    queue = a_queue(Policy(2), levels=2, default=2, own={1: Policy(1)})
    put(queue, "ab", priority=2)
    put(queue, "x", priority=1)

    for priority in (0, 1, 2):
        with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
            queue.put(Request(priority=priority))
    assert len(queue) == 3


def test_what_leaves_frees_its_place_on_its_level_whichever_way_it_leaves() -> None:
    queue = a_queue(Policy(1, timeout_ns=5 * US), levels=2, default=2, batch=1)
    (first,) = put(queue, "a")
    queue.remove(first)
    put(queue, "b")
    assert taken(queue) == ["b"]
    put(queue, "c")
    assert names(queue.expire(5 * US)) == "c"
    put(queue, "d")
    assert names(queue.drain()) == "d"
    put(queue, "e")

    assert len(queue) == 1


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_a_request_is_rejected_at_its_deadline_and_not_before() -> None:
    queue = a_queue(Policy(1000, timeout_ns=100 * US))
    put(queue, "a", at_us=7)

    assert queue.expiry_ns() == 107_000
    assert queue.expire(106_999) == []
    assert names(queue.expire(107_000)) == "a"
    assert queue.expiry_ns() is None
    assert taken(queue, 200) == []


@pytest.mark.parametrize(
    ("default_us", "may_shorten", "asked_us", "expected_us"),
    [
        pytest.param(100, True, 40, 40, id="a shorter one counts"),
        pytest.param(100, True, 5000, 100, id="a longer one does not"),
        pytest.param(100, True, 0, 100, id="none is the default"),
        pytest.param(100, False, 40, 100, id="not where it may not"),
        pytest.param(0, True, 40, None, id="nothing to shorten"),
        pytest.param(0, False, 0, None, id="no deadline at all"),
    ],
)
def test_a_request_can_only_shorten_the_timeout(
    default_us: int, may_shorten: bool, asked_us: int, expected_us: int | None
) -> None:
    queue = a_queue(Policy(9, timeout_ns=default_us * US, may_shorten=may_shorten))

    put(queue, "a", timeout_us=asked_us)

    assert queue.expiry_ns() == (None if expected_us is None else expected_us * US)


def test_each_level_has_a_timeout_of_its_own() -> None:
    queue = a_queue(Policy(9, timeout_ns=50 * US), levels=3, default=3, own={1: Policy(9), 2: Policy(9, 20 * US)})
    put(queue, "a", priority=1)
    put(queue, "b", priority=2)
    put(queue, "c", priority=3)

    assert [(ns // US, names(queue.expire(ns))) for ns in (20 * US, 50 * US)] == [(20, "b"), (50, "c")]
    assert taken(queue) == ["a"]


def test_a_request_that_is_only_delayed_goes_behind_its_own_level_and_before_the_next() -> None:
    queue = a_queue(Policy(9, timeout_ns=10 * US, delays=True), levels=2, default=2, batch=1)
    put(queue, "ab", priority=1)
    assert queue.expire(10 * US) == []
    put(queue, "z", at_us=11, priority=2)
    put(queue, "c", at_us=12, priority=1)

    assert taken(queue, 13) == ["c", "a", "b", "z"]


def test_delayed_requests_still_count_against_the_bound() -> None:
    queue = a_queue(Policy(1, timeout_ns=10 * US, delays=True))
    put(queue, "a")
    queue.expire(10 * US)

    with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
        queue.put(Request(queued_ns=11 * US))


def test_a_delayed_request_waits_no_longer_than_its_queue_delay_whoever_was_delayed_before_it() -> None:
    queue = a_queue(Policy(9, timeout_ns=50 * US, delays=True, may_shorten=True), delay_us=100)
    put(queue, "a", key="A")
    put(queue, "b", key="B", at_us=20, timeout_us=10)
    queue.expire(60 * US)

    assert queue.due_ns() == 100 * US
    assert taken(queue, 100) == ["a"]
    assert taken(queue, 120) == ["b"]


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_the_batch_is_formed_around_the_oldest_and_later_ones_of_its_shape_join_past_others() -> None:
    queue = a_queue()
    put(queue, "a", key="A")
    put(queue, "b", key="B")
    put(queue, "c", key="A")
    put(queue, "d", key="B")

    assert taken(queue) == ["ac", "bd"]


def test_another_shape_does_not_close_a_batch_that_waits_for_company() -> None:
    queue = a_queue(delay_us=100)
    put(queue, "a", key="A")
    put(queue, "b", key="B", at_us=50)

    assert taken(queue, 60) == []
    assert taken(queue, 100) == ["a"]
    assert taken(queue, 149) == []
    assert taken(queue, 150) == ["b"]


def test_a_full_batch_of_one_shape_does_not_wait_behind_a_lone_request_of_another() -> None:
    queue = a_queue(batch=4, delay_us=100)
    put(queue, "a", key="A")
    put(queue, "bcde", key="B")

    assert taken(queue, 10) == ["bcde"]
    assert taken(queue, 100) == ["a"]


def test_a_stream_of_full_batches_does_not_starve_a_lone_request_of_another_shape() -> None:
    queue = a_queue(batch=4, delay_us=100)
    put(queue, "a", key="A")
    for round_ in range(12):
        put(queue, "bcde", key="B", at_us=10 * round_)

    assert names(queue.take(99 * US)) == "bcde"
    assert names(queue.take(100 * US)) == "a"


def test_a_full_batch_of_a_worse_level_goes_before_a_better_one_only_while_that_waits_for_company() -> None:
    queue = a_queue(levels=2, default=2, batch=4, delay_us=100)
    put(queue, "a", key="A", priority=1)
    put(queue, "bcde" * 2, key="B", priority=2)

    assert names(queue.take(50 * US)) == "bcde"
    assert taken(queue, 100) == ["a", "bcde"]


def test_in_an_ordered_queue_another_shape_closes_the_batch() -> None:
    queue = a_queue(Policy(9, timeout_ns=1000 * US), delay_us=100, ordered=True)
    put(queue, "ab", key="A")
    put(queue, "c", key="B")
    put(queue, "d", key="A")

    assert taken(queue, 0) == ["ab", "c"]
    assert taken(queue, 100) == ["d"]


# --- batch sizes: the same as without policies ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "policies"])
@pytest.mark.parametrize(
    ("preferred", "delay_us", "waiting", "age_us", "batches"),
    [
        pytest.param((4, 8), 0, [1] * 6, 0, [4, 2], id="no delay: the preferred size, then the rest"),
        pytest.param((4, 8), 0, [1] * 3, 0, [3], id="no delay: whatever waits goes at once"),
        pytest.param((4, 8), 100, [1] * 4, 0, [4], id="four run at once"),
        pytest.param((4, 8), 100, [1] * 6, 99, [4], id="six: four run, two wait"),
        pytest.param((4, 8), 100, [1] * 6, 100, [6], id="six that are overdue run together"),
        pytest.param((4, 8), 100, [1] * 3, 99, [], id="three wait"),
        pytest.param((4, 8), 100, [1] * 3, 100, [3], id="three run when the delay is over"),
        pytest.param((4, 8), 100, [1] * 9, 0, [8], id="the larger preferred size wins"),
        pytest.param((), 100, [1] * 8, 0, [8], id="by default a full batch is preferred"),
        pytest.param((), 100, [1] * 7, 99, [], id="by default less than a full batch waits"),
        pytest.param((), 100, [5, 5], 0, [5], id="what does not fit sends what is before it"),
        pytest.param((6,), 100, [1] * 6, 0, [6], id="a preferred size below the largest"),
        pytest.param((6,), 100, [4, 4], 0, [4], id="past the largest preferred size: what is before it"),
        pytest.param((6,), 100, [7], 0, [7], id="a request that is more than any preferred size"),
        pytest.param((2,), 0, [1] * 5, 0, [2, 2, 1], id="no delay, small preferred size"),
    ],
)
def test_the_examples_of_batch_sizes(
    kind: str, preferred: tuple[int, ...], delay_us: int, waiting: list[int], age_us: int, batches: list[int]
) -> None:
    queue: Queue[Request] = (
        a_queue(Policy(99, timeout_ns=MS), levels=2, default=1, preferred=preferred, delay_us=delay_us)
        if kind == "policies"
        else BatchQueue(
            max_batch_size=8, preferred_batch_sizes=preferred, max_queue_delay_ns=delay_us * US, max_queue_size=99
        )
    )
    for rows in waiting:
        put(queue, "a", rows=rows)

    went = []
    while batch := queue.take(age_us * US):
        went.append(sum(request.rows for request in batch))
    assert went == batches


Script = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "take", "remove"]),
        st.sampled_from([0, 0, 10, 60]),
        st.sampled_from([1, 1, 1, 2, 3, 5, 8]),
        st.sampled_from("AAB"),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(
    script=Script,
    preferred=st.sampled_from([(), (4,), (4, 8), (2, 6), (1, 3)]),
    delay_us=st.sampled_from([0, 50, 200]),
    ordered=st.booleans(),
)
def test_without_policies_it_decides_as_the_plain_queue_does(
    script: list[tuple[str, int, int, str]], preferred: tuple[int, ...], delay_us: int, ordered: bool
) -> None:
    plain: BatchQueue[Request] = BatchQueue(
        max_batch_size=8,
        preferred_batch_sizes=preferred,
        max_queue_delay_ns=delay_us * US,
        max_queue_size=5,
    )
    queue = a_queue(Policy(5), preferred=preferred, delay_us=delay_us, ordered=ordered)
    waiting: list[Request] = []
    now_us = 0
    for act, amount, rows, key in script:
        now_us += amount
        if act == "put":
            request = Request("", rows, key if ordered else (), now_us * US)
            try:
                plain.put(request)
            except Unavailable:
                with pytest.raises(Unavailable):
                    queue.put(request)
            else:
                queue.put(request)
                waiting.append(request)
        elif act == "take":
            batch = plain.take(now_us * US)
            assert queue.take(now_us * US) == batch
            waiting = [request for request in waiting if request not in batch]
        elif waiting:
            request = waiting.pop(amount % len(waiting))
            plain.remove(request)
            queue.remove(request)
        assert queue.due_ns() == plain.due_ns()
        assert len(queue) == len(plain)
