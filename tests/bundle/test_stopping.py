"""How a worker ends: drained first, and never later than it may."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jubako.bundle.stopping import Stopping


class FakeServer:
    """A server whose requests end when the test says so."""

    def __init__(self) -> None:
        self.accepting = True
        self.drained = asyncio.Event()

    def stop_accepting(self) -> None:
        self.accepting = False

    async def drain(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self.drained.wait()
        except TimeoutError:
            return False
        return True


@contextmanager
def handlers_before(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have `handler` take the signals, as uvicorn does, and put back who had them."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop its turns until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signal_goes_on_to_uvicorn_once_nothing_is_in_flight(number: signal.Signals) -> None:
    passed_on: list[int] = []

    async def scenario() -> None:
        server = FakeServer()
        Stopping(server, timeout_s=60, exit_=lambda: pytest.fail("exited")).install()

        signal.raise_signal(number)
        await until(lambda: not server.accepting)
        assert passed_on == []
        server.drained.set()
        await until(lambda: bool(passed_on))

    with handlers_before(lambda number, _: passed_on.append(number)):
        asyncio.run(scenario())

    assert passed_on == [number]


def test_repeated_sigterms_change_nothing() -> None:
    passed_on: list[int] = []

    async def scenario() -> None:
        server = FakeServer()
        Stopping(server, timeout_s=60, exit_=lambda: pytest.fail("exited")).install()
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        server.drained.set()
        await until(lambda: bool(passed_on))

    with handlers_before(lambda number, _: passed_on.append(number)):
        asyncio.run(scenario())

    assert passed_on == [signal.SIGTERM]


def test_a_second_sigint_forces_uvicorn_to_end_now() -> None:
    passed_on: list[int] = []

    async def scenario() -> None:
        stopping = Stopping(FakeServer(), timeout_s=60, exit_=lambda: pytest.fail("exited"))
        stopping.install()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        await until(lambda: bool(passed_on))

    with handlers_before(lambda number, _: passed_on.append(number)):
        asyncio.run(scenario())

    assert passed_on == [signal.SIGINT, signal.SIGINT]


def test_requests_that_outlast_the_timeout_are_reported_and_left() -> None:
    happened: list[str] = []

    async def scenario() -> None:
        stopping = Stopping(
            FakeServer(),
            timeout_s=0.01,
            on_expiry=lambda: happened.append("reported"),
            exit_=lambda: happened.append("exited"),
        )
        stopping.begin(signal.SIGTERM)
        await until(lambda: len(happened) == 2)

    asyncio.run(scenario())

    assert happened == ["reported", "exited"]
