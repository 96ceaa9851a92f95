"""The ASGI side of the front door: `/v2` to our own app, everything else to BentoML's.

BentoML's middlewares stand in front of its own app only: its concurrency limit would answer health checks with 429, and
its timeout would let the work run on. What the user of the service put in front of it (a middleware with their access
rules, CORS, a prefix) stands in front of `/v2` too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOO_LARGE = b'{"error":"request body is larger than the limit (http_max_input_size)"}'


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the user of the service put around it."""

    middlewares: Sequence[tuple[type[Any], dict[str, Any]]] = ()
    cors: dict[str, Any] | None = None
    path_prefix: str = ""

    @property
    def any(self) -> bool:
        """Requests have to pass something before they come to us: they cannot take the fast lane."""
        return bool(self.middlewares or self.cors or self.prefix)

    @property
    def prefix(self) -> str:
        """The prefix with a slash before it and none behind; empty if there is none."""
        stripped = self.path_prefix.strip("/")
        return f"/{stripped}" if stripped else ""

    def __str__(self) -> str:
        named = [middleware.__name__ for middleware, _ in self.middlewares]
        named += ["CORS"] if self.cors is not None else []
        named += [f"path prefix {self.prefix}"] if self.prefix else []
        return ", ".join(named)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return `app` behind the middlewares, in the order in which BentoML has them."""
        if self.cors is not None:
            from starlette.middleware.cors import CORSMiddleware

            app = CORSMiddleware(app, **self.cors)
        for middleware, options in reversed(self.middlewares):
            app = middleware(app, **options)
        return app


class Dispatch:
    """`/v2` and below to one app; the rest, lifespan among it, to the other."""

    def __init__(self, v2: ASGIApp, others: ASGIApp, prefix: str = "") -> None:
        self._v2 = v2
        self._others = others
        self._prefix = prefix
        self._root = f"{prefix}/v2"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        path = scope.get("path", "")
        if scope["type"] == "http" and (path == self._root or path.startswith(self._root + "/")):
            await self._v2(scope, receive, send)
        else:
            await self._others(scope, receive, send)


class WithoutPrefix:
    """An app that is told the path behind `prefix`."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        raw = scope.get("raw_path")
        inner = {**scope, "path": scope["path"].removeprefix(self._prefix)}
        if raw is not None:
            inner["raw_path"] = raw.removeprefix(self._prefix.encode())
        await self._app(inner, receive, send)


class BodyTooLarge(Exception):
    """The body passed the limit while it was read."""


class BodyLimit:
    """An app whose request bodies are bounded; BentoML bounds none."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, answering 413 where the body is, or becomes, too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > self._max_bytes:
            await _refuse(send)
            return
        received = 0
        started = False
        refused = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise BodyTooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started, refused
            if received > self._max_bytes and not started:
                if not refused:  # BentoML catches every exception and answers 500: this is the answer instead
                    refused = True
                    await _refuse(send)
                return
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except BodyTooLarge:
            if started:
                raise
            if not refused:
                await _refuse(send)


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(TOO_LARGE)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": TOO_LARGE})
