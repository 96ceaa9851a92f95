"""What is counted, through real runners: the worked examples of observability.md section 1.1, failures, refusals."""

from pathlib import Path

import pytest
from fakes import failing, simple

from jubako.errors import Cancelled, Exhausted, Internal, InvalidArgument, Unavailable
from jubako.protocols.rest.documents import statistics as document
from jubako.runner import RunnerOptions
from jubako.schedulers.in_flight import InFlight
from jubako.server import InferenceServer
from jubako.statistics import Failure, ModelStatistics, Refusal

from .scene import Sent, floats, in_loop, send, serving, sum_of, until_it_runs

DYNAMIC = "dynamic_batching { max_queue_delay_microseconds: 20000 }"
FIRST_COME = ""


def counted(server: InferenceServer, model: str = "simple") -> ModelStatistics:
    (version,) = server.statistics(model)
    return version.statistics


@pytest.mark.parametrize(
    ("turns", "batching", "success", "inferences", "executions"),
    [
        pytest.param([[1]], FIRST_COME, 1, 1, 1, id="one batch-1"),
        pytest.param([[8]], FIRST_COME, 1, 8, 1, id="one batch-8"),
        pytest.param([[1], [8]], FIRST_COME, 2, 9, 2, id="batch-1, then batch-8"),
        pytest.param([[1, 1]], DYNAMIC, 2, 2, 1, id="two batch-1, merged"),
        pytest.param([[1, 1]], FIRST_COME, 2, 2, 2, id="two batch-1, not merged"),
        pytest.param([[8, 8]], DYNAMIC.replace("{", "{ preferred_batch_size: 16 "), 2, 16, 1, id="two batch-8, merged"),
        pytest.param([[1, 8]], DYNAMIC, 2, 9, 1, id="batch-1 and batch-8, merged"),
    ],
)
@in_loop
async def test_the_worked_counts_of_the_reference_hold(
    tmp_path: Path, turns: list[list[int]], batching: str, success: int, inferences: int, executions: int
) -> None:
    model = simple(more=batching)
    model.config = model.config.replace("max_batch_size: 8", "max_batch_size: 16")

    async with serving(tmp_path, {"simple": model}) as server:
        for rows in turns:
            await send(server, *rows)

        found = counted(server)
        assert (found.success.count, found.inference_count, found.execution_count) == (success, inferences, executions)
        assert model.executions == executions


@in_loop
async def test_every_success_is_in_one_bucket_of_each_histogram(tmp_path: Path) -> None:
    async with serving(tmp_path, {"simple": simple(more=DYNAMIC)}) as server:
        await send(server, 1, 2, 3)
        await send(server, 8)

        found = counted(server)
        assert sum(found.request_buckets) == sum(found.queue_buckets) == found.success.count == 4
        assert sum(found.compute_buckets) == found.execution_count


@in_loop
async def test_each_request_of_a_batch_is_charged_with_the_whole_batchs_compute(tmp_path: Path) -> None:
    async with serving(tmp_path, {"simple": simple(more=DYNAMIC)}) as server:
        await send(server, 3, 5)

        (stats,) = document(server.statistics("simple"))["model_stats"]
        (batch,) = stats["batch_stats"]
        totals = stats["inference_stats"]
        assert (batch["batch_size"], batch["compute_infer"]["count"]) == (8, 1)
        for phase in ("compute_input", "compute_infer", "compute_output"):
            assert totals[phase] == {"count": 2, "ns": 2 * batch[phase]["ns"]}
        parts = sum(totals[part]["ns"] for part in ("queue", "compute_input", "compute_infer", "compute_output"))
        assert totals["success"]["count"] == totals["queue"]["count"] == 2
        assert totals["success"]["ns"] >= parts


@in_loop
async def test_a_loaded_model_that_was_never_asked_has_zeros_and_no_batches(tmp_path: Path) -> None:
    async with serving(tmp_path, {"simple": simple()}) as server:
        (stats,) = document(server.statistics())["model_stats"]

        nothing = {"count": 0, "ns": 0}
        assert stats["inference_stats"] == dict.fromkeys(
            (
                "success",
                "fail",
                "queue",
                "compute_input",
                "compute_infer",
                "compute_output",
                "cache_hit",
                "cache_miss",
            ),
            nothing,
        )
        assert stats["last_inference"] == stats["inference_count"] == stats["execution_count"] == 0
        assert (stats["batch_stats"], stats["response_stats"], stats["memory_usage"]) == ([], {}, [])


@in_loop
async def test_a_failed_execution_is_a_failure_of_the_backend_and_no_execution(tmp_path: Path) -> None:
    async with serving(tmp_path, {"broken": failing()}) as server:
        assert isinstance(await Sent(server, floats(4, "broken")).error(), Internal)

        found = counted(server, "broken")
        assert found.failures[Failure.BACKEND] == found.fail.count == sum(found.failures) == 1
        assert (found.execution_count, found.success.count, found.batches) == (0, 0, {})


@in_loop
async def test_a_request_cancelled_in_the_queue_is_a_failure_and_never_an_execution(tmp_path: Path) -> None:
    model = simple(held=True)
    async with serving(tmp_path, {"simple": model}, RunnerOptions(run_in_loop=False)) as server:
        first, second = Sent(server, sum_of(1)), Sent(server, sum_of(1))
        await until_it_runs(model)
        assert second.ticket is not None
        second.ticket.cancel()
        assert isinstance(await second.error(), Cancelled)
        model.release.set()
        assert await first.error() is None

        found = counted(server)
        assert found.failures[Failure.CANCELED] == found.fail.count == 1
        assert (found.success.count, found.execution_count) == (1, 1)


@in_loop
async def test_what_waits_when_the_server_ends_was_rejected(tmp_path: Path) -> None:
    model = simple(held=True)
    async with serving(tmp_path, {"simple": model}, RunnerOptions(run_in_loop=False)) as server:
        running, waiting = Sent(server, sum_of(1)), Sent(server, sum_of(1))
        await until_it_runs(model)
        found = counted(server)
        model.release.set()
    assert isinstance(await waiting.error(), Unavailable)
    await running.error()

    assert found.failures[Failure.REJECTED] == 1


@in_loop
async def test_a_request_that_is_refused_is_neither_failure_nor_success(tmp_path: Path) -> None:
    model = simple(held=True, more="dynamic_batching { default_queue_policy { max_queue_size: 1 } }")
    in_flight = InFlight()
    async with serving(tmp_path, {"simple": model}, RunnerOptions(run_in_loop=False, in_flight=in_flight)) as server:
        running = Sent(server, sum_of(1))
        await until_it_runs(model)
        waiting, too_many, wrong = Sent(server, sum_of(1)), Sent(server, sum_of(1)), Sent(server, sum_of(1, columns=3))
        assert isinstance(await too_many.error(), Unavailable)
        assert isinstance(await wrong.error(), InvalidArgument)
        assert server.statistics()[0].waiting == 1
        in_flight.max_requests = 2
        assert isinstance(await Sent(server, sum_of(1)).error(), Exhausted)
        server.stop_accepting()
        assert isinstance(await Sent(server, sum_of(1)).error(), Unavailable)
        model.release.set()
        assert (await running.error(), await waiting.error()) == (None, None)

        found = counted(server)
        assert found.refusals == [1, 1, 1, 1]
        assert {reason: found.refusals[reason] for reason in Refusal} == dict.fromkeys(Refusal, 1)
        assert (found.fail.count, found.success.count) == (0, 2)


@in_loop
async def test_asking_whether_a_model_is_ready_refuses_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, {"simple": simple()}) as server:
        server.stop_accepting()

        with pytest.raises(Unavailable):
            server.model_ready("simple")

        assert counted(server).refusals == [0, 0, 0, 0]


@in_loop
async def test_nothing_is_kept_of_the_last_minute_unless_it_was_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path, {"simple": simple()}) as server:
        assert counted(server).extras is None
