"""One request over ASGI: its body read within bounds, its answer sent. Knows no route."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from jubako.protocols.rest.bodies import Message, Receive, read_body
from jubako.protocols.rest.gate import Headers
from jubako.protocols.rest.json_text import dump
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import Body
from jubako.protocols.rest.status import error_body

Scope = Mapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Extra = Sequence[tuple[bytes, bytes]]

JSON: Final = b"application/json"
EVENTS: Final = b"text/event-stream; charset=utf-8"
BINARY: Final = b"application/octet-stream"
TEXT: Final = b"text/plain"
PIECE: Final = 1 << 20
"""A long answer is handed to the socket in pieces, so that a slow reader holds one of them and not all."""


class Call:
    """A request that has come, and the answer to it."""

    def __init__(self, limits: Limits, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: Headers = scope["headers"]
        self._limits = limits
        self._receive = receive
        self._send = send
        self._started = False

    def header(self, wanted: bytes) -> bytes | None:
        """Return the first header of that name, as Triton does."""
        return next((value for name, value in self.headers if name == wanted), None)

    async def left(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def body(self, most: int) -> Body:
        """Return the whole body.

        Raises:
            Refused: it is larger than `most` bytes, or comes too slowly.
            Disconnected: the client left.
        """
        return await read_body(self._receive, self.header(b"content-length"), most, self._limits)

    async def document(self, document: Any) -> None:
        """Answer with a JSON document."""
        await self.respond(200, JSON, dump(document))

    async def refuse(self, status: int, message: str, extra: Extra = (), *, close: bool = False) -> None:
        """Answer with an error, unless an answer has begun."""
        if not self._started:
            extra = [*extra, (b"connection", b"close")] if close else extra
            await self.respond(status, JSON, error_body(message), extra=extra)

    async def begin(self, status: int, content_type: bytes) -> None:
        """Start an answer whose length nobody knows yet: it is sent in chunks."""
        self._started = True
        headers = [(b"content-type", content_type)]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def part(self, data: bytes, *, more: bool) -> None:
        """Send a piece of an answer that was begun; the last one has no `more`."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def respond(self, status: int, content_type: bytes, *body: bytes | memoryview, extra: Extra = ()) -> None:
        """Send a whole answer."""
        size = sum(map(len, body))
        headers = [(b"content-type", content_type), *extra, (b"content-length", b"%d" % size)]
        self._started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in _pieces(body, size):
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _pieces(parts: Sequence[bytes | memoryview], size: int) -> Iterator[bytes]:
    """Cut an answer into what is sent at once: the whole of a short one."""
    if size <= PIECE:
        yield b"".join(parts)
        return
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), PIECE):
            yield bytes(view[start : start + PIECE])
