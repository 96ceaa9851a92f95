"""Ensembles in a server: when they load, what stands in their way, how they count, and how they end."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from google.protobuf import text_format
from programmable import (
    Answered,
    Held,
    Model,
    a_config,
    a_request,
    a_server,
    no_thread_left,
    run,
    until,
)
from programmable import snapshot as snapshot
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.errors import InvalidArgument, Unavailable
from jubako.repository import Snapshot
from jubako.request import Ticket
from jubako.runner import State
from jubako.server import InferenceServer
from jubako.statistics import Failure
from jubako.tensor import Array

Write = Callable[..., Snapshot]


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def a_chain(name: str, *models: str, version: int = -1, bound: int = 0) -> Model:
    """Return an ensemble of X that goes through `models`, one after the other; Y is the last one's."""
    tensors = ["X", *(f"T{i}" for i in range(1, len(models))), "Y"]
    steps = "".join(
        f'step {{ model_name: "{model}" model_version: {version} input_map {{ key: "X" value: "{tensors[i]}" }} '
        f'output_map {{ key: "Y" value: "{tensors[i + 1]}" }} }}\n'
        for i, model in enumerate(models)
    )
    text = f"""
        name: "{name}" platform: "ensemble" max_batch_size: 8
        input {{ name: "X" data_type: TYPE_INT32 dims: [ 2 ] }}
        output {{ name: "Y" data_type: TYPE_INT32 dims: [ 2 ] }}
        ensemble_scheduling {{ {steps} max_inflight_requests: {bound} }}
    """
    return Model(name, config=text_format.Parse(text, ModelConfig()))


class Asked(Answered):
    """A request to an ensemble, and its answer."""

    ticket: Ticket | None = None


def ask(server: InferenceServer, name: str = "e", value: int = 1, rows: int = 1) -> Asked:
    request = a_request(value, rows=rows, id="r")
    request.model_name = name
    asked = Asked()
    asked.ticket = server.submit(request, asked)
    return asked


def reasons(server: InferenceServer) -> dict[str, str]:
    return {row.name: row.reason for row in server.index() if row.state is not State.READY}


def broken(inputs: Mapping[str, Array]) -> Sequence[Array]:
    raise ValueError("broke")


def refuse(instance: str) -> None:
    raise Unavailable("no memory")


# --- loading ----------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_ready_once_its_models_are(snapshot: Write) -> None:
    held = Held()
    written = snapshot(a_chain("a", "m"), Model("m", load=lambda instance: held.wait()), a_chain("aa", "a"))

    async def scene() -> None:
        async with a_server(threads=1) as server:
            loading = asyncio.ensure_future(server.load(written))
            await held.has_begun()
            assert server.index(ready_only=True) == []
            held.release.set()
            await loading
            assert server.ready
            answer = ask(server, "aa", value=3)
            await answer.arrived.wait()
            assert answer.values == [[[-3, -3]]]

    run(scene())


def test_models_that_are_nowhere_or_broken_are_named(snapshot: Write) -> None:
    failed = Model("failed", load=refuse)
    written = snapshot(
        a_chain("gone", "nowhere"),
        a_chain("on_failed", "failed"),
        a_chain("two_deep", "on_failed"),
        a_chain("other_version", "m", version=7),
        failed,
        Model("m"),
    )

    async def scene() -> dict[str, str]:
        async with a_server() as server:
            await server.load(written)
            return reasons(server)

    found = run(scene())
    cause = (
        "ensemble 'on_failed' depends on 'failed' which has no loaded version. Model 'failed' loading failed with "
        "error: version 1 is at UNAVAILABLE state: Unavailable: no memory;"
    )

    assert found == {
        "failed": "Unavailable: no memory",
        "gone": "Invalid argument: ensemble gone contains models that are not available or ambiguous: nowhere",
        "on_failed": f"Invalid argument: {cause}",
        "two_deep": "Invalid argument: ensemble 'two_deep' depends on 'on_failed' which has no loaded version. Model "
        f"'on_failed' loading failed with error: version 1 is at UNAVAILABLE state: Invalid argument: {cause};",
        "other_version": "Invalid argument: ensemble 'other_version' depends on 'm' whose required version 7 is not "
        "loaded.",
    }


def test_ensembles_in_a_circle_fail_and_the_others_load(snapshot: Write) -> None:
    written = snapshot(a_chain("a", "b"), a_chain("b", "a"), Model("m"), a_chain("e", "m"))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            assert reasons(server) == {
                "a": "Invalid argument: circular dependency between ensembles: a -> b -> a",
                "b": "Invalid argument: circular dependency between ensembles: b -> a -> b",
            }
            assert server.model_ready("e")

    run(scene())


def test_an_ensemble_that_does_not_fit_its_models_fails_to_load(snapshot: Write) -> None:
    written = snapshot(a_chain("e", "small"), Model("small", config=a_config("small", batch=2)))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            assert reasons(server) == {
                "e": "Invalid argument: ensemble e allows maximum batch size 8, but it contains model small which only "
                "allows maximum batch size to be 2"
            }

    run(scene())


def test_closing_while_the_models_of_an_ensemble_load_ends_both(snapshot: Write) -> None:
    held = Held()
    written = snapshot(a_chain("e", "m"), Model("m", load=lambda instance: held.wait()))

    async def scene() -> None:
        server = a_server()
        loading = asyncio.ensure_future(server.load(written))
        await held.has_begun()
        await server.close()
        await loading
        held.release.set()
        assert {row.state for row in server.index()} == {State.UNAVAILABLE}

    run(scene())


# --- answers and counts -----------------------------------------------------------------------------------------------


def test_an_answer_is_the_ensembles_and_every_model_counts_its_own(snapshot: Write) -> None:
    written = snapshot(a_chain("e", "m", "m"), Model("m"))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            answer = ask(server, value=5, rows=3)
            await answer.arrived.wait()

            assert answer.values == [[[5, 5]] * 3]
            response = answer.response
            assert response is not None
            assert response.signature is not None
            assert (response.signature.model_name, response.signature.model_version) == ("e", 1)
            assert response.parameters == {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
            (ensemble,), (model,) = server.statistics("e"), server.statistics("m")
            assert ensemble.statistics.success.count == 1
            assert ensemble.statistics.inference_count == 3
            assert {rows: batch.count for rows, batch in ensemble.statistics.batches.items()} == {3: 1}
            assert {rows: batch.count for rows, batch in model.statistics.batches.items()} == {3: 2}
            for phase in ("compute_input", "compute_infer", "compute_output"):
                assert getattr(ensemble.statistics, phase).ns == getattr(model.statistics, phase).ns
            assert ensemble.statistics.success.ns >= ensemble.statistics.compute_infer.ns

    run(scene())


def test_requests_at_the_same_time_share_batches_in_the_models(snapshot: Write) -> None:
    held = Held()
    config = a_config("m", more="dynamic_batching { }")
    model = Model("m", config=config, execute=held.then())
    written = snapshot(a_chain("e", "m"), model)

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            first = ask(server)
            await held.has_begun()
            others = [ask(server, value=value) for value in range(4)]
            held.release.set()
            for answer in (first, *others):
                await answer.arrived.wait()
            assert [answer.values[0][0][0] for answer in others] == [0, -1, -2, -3]
            assert model.instances[0].rows == [1, 4]

    run(scene())


def test_a_failure_of_a_step_is_the_requests_and_says_of_which(snapshot: Write) -> None:
    written = snapshot(a_chain("e", "m", "bad"), Model("m"), Model("bad", execute=broken))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            answer = ask(server)
            await answer.arrived.wait()

            assert answer.error == "Internal: in ensemble 'e', ValueError: broke (step 1, model 'bad')"
            (ensemble,) = server.statistics("e")
            assert ensemble.statistics.failures[Failure.OTHER] == ensemble.statistics.fail.count == 1
            assert ensemble.statistics.execution_count == 0

    run(scene())


def test_a_full_queue_of_a_step_fails_the_request_at_once_and_names_the_step(snapshot: Write) -> None:
    held = Held()
    config = a_config("m", more="dynamic_batching { default_queue_policy { max_queue_size: 1 } }")
    written = snapshot(a_chain("e", "m"), Model("m", config=config, execute=held.then()))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            running = ask(server)
            await held.has_begun()
            waiting, refused = ask(server), ask(server)
            await refused.arrived.wait()

            assert refused.error == (
                "Unavailable: in ensemble 'e', [request id: r] Exceeds maximum queue size (step 0, model 'm')"
            )
            held.release.set()
            await running.arrived.wait()
            await waiting.arrived.wait()
            assert (running.error, waiting.error) == ("", "")

    run(scene())


def test_a_request_that_does_not_fit_the_ensemble_never_reaches_a_step(snapshot: Write) -> None:
    model = Model("m")
    written = snapshot(a_chain("e", "m"), model)

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            assert ask(server, rows=9).error == (
                "InvalidArgument: [request id: r] inference request batch-size must be <= 8 for 'e'"
            )
            assert model.instances[0].rows == []

    run(scene())


def test_a_cancelled_request_starts_no_more_steps(snapshot: Write) -> None:
    held = Held()
    second = Model("second")
    written = snapshot(a_chain("e", "first", "second"), Model("first", execute=held.then()), second)

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            answer = ask(server)
            await held.has_begun()
            assert answer.ticket is not None
            answer.ticket.cancel()
            held.release.set()
            await answer.arrived.wait()

            assert answer.error == "Cancelled: "
            assert second.instances[0].rows == []
            (ensemble,) = server.statistics("e")
            assert ensemble.statistics.failures[Failure.CANCELED] == 1

    run(scene())


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_drain_lets_requests_go_through_all_their_steps(snapshot: Write) -> None:
    held = Held()
    written = snapshot(a_chain("outer", "e", "b"), a_chain("e", "a", "b"), Model("a", execute=held.then()), Model("b"))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            answer = ask(server, "outer", value=2)
            await held.has_begun()
            server.stop_accepting()
            assert not await server.drain(0.01)
            held.release.set()
            assert await server.drain(20)
            assert answer.values == [[[-2, -2]]]

    run(scene())


def test_closing_answers_every_request_of_an_ensemble(snapshot: Write) -> None:
    held = Held()
    written = snapshot(a_chain("e", "a", "b", bound=2), Model("a", execute=held.then()), Model("b"))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            answers = [ask(server) for _ in range(4)]
            await held.has_begun()
            closing = asyncio.ensure_future(server.close())
            await until(lambda: all(answer.arrived.is_set() for answer in answers[2:]))
            held.release.set()
            await closing
            assert {answer.error.partition(":")[0] for answer in answers} <= {"Unavailable", "NotFound"}

    run(scene())


def test_an_ensemble_of_the_wrong_datatype_is_refused(snapshot: Write) -> None:
    ensemble = a_chain("e", "m")
    assert ensemble.config is not None
    ensemble.config.input[0].data_type = 11
    written = snapshot(ensemble, Model("m"))

    async def scene() -> str:
        async with a_server() as server:
            await server.load(written)
            return reasons(server)["e"]

    error = InvalidArgument(
        "in ensemble e, ensemble tensor X: inconsistent data type: TYPE_FP32 is inferred from model e while TYPE_INT32 "
        "is inferred from model m"
    )
    assert run(scene()) == f"{error.code}: {error}"
