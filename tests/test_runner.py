"""A model version being served: answers, counts, bounds, and what is left behind."""

import asyncio
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from programmable import (
    DYNAMIC,
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

from jubako.errors import InvalidArgument, Unavailable
from jubako.request import Signature, TensorSpec
from jubako.runner import REMEMBERED, Runner, RunnerOptions
from jubako.statistics import ModelStatistics
from jubako.tensor import Array, Datatype

IN_THREADS = RunnerOptions(run_in_loop=False)
X = TensorSpec("X", Datatype.INT32, (1, 2))


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def fail(_: Mapping[str, Array]) -> Sequence[Array]:
    raise ValueError("broke")


async def infer(runner: Runner, *rows: int) -> list[Answered]:
    """Submit a request for each of `rows` in one turn of the loop, and return the answers."""
    answers = [Answered() for _ in rows]
    for count, answer in zip(rows, answers, strict=True):
        runner.submit(a_request(1, rows=count), answer)
    for answer in answers:
        await answer.arrived.wait()
    return answers


# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_has_the_models_outputs_in_its_order_and_names_what_it_is_of() -> None:
    async def scene() -> Answered:
        runner, _ = await a_runner()
        (answer,) = await infer(runner, 2)
        await runner.close()
        return answer

    response = run(scene()).response

    assert response is not None
    assert response.signature is not None
    assert (response.signature.model_name, response.signature.model_version) == ("m", 1)
    assert response.signature.outputs == (
        TensorSpec("Y", Datatype.INT32, (2, 2)),
        TensorSpec("Z", Datatype.INT32, (2, 2)),
    )
    assert response.batched


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        pytest.param((), ["Y", "Z"], id="none means all"),
        pytest.param(("Y",), ["Y"], id="the first"),
        pytest.param(("Z",), ["Z"], id="the second"),
        pytest.param(("Z", "Y"), ["Y", "Z"], id="all, in the model's order"),
    ],
)
@pytest.mark.parametrize("batch", [8, 0])
def test_only_the_outputs_asked_for_are_answered(asked: tuple[str, ...], given: list[str], batch: int) -> None:
    async def scene() -> tuple[Answered, Answered]:
        runner, _ = await a_runner(config=a_config(batch=batch, more=DYNAMIC if batch else ""))
        some, every = Answered(), Answered()
        runner.submit(a_request(7, signature=Signature((X,), outputs=asked)), some)
        runner.submit(a_request(8), every)  # shares the batch where there is one
        await every.arrived.wait()
        await some.arrived.wait()
        await runner.close()
        return some, every

    some, every = run(scene())

    values = {"Y": [[-7, -7]], "Z": [[8, 8]]}
    assert some.response is not None
    assert some.response.signature is not None
    assert [spec.name for spec in some.response.signature.outputs] == given
    assert some.values == [values[name] for name in given]
    assert some.response.batched is (batch > 0)
    assert every.values == [[[-8, -8]], [[9, 9]]]


def test_labels_go_with_every_answer() -> None:
    async def scene() -> Answered:
        runner, _ = await a_runner()
        runner.labels = {"Y": ("cat", "dog")}
        (answer,) = await infer(runner, 1)
        await runner.close()
        return answer

    response = run(scene()).response

    assert response is not None
    assert response.labels == {"Y": ("cat", "dog")}


@pytest.mark.parametrize("run_in_loop", [True, False])
def test_executions_in_the_loop_and_in_the_thread_give_the_same_answers(run_in_loop: bool) -> None:
    async def scene() -> tuple[list[Any], set[int], ModelStatistics]:
        runner, (instance,) = await a_runner(
            config=a_config(more=DYNAMIC), options=RunnerOptions(run_in_loop=run_in_loop)
        )
        answers = []
        for turn in range(400):
            (answer,) = await infer(runner, 1 + turn % 3)
            answers.append(answer.values)
        later = set(instance.threads[-1:])
        instance.compute = fail
        (broken,) = await infer(runner, 1)
        assert broken.error == "Internal: ValueError: broke"
        instance.compute = negate
        (answer,) = await infer(runner, 1)
        assert answer.values == [[[-1, -1]], [[2, 2]]]
        await runner.close()
        return answers, later, runner.statistics

    answers, last_ran_in, statistics = run(scene())

    assert answers == [[[[-1, -1]] * (1 + n % 3), [[2, 2]] * (1 + n % 3)] for n in range(400)]
    assert (statistics.success.count, statistics.fail.count, statistics.execution_count) == (401, 1, 401)
    if not run_in_loop:
        assert threading.get_ident() not in last_ran_in


def test_short_executions_move_into_the_loop_and_long_ones_move_them_out_for_good() -> None:
    async def scene() -> list[bool]:
        def burn(inputs: Mapping[str, Array]) -> Sequence[Array]:
            ends_ns = time.thread_time_ns() + 3_000_000
            while time.thread_time_ns() < ends_ns:
                pass
            return negate(inputs)

        runner, (instance,) = await a_runner()
        for _ in range(1000):  # a busy machine may need more than a hundred
            await infer(runner, 1)
            if instance.threads[-1] == threading.get_ident():
                break
        in_loop = [instance.threads[-1] == threading.get_ident()]
        instance.compute = burn
        for _ in range(5):
            await infer(runner, 1)
        instance.compute = negate
        for _ in range(150):
            await infer(runner, 1)
        in_loop.append(instance.threads[-1] == threading.get_ident())
        await runner.close()
        return in_loop

    assert run(scene()) == [True, False]


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "success", "inferences", "executions", "sizes"),
    [
        pytest.param([[1]], 1, 1, 1, {1: 1}, id="one batch-1"),
        pytest.param([[8]], 1, 8, 1, {8: 1}, id="one batch-8"),
        pytest.param([[1], [8]], 2, 9, 2, {1: 1, 8: 1}, id="batch-1 then batch-8"),
        pytest.param([[1, 1]], 2, 2, 1, {2: 1}, id="two batch-1 merged"),
        pytest.param([[1], [1]], 2, 2, 2, {1: 2}, id="two batch-1 not merged"),
        pytest.param([[8, 8]], 2, 16, 1, {16: 1}, id="two batch-8 merged"),
        pytest.param([[1, 8]], 2, 9, 1, {9: 1}, id="one batch-1 and one batch-8 merged"),
    ],
)
def test_the_counts_are_those_of_the_specification(
    turns: list[list[int]], success: int, inferences: int, executions: int, sizes: dict[int, int]
) -> None:
    async def scene() -> ModelStatistics:
        runner, _ = await a_runner(config=a_config(batch=16, more=DYNAMIC))
        for rows in turns:
            await infer(runner, *rows)
        await runner.close()
        return runner.statistics

    counts = run(scene())

    assert (counts.success.count, counts.inference_count, counts.execution_count) == (success, inferences, executions)
    assert counts.fail.count == 0
    assert [counts.queue.count, counts.compute_input.count, counts.compute_infer.count] == [success] * 3
    assert counts.compute_output.count == success
    assert {size: batch.compute_infer.count for size, batch in counts.batches.items()} == sizes
    assert counts.last_inference_ms > 0


def test_each_request_is_charged_with_its_whole_batch_and_success_holds_queue_and_compute() -> None:
    async def scene() -> ModelStatistics:
        runner, _ = await a_runner(config=a_config(more=DYNAMIC))
        await infer(runner, 1, 1, 1)
        await runner.close()
        return runner.statistics

    counts = run(scene())

    batch = counts.batches[3]
    for part in ("compute_input", "compute_infer", "compute_output"):
        assert getattr(counts, part).ns == 3 * getattr(batch, part).ns
    parts_ns = counts.queue.ns + counts.compute_input.ns + counts.compute_infer.ns + counts.compute_output.ns
    assert 0 < parts_ns <= counts.success.ns


def test_a_request_without_rows_is_an_execution_of_one() -> None:
    async def scene() -> tuple[Answered, ModelStatistics]:
        runner, _ = await a_runner()
        (answer,) = await infer(runner, 0)
        await runner.close()
        return answer, runner.statistics

    answer, counts = run(scene())

    assert answer.values == [[], []]
    assert (counts.success.count, counts.inference_count, list(counts.batches)) == (1, 1, [1])


def test_a_failed_execution_counts_its_requests_as_failed_and_nothing_else() -> None:
    async def scene() -> tuple[list[Answered], ModelStatistics]:
        runner, _ = await a_runner(fail, a_config(more=DYNAMIC))
        answers = await infer(runner, 1, 1)
        await runner.close()
        return answers, runner.statistics

    answers, counts = run(scene())

    assert [answer.error for answer in answers] == ["Internal: ValueError: broke"] * 2
    assert (counts.fail.count, counts.success.count, counts.inference_count, counts.execution_count) == (2, 0, 0, 0)
    assert counts.batches == {}
    assert counts.queue.count == 0
    assert counts.fail.ns > 0


def test_a_request_that_is_refused_at_once_counts_for_nothing() -> None:
    async def scene() -> ModelStatistics:
        held = Held()
        runner, _ = await a_runner(held.then(), options=RunnerOptions(max_queue_size=1))
        running, waiting = Answered(), Answered()
        runner.submit(a_request(), running)
        await held.has_begun()
        runner.submit(a_request(), waiting)
        with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
            runner.submit(a_request(), Answered())
        with pytest.raises(InvalidArgument, match="batch-size must be <= 8"):
            runner.submit(
                a_request(rows=9, signature=Signature((TensorSpec("X", Datatype.INT32, (9, 2)),))), Answered()
            )
        held.release.set()
        await waiting.arrived.wait()
        await runner.close()
        return runner.statistics

    counts = run(scene())

    assert (counts.success.count, counts.fail.count) == (2, 0)


# --- cancelling and closing -------------------------------------------------------------------------------------------


def test_cancelled_queued_running_and_answered_requests_are_answered_once_and_counted() -> None:
    async def scene() -> tuple[list[str], ModelStatistics]:
        held = Held()
        runner, _ = await a_runner(held.then(), a_config(more=DYNAMIC))
        answers = [Answered() for _ in range(4)]
        running, beside = (runner.submit(a_request(), answer) for answer in answers[:2])
        await held.has_begun()
        queued, behind = (runner.submit(a_request(), answer) for answer in answers[2:])

        queued.cancel()
        running.cancel()
        running.cancel()
        assert answers[2].response is not None
        assert answers[0].response is None
        held.release.set()
        await answers[3].arrived.wait()
        for ticket in (running, beside, queued, behind):
            ticket.cancel()
        await runner.close()
        return [answer.error for answer in answers], runner.statistics

    errors, counts = run(scene())

    assert errors == ["Cancelled: ", "", "Cancelled: ", ""]
    assert (counts.success.count, counts.fail.count, counts.inference_count) == (2, 2, 2)
    assert (counts.execution_count, sorted(counts.batches)) == (2, [1, 2])  # the cancelled one did run


def test_a_cancelled_request_whose_execution_fails_is_answered_as_cancelled() -> None:
    async def scene() -> list[str]:
        held = Held()

        runner, _ = await a_runner(held.then(fail), a_config(more=DYNAMIC))
        left, stayed = Answered(), Answered()
        ticket = runner.submit(a_request(), left)
        runner.submit(a_request(), stayed)
        await held.has_begun()
        ticket.cancel()
        held.release.set()
        await stayed.arrived.wait()
        await runner.close()
        return [left.error, stayed.error]

    assert run(scene()) == ["Cancelled: ", "Internal: ValueError: broke"]


def test_closing_refuses_what_waits_lets_run_what_runs_and_takes_no_more() -> None:
    async def scene() -> tuple[list[str], int]:
        held = Held()
        runner, instances = await a_runner(held.then(), a_config(groups="{ count: 2 }"))
        answers = [Answered() for _ in range(3)]
        for answer in answers:
            runner.submit(a_request(id="7"), answer)
        await until(lambda: runner.waiting == 1 and all(len(instance.rows) for instance in instances))

        closing = asyncio.ensure_future(runner.close())
        await asyncio.sleep(0)
        assert [answer.error[:12] for answer in answers] == ["", "", "Unavailable:"]
        with pytest.raises(Unavailable, match=r"\[request id: 7\] Server is stopping"):
            runner.submit(a_request(id="7"), Answered())
        held.release.set()
        await closing

        assert [instance.closed.is_set() for instance in instances] == [True, True]
        return [answer.error for answer in answers], runner.statistics.fail.count

    errors, failed = run(scene())

    assert errors[:2] == ["", ""]
    assert errors[2].startswith("Unavailable: Server is stopping")
    assert failed == 1


def test_closing_ends_all_instances_side_by_side() -> None:
    async def scene() -> None:
        held = Held()
        slow_end = Held()
        runner, (first, second) = await a_runner(
            [slow_end.then(), held.then()], a_config(groups="{ count: 2 }"), IN_THREADS
        )
        answers = [Answered(), Answered()]
        for answer in answers:
            runner.submit(a_request(), answer)
        await slow_end.has_begun()
        await held.has_begun()
        closing = asyncio.ensure_future(runner.close())
        held.release.set()

        await until(second.closed.is_set)  # although the first still runs
        assert not first.closed.is_set()
        slow_end.release.set()
        await closing

    run(scene())


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "option", "bound"),
    [
        pytest.param(a_config(), 3, 3, id="the server's bound, default scheduler"),
        pytest.param(a_config(more=DYNAMIC), 3, 3, id="the server's bound, dynamic batcher"),
        pytest.param(
            a_config(more="dynamic_batching { default_queue_policy { max_queue_size: 2 } }"), 3, 2, id="the model's own"
        ),
        pytest.param(
            a_config(more="dynamic_batching { default_queue_policy { max_queue_size: 5 } }"),
            3,
            5,
            id="the model's own, larger",
        ),
    ],
)
def test_exactly_as_many_requests_wait_as_the_bound_says(config: Any, option: int, bound: int) -> None:
    async def scene() -> None:
        held = Held()
        runner, _ = await a_runner(held.then(), config, RunnerOptions(max_queue_size=option))
        runner.submit(a_request(), Answered())
        await held.has_begun()

        tickets = [runner.submit(a_request(), Answered()) for _ in range(bound)]
        assert runner.waiting == bound
        with pytest.raises(Unavailable, match=r"^\[request id: late\] Exceeds maximum queue size$"):
            runner.submit(a_request(id="late"), Answered())
        tickets[0].cancel()
        runner.submit(a_request(), Answered())
        assert runner.waiting == bound

        held.release.set()
        await runner.drained()
        await runner.close()

    run(scene())


def references_to(signature: Signature) -> int:
    return sys.getrefcount(signature)


def test_a_signature_is_remembered_only_if_it_is_reusable_and_not_for_ever() -> None:
    async def scene() -> None:
        runner, _ = await a_runner()
        kept, once = Signature((X,), reusable=True), Signature((X,))
        before = references_to(kept)

        for signature in (kept, once):
            answer = Answered()
            runner.submit(a_request(signature=signature), answer)
            await answer.arrived.wait()
            del answer, signature
        await until(lambda: references_to(once) == before)
        assert references_to(kept) > before

        for _ in range(REMEMBERED):
            runner.submit(a_request(signature=Signature((X,), reusable=True)), lambda response, final: None)
            await runner.drained()
        await until(lambda: references_to(kept) == before)
        await runner.close()

    run(scene())


def test_a_signature_that_does_not_fit_is_refused_every_time_and_never_remembered() -> None:
    async def scene() -> None:
        runner, _ = await a_runner()
        wrong = Signature((TensorSpec("W", Datatype.INT32, (1, 2)),), reusable=True)
        before = references_to(wrong)
        for _ in range(3):
            with pytest.raises(InvalidArgument, match="unexpected inference input 'W'"):
                runner.submit(a_request(signature=wrong), Answered())
        gc.collect()
        assert references_to(wrong) == before
        await runner.close()

    run(scene())


@pytest.mark.parametrize("run_in_loop", [True, False])
def test_an_idle_runner_keeps_neither_requests_nor_answers_alive(run_in_loop: bool) -> None:
    async def scene() -> None:
        runner, _ = await a_runner(config=a_config(more=DYNAMIC), options=RunnerOptions(run_in_loop=run_in_loop))
        for _ in range(150):
            await infer(runner, 1)
        request, answer = a_request(), Answered()
        runner.submit(request, answer)
        await answer.arrived.wait()
        assert answer.response is not None
        given = weakref.ref(request.arrays[0])
        made = weakref.ref(answer.response.arrays[0])
        del request, answer
        await until(lambda: given() is None and made() is None)
        await runner.close()

    gc.disable()
    try:
        run(scene())
    finally:
        gc.enable()


def test_a_closed_runner_is_collected() -> None:
    async def scene() -> None:
        runner, instances = await a_runner(config=a_config(more="dynamic_batching { max_queue_delay_microseconds: 9 }"))
        await infer(runner, 1)
        await runner.close()
        gone = weakref.ref(runner), weakref.ref(instances[0])
        del runner, instances
        gc.collect()
        assert [reference() for reference in gone] == [None, None]

    run(scene())


# --- instances --------------------------------------------------------------------------------------------------------


def test_a_passive_instance_is_loaded_and_closed_and_never_runs() -> None:
    async def scene() -> None:
        held = Held()
        runner, (active, passive) = await a_runner(
            [held.then(), negate], a_config(groups="{ count: 1 }, { count: 1 passive: true }")
        )
        answers = [Answered() for _ in range(3)]
        for answer in answers:
            runner.submit(a_request(), answer)
        await held.has_begun()
        assert runner.waiting == 2
        held.release.set()
        await runner.drained()
        await runner.close()

        assert (active.rows, passive.rows) == ([1, 1, 1], [])
        assert passive.closed.is_set()

    run(scene())


def test_several_instances_run_at_the_same_time() -> None:
    async def scene() -> None:
        together = threading.Barrier(3)

        def meet(inputs: Mapping[str, Array]) -> Sequence[Array]:
            together.wait(10)
            return negate(inputs)

        runner, _ = await a_runner(meet, a_config(groups="{ count: 3 }"))
        answers = await infer(runner, 1, 1, 1)
        assert [answer.error for answer in answers] == [""] * 3
        await runner.close()

    run(scene())


@pytest.mark.parametrize("wrong", [lambda x: [x], lambda x: [x, x, x], lambda x: [x, np.zeros((5, 2), np.int32)]])
@pytest.mark.parametrize("run_in_loop", [True, False])
def test_a_model_that_returns_the_wrong_things_fails_its_requests_and_goes_on(
    wrong: Callable[[Array], Sequence[Array]], run_in_loop: bool
) -> None:
    async def scene() -> None:
        runner, (instance,) = await a_runner(
            config=a_config(more=DYNAMIC), options=RunnerOptions(run_in_loop=run_in_loop)
        )
        for _ in range(120):
            await infer(runner, 1)
        instance.compute = lambda inputs: wrong(inputs["X"])
        broken = await infer(runner, 1, 2)
        instance.compute = negate
        (good,) = await infer(runner, 1)
        await runner.close()

        assert [answer.error[:10] for answer in broken] == ["Internal: "] * 2
        assert good.values == [[[-1, -1]], [[2, 2]]]
        assert runner.statistics.fail.count == 2

    run(scene())
