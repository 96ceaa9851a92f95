"""Any request at all, to the ASGI app."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fakes import identity, simple, write_models
from hypothesis import example, given

from jubako.protocols.rest.app import RestApp
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.parts import Parts
from jubako.server import InferenceServer

from .budget import PATIENCE_S, explore
from .requests import Request, requests
from .verdict import check

LIMITS = Limits(max_input_size=1 << 20, max_body_size=1 << 21)
MANY_DIGITS = b'{"inputs":[{"name":"INPUT0","shape":[1],"datatype":"FP32","data":[1%b]}]}' % (b"0" * 400)
LIVE = Request("GET", "/v2/health/ready", (), b"")
MODELS = {
    "simple": simple(),
    "fp32": identity("FP32"),
    "int8": identity("INT8"),
    "strings": identity("STRING"),
    "matrix": identity("FP64", dims="[ -1, -1 ]"),
}


async def answer(app: RestApp, request: Request) -> tuple[int, bytes]:
    """Return the status and the body."""
    left = asyncio.Event()
    pieces = [request.body[: len(request.body) // 2], request.body[len(request.body) // 2 :]]
    messages: list[Any] = []

    async def receive() -> Any:
        if pieces:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    headers.append((b"content-length", b"%d" % len(request.body)))
    scope = {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "raw_path": request.path.encode(),
        "headers": headers,
    }
    async with asyncio.timeout(PATIENCE_S):
        await app(scope, receive, send)
    start, *rest = messages
    assert start["type"] == "http.response.start"
    assert rest[-1]["more_body"] is False
    body = b"".join(message["body"] for message in rest)
    announced = dict(start["headers"]).get(b"content-length")
    assert announced is None or int(announced) == len(body)
    return start["status"], body


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[asyncio.Runner, RestApp]]:
    """Run a server in a loop that stands still between the requests."""
    with asyncio.Runner() as runner:

        async def start() -> InferenceServer:
            server = InferenceServer()
            await server.load(write_models(folder, MODELS))
            return server

        server = runner.run(start())
        try:
            yield runner, RestApp(Parts(server, LIMITS))
        finally:
            runner.run(server.close())


def test_any_request_is_answered_or_refused(tmp_path: Path) -> None:
    with started(tmp_path) as (runner, app):

        @given(requests())
        @example(Request("POST", "/v2/models/fp32/generate", (), b'{"INPUT0":1%b}' % (b"0" * 400)))
        @example(Request("POST", "/v2/models/fp32/infer", (), MANY_DIGITS))
        @example(Request("POST", "/v2/models/int8/infer", (), MANY_DIGITS.replace(b"FP32", b"INT8")))
        def is_answered(request: Request) -> None:
            status, body = runner.run(answer(app, request))
            check(status, body.removeprefix(b"data: "))

        explore(is_answered, examples=200, share=0.25)
        assert runner.run(answer(app, LIVE)) == (200, b"")
