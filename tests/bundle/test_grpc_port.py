"""gRPC's port in the life of a worker."""

import asyncio
import logging

import pytest

from jubako.bundle.grpc_port import GrpcPort
from jubako.errors import InvalidArgument, JubakoError
from jubako.protocols.grpc.options import GrpcOptions

AT_LOOPBACK = GrpcOptions("127.0.0.1", 8001)


class FakeServer:
    """A server that is drained at once, or not within its time."""

    def __init__(self, happened: list[str], drains: bool = True) -> None:
        self._happened = happened
        self._drains = drains

    def stop_accepting(self) -> None:
        self._happened.append("refuses")

    async def drain(self, timeout_s: float) -> bool:
        self._happened.append("drained")
        return self._drains


class FakeFront:
    """A gRPC server whose calls last longer than the grace if it `hangs`."""

    def __init__(self, happened: list[str], wrong: JubakoError | None = None, hangs: bool = False) -> None:
        self._happened = happened
        self._wrong = wrong
        self._hangs = hangs

    async def start(self) -> None:
        if self._wrong is not None:
            raise self._wrong
        self._happened.append("listens")

    async def stop(self, grace_s: float) -> None:
        if self._hangs:
            await asyncio.sleep(grace_s)
        self._happened.append("closed")


def test_its_calls_end_once_the_server_is_drained_and_it_is_closed_once() -> None:
    async def scenario() -> list[str]:
        happened: list[str] = []
        port = GrpcPort(FakeServer(happened), AT_LOOPBACK, FakeFront(happened))
        assert await port.open() is None
        assert port.at == "127.0.0.1:8001"
        port.stop_accepting()
        assert await port.drain(5)
        assert await port.close()
        return happened

    assert asyncio.run(scenario()) == ["listens", "refuses", "drained", "closed"]


@pytest.mark.parametrize(("drains", "hangs"), [(False, False), (True, True)])
def test_requests_or_calls_that_outlast_the_time_are_told(drains: bool, hangs: bool) -> None:
    async def scenario() -> bool:
        happened: list[str] = []
        port = GrpcPort(FakeServer(happened, drains), AT_LOOPBACK, FakeFront(happened, hangs=hangs))
        await port.open()
        return await port.drain(0.01)

    assert not asyncio.run(scenario())


@pytest.mark.parametrize("required", [True, False])
def test_where_nobody_can_listen_the_start_fails_only_if_grpc_was_asked_for(
    required: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> tuple[str | None, str, list[str]]:
        happened: list[str] = []
        front = FakeFront(happened, wrong=InvalidArgument("no such address"))
        port = GrpcPort(FakeServer(happened), AT_LOOPBACK, front, required=required)
        why = await port.open()
        assert await port.close()
        return why, port.at, happened

    with caplog.at_level(logging.ERROR):
        why, at, happened = asyncio.run(scenario())

    reason = "failed to start GRPC service: Invalid argument - no such address"
    assert why == (reason if required else None)
    assert (at, happened) == ("", [])
    assert reason in caplog.text
    assert ("going on without gRPC" in caplog.text) is not required


def test_without_grpc_there_is_only_the_server() -> None:
    async def scenario() -> list[str]:
        happened: list[str] = []
        port = GrpcPort(FakeServer(happened), None, None, required=True)
        assert await port.open() is None
        assert await port.drain(5)
        return happened

    assert asyncio.run(scenario()) == ["drained"]
