"""A model version whose answers are kept: what runs, what is counted, and who gets which answer."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
from programmable import (
    DYNAMIC,
    PATIENCE_S,
    Answered,
    FakeInstance,
    Held,
    a_config,
    a_request,
    a_runner,
    no_thread_left,
    run,
)

from jubako.config.interface import Admission
from jubako.errors import Unavailable
from jubako.request import InferResponse, ResponseSignature, Signature, TensorSpec
from jubako.runner import Runner, RunnerOptions
from jubako.schedulers.cache import Remembered, ResponseCache
from jubako.statistics import ModelStatistics
from jubako.tensor import Array, Datatype

CACHED = "response_cache { enable: true }"
X = TensorSpec("X", Datatype.INT32, (1, 2))
ADMITTED = Admission(rows=1, key=(), outputs=None)
ENTRY = 512 + 2 * (256 + 8)
"""Bytes of an answer to one row: Y and Z, two INT32 each."""


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def in_threads(cache: ResponseCache | None, max_queue_size: int = 4096) -> RunnerOptions:
    return RunnerOptions(run_in_loop=False, cache=cache, max_queue_size=max_queue_size)


class AnyAnswers:
    """A `Reply` that takes any number of answers."""

    def __init__(self) -> None:
        self.responses: list[InferResponse] = []

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        self.responses.append(response)


def an_answer() -> InferResponse:
    spec = TensorSpec("Y", Datatype.INT32, (1, 2))
    return InferResponse(a_request(1), ResponseSignature("m", 1, (spec,)), [np.zeros((1, 2), np.int32)])


async def ask(runner: Runner, value: int, *, id: str = "", signature: Signature | None = None) -> Answered:
    answer = Answered()
    runner.submit(a_request(value, id=id, signature=signature), answer)
    await answer.arrived.wait()
    return answer


async def a_cached_runner(
    cache: ResponseCache | None = None, **kinds: object
) -> tuple[Runner, list[FakeInstance], ResponseCache]:
    cache = ResponseCache(100_000) if cache is None else cache
    runner, instances = await a_runner(config=a_config(more=CACHED), options=in_threads(cache), **kinds)  # type: ignore[arg-type]
    return runner, instances, cache


# --- who is answered from the cache -----------------------------------------------------------------------------------


def test_an_equal_request_is_answered_at_once_with_its_own_id_and_nothing_runs() -> None:
    async def scene() -> None:
        runner, (instance,), _ = await a_cached_runner()
        first = await ask(runner, 3, id="a")
        second = Answered()

        ticket = runner.submit(a_request(3, id="b"), second)

        assert second.response is not None, "answered before submit returns"
        assert second.values == first.values == [[[-3, -3]], [[4, 4]]]
        assert second.response.request.id == "b"
        assert first.response is not None
        assert second.response.signature is first.response.signature
        assert second.response.batched
        assert instance.rows == [1]
        ticket.cancel()
        await runner.close()

    run(scene())


@pytest.mark.parametrize(
    ("more", "cache", "executions"),
    [
        pytest.param(CACHED, True, 1, id="the model asks and there is a cache"),
        pytest.param(CACHED + DYNAMIC, True, 1, id="with dynamic batching"),
        pytest.param(CACHED, False, 2, id="there is no cache"),
        pytest.param("", True, 2, id="the model does not ask"),
        pytest.param("response_cache { enable: false }", True, 2, id="the model says no"),
    ],
)
def test_answers_are_kept_where_both_the_model_and_the_server_say_so(more: str, cache: bool, executions: int) -> None:
    async def scene() -> tuple[list[int], bool]:
        kept = ResponseCache(100_000) if cache else None
        runner, (instance,) = await a_runner(config=a_config(more=more), options=in_threads(kept))
        await ask(runner, 1)
        await ask(runner, 1)
        await runner.close()
        return instance.rows, runner.cached

    rows, cached = run(scene())

    assert len(rows) == executions
    assert cached is (executions == 1)


def test_a_request_for_other_outputs_gets_those() -> None:
    async def scene() -> list[list[str]]:
        runner, _, _ = await a_cached_runner()
        named = []
        for outputs in (("Y",), (), ("Z",), ("Z", "Y"), ("Y",)):
            answer = await ask(runner, 1, signature=Signature((X,), outputs=outputs))
            assert answer.response is not None
            assert answer.response.signature is not None
            named.append([spec.name for spec in answer.response.signature.outputs])
        assert runner.statistics.cache_hit.count == 2, "all outputs by name are all, and Y was asked for before"
        await runner.close()
        return named

    assert run(scene()) == [["Y"], ["Y", "Z"], ["Z"], ["Y", "Z"], ["Y"]]


def test_errors_are_not_kept() -> None:
    calls = 0

    def fail_once(inputs: Mapping[str, Array]) -> Sequence[Array]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("broke")
        return inputs["X"], inputs["X"]

    async def scene() -> tuple[ModelStatistics, int]:
        runner, _, cache = await a_cached_runner(execute=fail_once)
        assert (await ask(runner, 1)).error == "Internal: ValueError: broke"
        assert len(cache) == 0
        assert (await ask(runner, 1)).values == [[[1, 1]], [[1, 1]]]
        assert (await ask(runner, 1)).values == [[[1, 1]], [[1, 1]]]
        await runner.close()
        return runner.statistics, len(cache)

    statistics, kept = run(scene())

    assert kept == 1
    assert (statistics.cache_hit.count, statistics.cache_miss.count, statistics.fail.count) == (1, 1, 1)


def test_a_share_of_a_batch_is_kept_without_the_batch() -> None:
    async def scene() -> tuple[list[object], int]:
        cache = ResponseCache(100_000)
        config = a_config(
            more=CACHED + "dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 9999 }"
        )
        runner, (instance,) = await a_runner(config=config, options=in_threads(cache))
        answers = [Answered() for _ in range(4)]
        for value, answer in enumerate(answers):
            runner.submit(a_request(value), answer)
        for answer in answers:
            await answer.arrived.wait()
        again = await ask(runner, 2)
        assert instance.rows == [4]
        assert again.response is not None
        assert all(array.base is None for array in again.response.arrays)
        await runner.close()
        return again.values, len(cache)

    assert run(scene()) == ([[[-2, -2]], [[3, 3]]], 4)


def test_a_version_that_is_loaded_anew_does_not_answer_for_the_old_one() -> None:
    async def scene() -> list[list[object]]:
        old, _, cache = await a_cached_runner(execute=lambda inputs: [inputs["X"] * 10, inputs["X"]])
        values = [(await ask(old, 1)).values]
        await old.close()
        new, _, _ = await a_cached_runner(cache, execute=lambda inputs: [inputs["X"] * 20, inputs["X"]])
        values += [(await ask(new, 1)).values, (await ask(new, 1)).values]
        await new.close()
        return values

    assert run(scene()) == [[[[10, 10]], [[1, 1]]], [[[20, 20]], [[1, 1]]], [[[20, 20]], [[1, 1]]]]


def test_models_share_the_budget() -> None:
    async def scene() -> tuple[int, int]:
        cache = ResponseCache(2 * ENTRY)
        runners = [(await a_cached_runner(cache))[0] for _ in range(3)]
        for runner in runners:
            await ask(runner, 1)
        await ask(runners[0], 1)
        for runner in runners:
            await runner.close()
        return cache.evictions, runners[0].statistics.cache_hit.count

    assert run(scene()) == (2, 0)


def test_a_hit_passes_by_a_full_queue_and_not_by_a_stop() -> None:
    async def scene() -> None:
        held = Held()
        cache = ResponseCache(100_000)
        runner, (instance,) = await a_runner(config=a_config(more=CACHED), options=in_threads(cache, max_queue_size=1))
        await ask(runner, 1)
        instance.compute = held.then()
        running, waiting = Answered(), Answered()
        runner.submit(a_request(2), running)
        await held.has_begun()
        runner.submit(a_request(3), waiting)
        with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
            runner.submit(a_request(4), Answered())

        assert (await ask(runner, 1)).values == [[[-1, -1]], [[2, 2]]]

        runner.stop()
        with pytest.raises(Unavailable, match="Server is stopping"):
            runner.submit(a_request(1), Answered())
        held.release.set()
        await runner.drained()
        await runner.close()

    run(scene())


def test_a_hit_does_not_overtake_where_order_is_promised() -> None:
    async def scene() -> list[str]:
        held = Held()
        config = a_config(more=CACHED + "dynamic_batching { preserve_ordering: true }", batch=1)
        runner, (instance,) = await a_runner(config=config, options=in_threads(ResponseCache(100_000)))
        await ask(runner, 1)
        instance.compute = held.then()
        order: list[str] = []

        def note(response: InferResponse, final: bool, /) -> None:
            order.append(response.request.id)

        runner.submit(a_request(2, id="slow"), note)
        await held.has_begun()
        runner.submit(a_request(1, id="kept"), note)
        held.release.set()
        await runner.drained()
        runner.submit(a_request(1, id="kept, alone"), note)
        await runner.close()
        return order

    assert run(scene()) == ["slow", "kept", "kept, alone"]


# --- counts -----------------------------------------------------------------------------------------------------------


def test_a_hit_is_a_success_that_waited_and_nothing_ran() -> None:
    async def scene() -> tuple[ModelStatistics, int]:
        runner, _, cache = await a_cached_runner()
        await ask(runner, 1)
        ran_at = runner.statistics.last_inference_ms
        await asyncio.sleep(0.002)  # the clock of the last inference counts milliseconds
        for _ in range(3):
            await ask(runner, 1)
        assert runner.statistics.last_inference_ms == ran_at
        await runner.close()
        return runner.statistics, cache.lookup.ns

    counted, lookup_ns = run(scene())

    assert (counted.success.count, counted.queue.count, counted.inference_count, counted.execution_count) == (
        4,
        4,
        1,
        1,
    )
    assert {counted.compute_input.count, counted.compute_infer.count, counted.compute_output.count} == {1}
    assert (counted.cache_hit.count, counted.cache_miss.count, counted.fail.count) == (3, 1, 0)
    assert 0 < counted.cache_hit.ns < lookup_ns
    assert sum(counted.request_buckets) == sum(counted.queue_buckets) == 4
    assert counted.batches[1].count == 1


def test_equal_requests_at_one_time_all_run_and_are_one_miss() -> None:
    async def scene() -> tuple[ModelStatistics, ResponseCache]:
        runner, _, cache = await a_cached_runner()
        answers = [Answered() for _ in range(3)]
        for answer in answers:
            runner.submit(a_request(1), answer)
        for answer in answers:
            await answer.arrived.wait()
        await runner.close()
        return runner.statistics, cache

    counted, cache = run(scene())

    assert (counted.execution_count, counted.cache_miss.count, counted.cache_hit.count) == (3, 1, 0)
    assert (cache.lookup.count, cache.misses, cache.insertion.count, len(cache)) == (3, 3, 3, 1)


def test_what_a_miss_costs_is_looking_and_keeping_and_is_part_of_the_success() -> None:
    ticks = iter([100, 107, 1000, 1030])
    statistics = ModelStatistics()
    statistics.success.add(5000)
    cache = ResponseCache(100_000)
    remembered = Remembered(cache, statistics, lambda: next(ticks))
    answered = AnyAnswers()

    keeping = remembered.recall(a_request(1), ADMITTED, answered)
    assert keeping is not None
    response = an_answer()
    keeping(response, True)

    assert answered.responses == [response]
    assert (statistics.cache_miss.count, statistics.cache_miss.ns, statistics.success.ns) == (1, 37, 5037)
    assert (cache.lookup.ns, cache.insertion.ns) == (7, 30)


def test_an_answer_too_large_to_keep_is_a_miss_each_time() -> None:
    async def scene() -> ModelStatistics:
        runner, _, cache = await a_cached_runner(ResponseCache(1000))
        for _ in range(2):
            await ask(runner, 1)
        assert len(cache) == 0
        await runner.close()
        return runner.statistics

    counted = run(scene())

    assert (counted.cache_miss.count, counted.cache_hit.count) == (2, 0)


def test_answers_that_come_in_parts_are_not_kept() -> None:
    cache = ResponseCache(100_000)
    remembered = Remembered(cache, ModelStatistics())
    answered = AnyAnswers()
    keeping = remembered.recall(a_request(1), ADMITTED, answered)
    assert keeping is not None

    keeping(an_answer(), False)
    keeping(an_answer(), True)

    assert len(answered.responses) == 2
    assert len(cache) == 0


def test_a_traced_hit_was_queued_and_did_not_run() -> None:
    class Trace:
        noted: list[int] = []  # noqa: RUF012

        def queued(self, ns: int, /) -> None:
            self.noted.append(ns)

        def ran(self, *_: int) -> None:
            raise AssertionError("it ran")

    async def scene() -> None:
        runner, _, _ = await a_cached_runner()
        await ask(runner, 1)
        request = a_request(1)
        request.trace = Trace()
        before_ns = time.monotonic_ns()
        runner.submit(request, Answered())
        assert before_ns <= Trace.noted[0] <= time.monotonic_ns()
        await runner.close()

    run(scene())


def test_under_load_every_answer_is_right_and_the_budget_holds() -> None:
    async def scene() -> None:
        cache = ResponseCache(5 * ENTRY + 17)
        config = a_config(more=CACHED + DYNAMIC, groups="{ count: 2 }")
        runner, _ = await a_runner(config=config, options=in_threads(cache))
        random = np.random.default_rng(1)
        for _ in range(200):
            values = [int(value) for value in random.integers(0, 8, 6)]
            answers = [Answered() for _ in values]
            for value, answer in zip(values, answers, strict=True):
                runner.submit(a_request(value), answer)
            for value, answer in zip(values, answers, strict=True):
                await asyncio.wait_for(answer.arrived.wait(), PATIENCE_S)
                assert answer.values == [[[-value] * 2], [[value + 1] * 2]]
            assert cache.used_bytes == len(cache) * ENTRY <= cache.max_bytes
        counted = runner.statistics
        assert counted.success.count == 1200
        assert counted.cache_hit.count == cache.hits > 0
        assert counted.compute_infer.count == 1200 - cache.hits
        assert cache.evictions > 0
        await runner.close()

    run(scene())
