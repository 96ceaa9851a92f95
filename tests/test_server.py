"""The v2 verbs as methods."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from programmable import (
    Answered,
    Held,
    Model,
    a_config,
    a_request,
    a_server,
    no_thread_left,
    run,
    snapshot,
    until,
)

from jubako.errors import Internal, InvalidArgument, JubakoError, NotFound, Unavailable
from jubako.repository import Snapshot
from jubako.request import LATEST, InferRequest, Signature, TensorSpec
from jubako.server import InferenceServer, parse_version
from jubako.tensor import Array, Datatype

__all__ = ["snapshot"]  # a fixture
Write = Callable[..., Snapshot]


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


async def loaded(written: Snapshot) -> InferenceServer:
    server = a_server()
    await server.load(written)
    return server


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("", LATEST),
        ("0", 0),
        ("1", 1),
        ("007", 7),
        ("+3", 3),
        ("12abc", 12),
        ("1.9", 1),
        ("0x10", 0),
        ("-0", 0),
        (" 4", 4),
        ("\t\n4 ", 4),
        ("0" * 40 + "5", 5),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_version_is_read_as_the_c_library_reads_a_number(text: str, version: int) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    "text", ["latest", "a1", "+", "--1", " ", "\u0661", "9223372036854775808", "-9223372036854775809", "9" * 10_000]
)
def test_what_is_no_number_or_no_long_is_no_version(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_version(text)

    assert str(raised.value) == (
        f"failed to get model version from specified version string '{text}' (details: stol), version should be an "
        "integral value > 0"
    )


@pytest.mark.parametrize("text", ["-1", "-12", "-9223372036854775808"])
def test_a_negative_number_is_an_invalid_version(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_version(text)

    assert str(raised.value) == f"invalid model version specified '{text}' , version should be an integral value > 0"


# --- the data plane ---------------------------------------------------------------------------------------------------


def test_an_inference_returns_its_answer(snapshot: Write) -> None:
    written = snapshot(Model("m", 1), Model("m", 2))

    async def scene() -> None:
        async with await loaded(written) as server:
            request = a_request(3)
            request.start_ns = 0
            response = await server.infer(request)
            assert response.request is request
            assert response.signature is not None
            assert response.signature.model_version == 2
            assert [array.tolist() for array in response.arrays] == [[[-3, -3]], [[4, 4]]]
            (_, second) = server.statistics("m")
            assert 0 < second.statistics.success.ns < 60e9  # from now on, although nobody had set its start

    run(scene())


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        pytest.param(a_request(), NotFound, id="an unknown model"),
        pytest.param(
            InferRequest("m", LATEST, Signature((TensorSpec("W", Datatype.INT32, (1, 2)),)), []),
            InvalidArgument,
            id="an unknown input",
        ),
        pytest.param(InferRequest("m", LATEST, Signature(()), []), InvalidArgument, id="no input"),
        pytest.param(
            InferRequest("m", 9, Signature((TensorSpec("X", Datatype.INT32, (1, 2)),)), []), NotFound, id="no version"
        ),
    ],
)
def test_a_request_that_cannot_be_queued_is_answered_before_submit_returns(
    snapshot: Write, request_: InferRequest, error: type[JubakoError]
) -> None:
    written = snapshot(Model())
    if error is NotFound and request_.model_version == LATEST:
        request_.model_name = "none"

    async def scene() -> None:
        async with await loaded(written) as server:
            answer = Answered()
            assert server.submit(request_, answer) is None
            assert answer.response is not None
            assert isinstance(answer.response.error, error)
            with pytest.raises(error):
                await server.infer(request_)

    run(scene())


def test_an_inference_that_nobody_waits_for_any_more_frees_its_place(snapshot: Write) -> None:
    held = Held()
    model = Model(execute=held.then())
    written = snapshot(model)

    async def scene() -> None:
        async with await loaded(written) as server:
            running, queued = (asyncio.ensure_future(server.infer(a_request())) for _ in range(2))
            await held.has_begun()
            runner = server.runner("m")
            assert runner.waiting == 1

            queued.cancel()
            running.cancel()
            await asyncio.wait([queued, running])
            assert runner.waiting == 0
            held.release.set()
            await runner.drained()

            assert queued.cancelled()
            assert running.cancelled()
            assert model.instances[0].rows == [1]
            assert (runner.statistics.fail.count, runner.statistics.success.count) == (2, 0)

    run(scene())


def test_a_timeout_around_an_inference_gives_it_up(snapshot: Write) -> None:
    held = Held()
    written = snapshot(Model(execute=held.then()))

    async def scene() -> None:
        async with await loaded(written) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await server.infer(a_request())
            held.release.set()
            await server.runner("m").drained()
            assert server.runner("m").statistics.fail.count == 1

    run(scene())


def test_a_failed_inference_raises_its_error_and_keeps_nothing_alive(snapshot: Write) -> None:
    def fail(_: Mapping[str, Array]) -> Sequence[Array]:
        raise ValueError("broke")

    written = snapshot(Model(execute=fail))

    async def scene() -> None:
        async with await loaded(written) as server:
            request = a_request()
            given = weakref.ref(request.arrays[0])
            told = ""
            try:
                await server.infer(request)
            except Internal as error:  # pytest.raises would keep the error
                told = str(error)
            assert told == "ValueError: broke"
            del request
            await until(lambda: given() is None)

    logging.disable()  # pytest keeps what is logged, tracebacks and all
    gc.disable()
    try:
        run(scene())
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


def test_a_server_that_stops_refuses_and_still_tells_what_it_serves(snapshot: Write) -> None:
    written = snapshot(Model())

    async def scene() -> None:
        async with await loaded(written) as server:
            server.stop_accepting()
            with pytest.raises(Unavailable, match="Server is stopping"):
                await server.infer(a_request())
            with pytest.raises(Unavailable, match="Server is stopping"):
                server.model_ready("m")
            assert server.model_metadata("m").name == "m"
            assert server.live

    run(scene())


# --- the control plane ------------------------------------------------------------------------------------------------


def test_a_models_metadata_shows_the_batch_dimension_and_the_ready_versions(snapshot: Write) -> None:
    written = snapshot(Model("m", 1), Model("m", 3), Model("whole", config=a_config("whole", batch=0)))

    async def scene() -> None:
        async with await loaded(written) as server:
            every, one, whole = (
                server.model_metadata("m"),
                server.model_metadata("m", 1),
                server.model_metadata("whole"),
            )
            assert (every.versions, one.versions) == ([1, 3], [1])
            assert every.platform == "programmable"
            assert every.inputs == [TensorSpec("X", Datatype.INT32, (-1, 2))]
            assert [spec.name for spec in every.outputs] == ["Y", "Z"]
            assert whole.inputs == [TensorSpec("X", Datatype.INT32, (-1, 2))]
            assert server.model_config("m", 3).max_batch_size == 8
            assert server.model_ready("m")

    run(scene())


def test_statistics_are_of_every_version_of_one_model_or_of_one_version(snapshot: Write) -> None:
    written = snapshot(Model("a"), Model("m", 1), Model("m", 3))

    async def scene() -> None:
        async with await loaded(written) as server:
            await server.infer(a_request())

            def counted(name: str = "", version: int = LATEST) -> list[tuple[str, int, int]]:
                return [(s.name, s.version, s.statistics.success.count) for s in server.statistics(name, version)]

            assert counted() == [("a", 1, 0), ("m", 1, 0), ("m", 3, 1)]
            assert counted("m") == [("m", 1, 0), ("m", 3, 1)]
            assert counted("m", 3) == [("m", 3, 1)]
            with pytest.raises(InvalidArgument, match=r"^requested model 'none' is not available$"):
                counted("none")
            with pytest.raises(InvalidArgument, match=r"^requested model version is not available for model 'm'$"):
                counted("m", 2)

    run(scene())
