"""Which versions are served, what the index says of the others, and that nothing is left at the end."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from programmable import (
    DYNAMIC,
    Answered,
    Held,
    Model,
    a_config,
    a_request,
    a_server,
    instance_threads,
    no_thread_left,
    run,
    snapshot,
    until,
)

from jubako.errors import JubakoError, NotFound, Unavailable
from jubako.lifecycle import IndexRow
from jubako.repository import BrokenModel, Snapshot
from jubako.request import LATEST
from jubako.runner import State
from jubako.server import InferenceServer

__all__ = ["snapshot"]  # a fixture
Write = Callable[..., Snapshot]


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def failing(error: BaseException) -> Callable[..., object]:
    def function(*_: object) -> object:
        raise error

    return function


def held_by(held: Held) -> Callable[..., object]:
    return lambda *_: held.wait()


def served(server: InferenceServer, version: int = LATEST, name: str = "m") -> int:
    return server.runner(name, version).version


# --- loading ----------------------------------------------------------------------------------------------------------


def test_an_empty_snapshot_is_ready_as_soon_as_it_is_loaded() -> None:
    async def scene() -> None:
        async with a_server() as server:
            assert not server.ready
            await server.load(Snapshot())
            assert server.ready
            assert list(server.index()) == []

    run(scene())


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        pytest.param(Unavailable("no memory"), "Unavailable: no memory", id="an error of ours"),
        pytest.param(ValueError("broke"), "Internal: ValueError: broke", id="any exception"),
        pytest.param(SystemExit(3), "Internal: SystemExit: 3", id="SystemExit"),
        pytest.param(StopIteration(), "Internal: StopIteration: ", id="StopIteration"),
        pytest.param(asyncio.CancelledError(), "Internal: CancelledError: ", id="a cancel that is not ours"),
        pytest.param(KeyboardInterrupt(), "Internal: KeyboardInterrupt: ", id="KeyboardInterrupt"),
    ],
)
@pytest.mark.parametrize("where", ["complete", "load"])
def test_one_broken_model_never_stops_the_others(
    snapshot: Write, raised: BaseException, reason: str, where: str
) -> None:
    broken = Model("broken", **{where: failing(raised)})  # type: ignore[arg-type]
    written = snapshot(Model("a"), broken, Model("z"))

    async def scene() -> list[IndexRow]:
        async with a_server() as server:
            await server.load(written)
            assert [served(server, name=name) for name in ("a", "z")] == [1, 1]
            assert not server.ready
            return server.index()

    assert run(scene()) == [
        IndexRow("a", 1, State.READY),
        IndexRow("broken", 1, State.UNAVAILABLE, reason),
        IndexRow("z", 1, State.READY),
    ]


def test_the_index_is_sorted_by_name_and_version_and_tells_what_never_got_a_version(snapshot: Write) -> None:
    lost = Model("m", 10, load=failing(Unavailable("no")))
    broken = BrokenModel("k", "/models", "at least one version must be available")
    written = snapshot(Model("n"), lost, Model("m", 2), broken=[broken])

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            assert [(row.name, row.version, row.state.value, row.reason) for row in server.index()] == [
                ("k", None, "UNAVAILABLE", "at least one version must be available"),
                ("m", 2, "READY", ""),
                ("m", 10, "UNAVAILABLE", "Unavailable: no"),
                ("n", 1, "READY", ""),
            ]
            assert [(row.name, row.version) for row in server.index(ready_only=True)] == [("m", 2), ("n", 1)]

    run(scene())


def test_what_is_expected_is_loading_before_its_load_begins(snapshot: Write) -> None:
    expected = snapshot(Model("m"))

    async def scene() -> None:
        async with a_server() as server:
            server.expect(expected)
            assert [row.state for row in server.index()] == [State.LOADING]
            with pytest.raises(Unavailable, match="is not at ready state"):
                server.runner("m")

            await server.load(expected)
            assert [row.state for row in server.index()] == [State.READY]

    run(scene())


def test_the_latest_version_is_the_highest_that_is_ready(snapshot: Write) -> None:
    written = snapshot(Model("m", 9), Model("m", 10), Model("m", 11, load=failing(Unavailable("no"))))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            assert served(server) == 10
            assert [served(server, version) for version in (9, 10)] == [9, 10]
            assert server.model_metadata("m").versions == [9, 10]
            with pytest.raises(Unavailable, match="'m' version 11 is not at ready state"):
                served(server, 11)

    run(scene())


def test_a_version_is_served_while_others_still_load(snapshot: Write) -> None:
    held = Held()
    written = snapshot(Model("m", 1), Model("m", 2, load=held_by(held)), Model("late", load=held_by(held)))

    async def scene() -> None:
        async with a_server() as server:
            loading = asyncio.ensure_future(server.load(written))
            await held.has_begun()
            await until(lambda: bool(server.index(ready_only=True)))

            assert served(server) == 1
            assert not server.ready
            assert [row.state.value for row in server.index()] == ["LOADING", "READY", "LOADING"]
            answer = Answered()
            request = a_request()
            request.model_name = "late"
            assert server.submit(request, answer) is None
            assert answer.error == "Unavailable: Request for unknown model: 'late' is not at ready state"

            held.release.set()
            await loading
            assert served(server) == 2
            assert server.ready

    run(scene())


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("none", LATEST, NotFound("Request for unknown model: 'none' is not found")),
        ("none", 1, NotFound("Request for unknown model: 'none' is not found")),
        ("m", 7, NotFound("Request for unknown model: 'm' version 7 is not found")),
        ("m", 2, Unavailable("Request for unknown model: 'm' version 2 is not at ready state")),
        ("bad", LATEST, NotFound("Request for unknown model: 'bad' has no available versions")),
        ("bad", 1, Unavailable("Request for unknown model: 'bad' version 1 is not at ready state")),
        ("lost", LATEST, NotFound("Request for unknown model: 'lost' has no available versions")),
        ("lost", 1, NotFound("Request for unknown model: 'lost' version 1 is not found")),
    ],
)
def test_a_version_that_cannot_be_had_says_why(snapshot: Write, name: str, version: int, error: JubakoError) -> None:
    written = snapshot(
        Model("m", 1),
        Model("m", 2, load=failing(Unavailable("no"))),
        Model("bad", 1, load=failing(Unavailable("no"))),
        broken=[BrokenModel("lost", "", "no version")],
    )

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            with pytest.raises(type(error)) as raised:
                served(server, version, name)
            assert str(raised.value) == str(error)

    run(scene())


@pytest.mark.parametrize(
    ("models", "broken", "strict", "loose"),
    [
        pytest.param([Model("a"), Model("b")], [], True, True, id="all are ready"),
        pytest.param([Model("a"), Model("b", load=failing(Unavailable("no")))], [], False, True, id="one failed"),
        pytest.param([Model("a")], [BrokenModel("b", "", "no")], False, True, id="one is broken"),
    ],
)
def test_strict_readiness_asks_that_every_version_is_ready(
    snapshot: Write, models: list[Model], broken: list[BrokenModel], strict: bool, loose: bool
) -> None:
    written = snapshot(*models, broken=broken)

    async def scene(strictly: bool) -> bool:
        async with a_server(strict=strictly) as server:
            assert not server.ready
            await server.load(written)
            return server.ready

    assert (run(scene(True)), run(scene(False))) == (strict, loose)


def test_no_more_models_load_at_a_time_than_was_asked_for(snapshot: Write) -> None:
    lock = threading.Lock()
    loading: list[str] = []
    most = 0

    def load(instance: str) -> None:
        nonlocal most
        with lock:
            loading.append(instance)
            most = max(most, len(loading))
        threading.Event().wait(0.01)
        with lock:
            loading.remove(instance)

    written = snapshot(*(Model(f"m{i}", load=load) for i in range(6)))

    async def scene() -> None:
        async with a_server(threads=2) as server:
            await server.load(written)
            assert server.ready

    run(scene())

    assert most == 2


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_closing_while_models_load_closes_what_had_loaded_and_does_not_wait_for_what_loads(snapshot: Write) -> None:
    held = Held()
    quick, slow, queued = Model("quick"), Model("slow", load=held_by(held)), Model("queued")
    written = snapshot(quick, slow, queued)

    async def scene() -> None:
        server = a_server(threads=2)
        loading = asyncio.ensure_future(server.load(written))
        await held.has_begun()
        await until(lambda: len(server.index(ready_only=True)) == 2)

        await server.close()
        await loading
        assert instance_threads() == ["jubako slow_0_0"]  # a load cannot be interrupted
        assert {(row.state, row.reason) for row in server.index()} == {(State.UNAVAILABLE, "unloaded")}
        assert not server.ready

        held.release.set()
        await until(lambda: not instance_threads())
        assert slow.instances[0].closed.is_set()
        assert quick.instances[0].closed.is_set()

    run(scene())


def test_closing_while_a_configuration_is_prepared_loads_nothing(snapshot: Write) -> None:
    held = Held()
    model, behind = Model("m", complete=held_by(held)), Model("n")
    written = snapshot(model, behind)

    async def scene() -> None:
        server = a_server(threads=1)
        loading = asyncio.ensure_future(server.load(written))
        await held.has_begun()
        await server.close()
        held.release.set()
        await loading

        assert model.instances == behind.instances == []

    run(scene())


def test_a_load_that_is_cancelled_leaves_a_server_that_can_be_closed(snapshot: Write) -> None:
    held = Held()
    quick, slow = Model("quick"), Model("slow", load=held_by(held))
    written = snapshot(quick, slow)

    async def scene() -> None:
        server = a_server()
        loading = asyncio.ensure_future(server.load(written))
        await held.has_begun()
        await until(lambda: bool(server.index(ready_only=True)))

        loading.cancel()
        await asyncio.wait([loading])
        assert loading.cancelled()
        assert served(server, name="quick") == 1
        await server.close()
        assert quick.instances[0].closed.is_set()

        held.release.set()
        await until(lambda: not instance_threads())
        assert slow.instances[0].closed.is_set()

    run(scene())


def test_a_closed_server_loads_nothing_more(snapshot: Write) -> None:
    model = Model()
    written = snapshot(model)

    async def scene() -> None:
        server = a_server()
        await server.close()
        with pytest.raises(Unavailable):
            await server.load(written)

    run(scene())

    assert model.instances == []


def test_closing_again_does_nothing_more_and_waits_for_the_first(snapshot: Write) -> None:
    held = Held()
    model = Model(execute=held.then())
    written = snapshot(model)

    async def scene() -> None:
        server = a_server()
        await server.load(written)
        server.submit(a_request(), Answered())
        await held.has_begun()
        closes = [asyncio.ensure_future(server.close()) for _ in range(2)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert [close.done() for close in closes] == [False, False]
        held.release.set()
        await asyncio.gather(*closes)
        await server.close()

    run(scene())

    assert model.instances[0].closed.is_set()


def test_closing_refuses_what_waits_for_every_model_before_it_waits_for_any(snapshot: Write) -> None:
    held = Held()
    models = [Model(name, execute=held.then(), config=a_config(name, more=DYNAMIC)) for name in "ab"]
    written = snapshot(*models)

    async def scene() -> None:
        server = a_server()
        await server.load(written)
        answers = {name: [Answered(), Answered()] for name in "ab"}
        for turn in range(2):
            for name in "ab":
                request = a_request()
                request.model_name = name
                server.submit(request, answers[name][turn])
            await until(lambda: all(model.instances[0].rows for model in models))

        closing = asyncio.ensure_future(server.close())
        await until(lambda: all(answers[name][1].error.startswith("Unavailable") for name in "ab"))
        assert [answers[name][0].response for name in "ab"] == [None, None]
        held.release.set()
        await closing
        assert [answers[name][0].values for name in "ab"] == [[[[0, 0]], [[1, 1]]]] * 2

    run(scene())


def test_a_drain_waits_for_what_runs_and_waits_and_no_longer_than_it_may(snapshot: Write) -> None:
    held = Held()
    written = snapshot(Model(execute=held.then()))

    async def scene() -> None:
        async with a_server() as server:
            await server.load(written)
            assert await server.drain(0)
            answers = [Answered(), Answered()]
            for answer in answers:
                server.submit(a_request(), answer)
            server.stop_accepting()

            assert not await server.drain(0.02)
            held.release.set()
            assert await server.drain(20)
            assert [answer.error for answer in answers] == ["", ""]
            late = Answered()
            assert server.submit(a_request(), late) is None
            assert late.error.startswith("Unavailable: Server is stopping")
            assert (server.live, server.ready, server.stopping) == (True, False, True)

    run(scene())
