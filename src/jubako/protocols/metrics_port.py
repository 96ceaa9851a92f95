"""Triton's metrics service: the page on a port of its own, in the service's loop (observability.md section 1)."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jubako.errors import InvalidArgument, Unavailable
from jubako.metrics.page import CONTENT_TYPE
from jubako.protocols.access import Group
from jubako.protocols.rest.gate import Gate, allow_all
from jubako.protocols.rest.status import error_body

log = logging.getLogger("jubako.metrics")

PATHS: Final = frozenset({"/metrics", "/metrics/"})
MOST_REQUESTS: Final = 32
"""Connections at a time: whoever scrapes needs one."""


def metrics_app(text: Callable[[], Awaitable[str]], gate: Gate = allow_all) -> ASGIApp:
    """Return an app that answers as Triton's: any other path is 200 and empty, any other method 405.

    Unlike Triton's it asks for the key of the statistics, where they have one.
    """

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if (refused := gate.check(Group.STATISTICS, scope["headers"])) is not None:
            await _answer(send, refused.status, "application/json", error_body(str(refused)))
        elif scope["method"] != "GET":
            await _answer(send, 405, "application/json", error_body("Method Not Allowed"), (b"allow", b"GET"))
        elif scope["path"] in PATHS:
            await _answer(send, 200, CONTENT_TYPE, (await text()).encode())
        else:
            await _answer(send, 200, CONTENT_TYPE, b"")

    return app


async def _answer(send: Send, status: int, content_type: str, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    """A server whose process belongs to another one: that one has the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class MetricsPort:
    """A port that is served from `open` to `close`."""

    def __init__(self, listener: socket.socket, app: ASGIApp, protocol: type[HttpToolsProtocol]) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            limit_concurrency=MOST_REQUESTS,
            timeout_graceful_shutdown=1,
        )
        self._listener = listener
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        address: str,
        port: int,
        text: Callable[[], Awaitable[str]],
        protocol: type[HttpToolsProtocol] = HttpToolsProtocol,
        gate: Gate = allow_all,
    ) -> "MetricsPort":
        """Listen there and serve the page that `text` returns; `protocol` has uvicorn's HTTP, and bounds on it.

        Raises:
            Unavailable, InvalidArgument: nobody can listen there; Triton's words.
        """
        opened = cls(_listen(address, port), metrics_app(text, gate), protocol)
        opened._serving = asyncio.create_task(opened._server.serve(sockets=[opened._listener]))
        log.info("Started Metrics Service at %s:%d", address, opened.port)
        return opened

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return int(self._listener.getsockname()[1])

    async def close(self) -> None:
        """Answer what has been asked, and listen no more."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)
        self._listener.close()


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"Socket '{address}:{port}' already in use ") from None
        raise InvalidArgument(f"cannot listen at '{address}:{port}': {error}") from None
