"""The port of the metrics, asked over a socket."""

import asyncio
import http.client

import pytest

from jubako.errors import InvalidArgument, Unavailable
from jubako.protocols.metrics_port import MetricsPort

from .scene import in_loop

PAGE = "# HELP f ü\n# TYPE f gauge\nf 1\n"


async def text() -> str:
    return PAGE


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str | None, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics?x=1"])
@in_loop
async def test_the_page_is_at_metrics(path: str) -> None:
    port = await MetricsPort.open("127.0.0.1", 0, text)

    answer = await asyncio.to_thread(ask, port.port, path)
    await port.close()

    assert answer == (200, "text/plain; charset=utf-8", PAGE)


@pytest.mark.parametrize("path", ["/", "/v2/health/live", "/metrics/more"])
@in_loop
async def test_any_other_path_is_empty(path: str) -> None:
    port = await MetricsPort.open("127.0.0.1", 0, text)

    answer = await asyncio.to_thread(ask, port.port, path)
    await port.close()

    assert answer == (200, "text/plain; charset=utf-8", "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
@in_loop
async def test_any_other_method_is_not_allowed(method: str) -> None:
    port = await MetricsPort.open("127.0.0.1", 0, text)

    status, _, body = await asyncio.to_thread(ask, port.port, "/metrics", method, b"x" * 100_000)
    await port.close()

    assert status == 405
    assert body == ("" if method == "HEAD" else '{"error":"Method Not Allowed"}')


@in_loop
async def test_after_the_end_nobody_listens() -> None:
    port = await MetricsPort.open("127.0.0.1", 0, text)
    number = port.port

    await port.close()

    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(ask, number, "/metrics")


@in_loop
async def test_a_port_that_is_taken_is_refused_in_triton_s_words() -> None:
    first = await MetricsPort.open("127.0.0.1", 0, text)

    with pytest.raises(Unavailable, match=f"^Socket '127.0.0.1:{first.port}' already in use $"):
        await MetricsPort.open("127.0.0.1", first.port, text)
    await first.close()


@in_loop
async def test_an_address_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"cannot listen at '192\.0\.2\.1:0'"):
        await MetricsPort.open("192.0.2.1", 0, text)
