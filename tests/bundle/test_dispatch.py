"""The ASGI front door: who gets a request, what stands before it, and how much body it may have."""

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jubako.bundle.dispatch import BodyLimit, Dispatch, Surroundings, WithoutPrefix


class Recorder:
    """An app that answers 200 with its name, the path it was told, and the size of the body."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"{self.name} {scope['path']} {size}".encode()})


class CatchingAll:
    """An app that answers 500 to every exception of the one inside, as BentoML does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"caught"})


class Tagging:
    """A middleware that puts its tag before the body."""

    def __init__(self, app: ASGIApp, tag: str) -> None:
        self.app = app
        self.tag = tag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": self.tag.encode() + b">" + message["body"]}
            await send(message)

        await self.app(scope, receive, tagged)


def ask(
    app: ASGIApp,
    path: str = "/",
    *chunks: bytes,
    method: str = "POST",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[int, str]:
    """Return status and body of one request whose body comes in `chunks`."""
    sent: list[Message] = []
    coming = [
        {"type": "http.request", "body": chunk, "more_body": position < len(chunks) - 1}
        for position, chunk in enumerate(chunks or (b"",))
    ]

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
    scope["headers"] = list(headers)

    async def call() -> None:
        await app(scope, receive, send)

    asyncio.run(call())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/v2", "v2"),
        ("/v2/", "v2"),
        ("/v2/models/a/infer", "v2"),
        ("/v2x", "others"),
        ("/", "others"),
        ("/v1/v2/models", "others"),
        ("//v2", "others"),
    ],
)
def test_v2_and_below_is_ours_and_the_rest_is_bentomls(path: str, who: str) -> None:
    assert ask(Dispatch(Recorder("v2"), Recorder("others")), path)[1] == f"{who} {path} 0"


def test_under_a_prefix_v2_is_told_the_path_behind_it() -> None:
    app = Dispatch(WithoutPrefix(Recorder("v2"), "/team"), Recorder("others"), "/team")

    assert ask(app, "/team/v2/models")[1] == "v2 /v2/models 0"
    assert ask(app, "/v2/models")[1] == "others /v2/models 0"


def test_the_users_middlewares_stand_in_front_in_their_order() -> None:
    around = Surroundings(middlewares=[(Tagging, {"tag": "first"}), (Tagging, {"tag": "second"})])

    assert around.any
    assert str(around) == "Tagging, Tagging"
    assert ask(around.wrap(Recorder("v2")), "/v2")[1] == "first>second>v2 /v2 0"


@pytest.mark.parametrize(("origin", "wanted"), [(b"https://example.org", 200), (b"https://example.com", 400)])
def test_cors_settings_are_honoured(origin: bytes, wanted: int) -> None:
    around = Surroundings(cors={"allow_origins": ["https://example.org"]})
    preflight = ((b"origin", origin), (b"access-control-request-method", b"GET"))

    assert around.any
    assert ask(around.wrap(Recorder("v2")), "/v2", method="OPTIONS", headers=preflight)[0] == wanted


@pytest.mark.parametrize(("written", "prefix"), [("", ""), ("/", ""), ("team", "/team"), ("/team/a/", "/team/a")])
def test_a_prefix_is_understood_however_it_is_written(written: str, prefix: str) -> None:
    around = Surroundings(path_prefix=written)

    assert around.prefix == prefix
    assert around.any is bool(prefix)


def test_a_body_within_the_limit_passes() -> None:
    assert ask(BodyLimit(Recorder("api"), 10), "/infer", b"12345", b"67890") == (200, "api /infer 10")


@pytest.mark.parametrize("length", [b"11", b"-1", b"ten"])
def test_a_declared_length_over_the_limit_or_without_sense_is_refused_unread(length: bytes) -> None:
    code, body = ask(BodyLimit(Recorder("api"), 10), "/infer", b"", headers=((b"content-length", length),))

    assert code == 413
    assert "http_max_input_size" in body


def test_a_body_that_grows_over_the_limit_is_refused_even_where_the_app_catches_everything() -> None:
    app = BodyLimit(CatchingAll(Recorder("api")), 10)

    assert ask(app, "/infer", b"123456", b"123456")[0] == 413


def test_a_body_that_grows_over_the_limit_is_refused() -> None:
    assert ask(BodyLimit(Recorder("api"), 10), "/infer", b"123456", b"123456")[0] == 413
