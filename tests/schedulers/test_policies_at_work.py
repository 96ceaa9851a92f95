"""Policies through the whole scheduler: configuration, loop, threads, counts."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import uvloop
from programmable import (
    PATIENCE_S,
    Answered,
    Held,
    a_config,
    a_request,
    a_runner,
    negate,
    no_thread_left,
    run,
    until,
)

from jubako.errors import Unavailable
from jubako.request import InferResponse, Signature, TensorSpec
from jubako.runner import Runner, RunnerOptions
from jubako.statistics import Failure, Refusal
from jubako.tensor import Array, Datatype

IN_THREADS = RunnerOptions(run_in_loop=False)


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def signature(priority: int = 0, timeout_us: int = 0) -> Signature:
    return Signature((TensorSpec("X", Datatype.INT32, (1, 2)),), priority=priority, timeout_us=timeout_us)


class Order:
    """Notes in which order requests are answered, by id."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        assert response.error is None
        self.ids.append(response.request.id)


async def busy(batching: str, batch: int = 8) -> tuple[Runner, Held, Answered]:
    """Return a runner whose one instance is held in an execution."""
    held, first = Held(), Answered()
    config = a_config(batch=batch, more=f"dynamic_batching {{ {batching} }}")
    runner, _ = await a_runner(held.then(), config, IN_THREADS)
    runner.submit(a_request(id="first"), first)
    await held.has_begun()
    return runner, held, first


TIMEOUTS = {
    "the default": ("default_queue_policy { default_timeout_microseconds: 200000 }", 0),
    "the request's own": (
        "default_queue_policy { default_timeout_microseconds: 10000000 allow_timeout_override: true }",
        200_000,
    ),
}


@pytest.mark.parametrize(("batching", "asked_us"), TIMEOUTS.values(), ids=TIMEOUTS.keys())
def test_a_timeout_comes_on_time_behind_an_execution_that_does_not_end(batching: str, asked_us: int) -> None:
    async def attempt() -> tuple[float, str, list[int]]:
        runner, held, first = await busy(batching)
        late = Answered()
        began_s = time.monotonic()
        runner.submit(a_request(id="late", signature=signature(timeout_us=asked_us)), late)
        async with asyncio.timeout(PATIENCE_S):
            await late.arrived.wait()
        took_s = time.monotonic() - began_s
        assert not first.arrived.is_set()
        held.release.set()
        await first.arrived.wait()
        failures = list(runner.statistics.failures)
        await runner.close()
        return took_s, late.error, failures

    for _ in range(3):  # a machine that is busy with something else is tried again
        took_s, error, failures = uvloop.run(attempt())
        assert took_s >= 0.2
        assert error == "Unavailable: [request id: late] Request timeout expired"
        assert failures[Failure.REJECTED] == sum(failures) == 1
        if took_s <= 0.22:
            return
    pytest.fail(f"the timeout of 200 ms came after {took_s * 1000:.0f} ms")


def test_priority_one_overtakes_two_hundred_queued_requests_of_priority_two() -> None:
    async def scene() -> list[str]:
        runner, held, _ = await busy("priority_levels: 2 default_priority_level: 2", batch=4)
        order = Order()
        for number in range(200):
            runner.submit(a_request(id=str(number), signature=signature(number % 2 * 2)), order)
        runner.submit(a_request(id="urgent", signature=signature(1)), order)
        held.release.set()
        await runner.drained()
        await runner.close()
        return order.ids

    ids = run(scene())

    assert ids == ["urgent", *map(str, range(200))]


def test_a_burst_of_single_rows_runs_at_the_preferred_size() -> None:
    async def scene() -> dict[int, int]:
        runner, _ = await a_runner(
            config=a_config(
                batch=32,
                more="dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 1000000 "
                "default_queue_policy { default_timeout_microseconds: 5000000 } }",
            )
        )
        answers = [Answered() for _ in range(32)]
        for answer in answers:
            runner.submit(a_request(), answer)
        await runner.drained()
        counts = {rows: batch.count for rows, batch in runner.statistics.batches.items()}
        await runner.close()
        return counts

    assert run(scene()) == {8: 4}


def test_answers_leave_in_the_order_of_arrival_where_it_is_preserved() -> None:
    held = Held()

    def slow_at_first(inputs: Mapping[str, Array]) -> Sequence[Array]:
        if inputs["X"][0, 0] == 0:
            held.wait()
        return negate(inputs)

    async def scene(preserve: str) -> list[str]:
        config = a_config(batch=1, groups="{ count: 2 }", more=f"dynamic_batching {{ preserve_ordering: {preserve} }}")
        runner, _ = await a_runner(slow_at_first, config, IN_THREADS)
        order = Order()
        for number in range(6):
            runner.submit(a_request(number, id=str(number)), order)
        await held.has_begun()
        await until(lambda: runner.waiting == 0)
        if preserve == "false":
            await until(lambda: len(order.ids) == 5)
        held.release.set()
        await runner.drained()
        await runner.close()
        held.begun.clear()
        held.release.clear()
        return order.ids

    assert run(scene("true")) == list("012345")
    assert run(scene("false")) == list("123450")


def test_a_full_level_is_refused_by_name_and_counted_as_no_failure() -> None:
    async def scene() -> tuple[str, Any, int]:
        runner, held, _ = await busy(
            "priority_levels: 2 default_priority_level: 2 priority_queue_policy { key: 1 value { max_queue_size: 1 } }"
        )
        runner.submit(a_request(signature=signature(1)), Answered())
        with pytest.raises(Unavailable) as refused:
            runner.submit(a_request(id="r", signature=signature(1)), Answered())
        runner.submit(a_request(signature=signature(2)), Answered())  # the other level is not full
        held.release.set()
        await runner.drained()
        await runner.close()
        statistics = runner.statistics
        return str(refused.value), statistics.refusals[Refusal.QUEUE_FULL], statistics.fail.count

    assert run(scene()) == ("[request id: r] Exceeds maximum queue size", 1, 0)


def test_cancelled_and_expired_requests_are_counted_by_their_reasons() -> None:
    async def scene() -> tuple[list[int], int]:
        runner, held, first = await busy("default_queue_policy { default_timeout_microseconds: 1000 }")
        expired, given_up = Answered(), Answered()
        runner.submit(a_request(), expired)
        runner.submit(a_request(), given_up).cancel()
        await expired.arrived.wait()
        held.release.set()
        await first.arrived.wait()
        await runner.close()
        return list(runner.statistics.failures), runner.statistics.success.count

    failures, successes = run(scene())

    assert failures[Failure.REJECTED] == 1
    assert failures[Failure.CANCELED] == 1
    assert (sum(failures), successes) == (2, 1)


def test_requests_of_different_shapes_gather_by_shape() -> None:
    async def scene() -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        held = Held()

        def note(inputs: Mapping[str, Array]) -> Sequence[Array]:
            held.wait()
            shapes.append(inputs["X"].shape)
            return negate(inputs)

        config = a_config(more="dynamic_batching { }")
        for tensor in (*config.input, *config.output):
            tensor.dims[:] = [-1]
        runner, _ = await a_runner(note, config, IN_THREADS)
        runner.submit(_of_width(2), Answered())
        await held.has_begun()
        for width in (2, 3, 2, 3, 2):
            runner.submit(_of_width(width), Answered())
        held.release.set()
        await runner.drained()
        await runner.close()
        return shapes

    assert run(scene()) == [(1, 2), (3, 2), (2, 3)]


def _of_width(width: int) -> Any:
    request = a_request(signature=Signature((TensorSpec("X", Datatype.INT32, (1, width)),)))
    request.arrays = [request.arrays[0].repeat(width)[:width].reshape(1, width)]
    return request


def test_policies_hold_where_a_model_does_not_batch() -> None:
    async def scene() -> list[str]:
        runner, held, _ = await busy("priority_levels: 2 default_priority_level: 2", batch=0)
        order = Order()
        for name, priority in (("a", 2), ("b", 1)):
            runner.submit(a_request(id=name, signature=signature(priority)), order)
        held.release.set()
        await runner.drained()
        await runner.close()
        return order.ids

    assert run(scene()) == ["b", "a"]
