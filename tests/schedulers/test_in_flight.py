"""What the whole server may have taken in at once, through the runners of its models."""

from collections.abc import Iterator

import numpy as np
import pytest
from programmable import Answered, Held, a_config, a_request, a_runner, no_thread_left, run

from jubako.errors import Exhausted
from jubako.request import InferRequest, Signature, TensorSpec
from jubako.runner import Runner, RunnerOptions
from jubako.schedulers.in_flight import InFlight
from jubako.statistics import Refusal
from jubako.tensor import Datatype

ROW_BYTES = 8  # two INT32


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


async def two_models(in_flight: InFlight, held: Held) -> tuple[Runner, Runner]:
    options = RunnerOptions(run_in_loop=False, in_flight=in_flight)
    policy = "dynamic_batching { default_queue_policy { default_timeout_microseconds: 20000 } }"
    first, _ = await a_runner(held.then(), a_config("first", more=policy), options)
    second, _ = await a_runner(held.then(), a_config("second"), options)
    return first, second


@pytest.mark.parametrize(
    ("in_flight", "text"),
    [
        (InFlight(max_requests=3), "Exceeds maximum number of requests in flight (3)"),
        (InFlight(max_bytes=3 * ROW_BYTES), "Exceeds maximum size of requests in flight (24 bytes)"),
    ],
    ids=["requests", "bytes"],
)
def test_the_bound_is_over_all_models_and_however_a_request_ends_its_room_is_free(
    in_flight: InFlight, text: str
) -> None:
    async def scene() -> None:
        held = Held()
        first, second = await two_models(in_flight, held)
        running, expiring = Answered(), Answered()
        first.submit(a_request(), running)
        await held.has_begun()
        first.submit(a_request(), expiring)
        ticket = second.submit(a_request(), Answered())
        with pytest.raises(Exhausted) as refused:
            second.submit(a_request(id="r"), Answered())
        assert str(refused.value) == f"[request id: r] {text}"
        assert second.statistics.refusals[Refusal.SERVER_FULL] == 1

        await expiring.arrived.wait()
        second.submit(a_request(), Answered()).cancel()
        ticket.cancel()
        held.release.set()
        await first.drained()
        await second.drained()
        assert (in_flight.requests, in_flight.nbytes) == (0, 0)
        await first.close()
        await second.close()

    run(scene())


def test_what_closing_refuses_leaves_its_room() -> None:
    async def scene() -> InFlight:
        in_flight = InFlight()
        more = "dynamic_batching { max_queue_delay_microseconds: 60000000 }"
        runner, _ = await a_runner(config=a_config(more=more), options=RunnerOptions(in_flight=in_flight))
        runner.submit(a_request(), Answered())
        assert (in_flight.requests, in_flight.nbytes) == (1, ROW_BYTES)
        await runner.close()
        return in_flight

    in_flight = run(scene())

    assert (in_flight.requests, in_flight.nbytes) == (0, 0)


def test_a_request_that_is_larger_than_the_bound_runs_alone() -> None:
    async def scene() -> str:
        runner, _ = await a_runner(options=RunnerOptions(in_flight=InFlight(max_bytes=ROW_BYTES)))
        large = Answered()
        runner.submit(a_request(rows=4), large)
        with pytest.raises(Exhausted):
            runner.submit(a_request(), Answered())
        await large.arrived.wait()
        await runner.close()
        return large.error

    assert run(scene()) == ""


def test_strings_count_with_their_content() -> None:
    async def scene() -> int:
        in_flight = InFlight()
        config = a_config(more="dynamic_batching { max_queue_delay_microseconds: 60000000 }")
        config.input[0].data_type = 13  # TYPE_STRING
        runner, _ = await a_runner(config=config, options=RunnerOptions(in_flight=in_flight))
        signature = Signature((TensorSpec("X", Datatype.BYTES, (1, 2)),))
        words = np.array([[b"four", b"seven.."]], object)
        runner.submit(InferRequest("m", 1, signature, [words]), Answered())
        nbytes = in_flight.nbytes
        await runner.close()
        return nbytes

    assert run(scene()) == 11
