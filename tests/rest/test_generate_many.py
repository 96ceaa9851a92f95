"""Generation from models that answer as often as they like."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import identity, write_models

from jubako.errors import Cancelled, InvalidArgument, JubakoError, NotFound
from jubako.protocols.rest.app import RestApp
from jubako.protocols.rest.generate import NOT_ONE
from jubako.protocols.rest.parts import Parts
from jubako.request import InferRequest, InferResponse, Reply, ResponseSignature, TensorSpec, Ticket
from jubako.server import InferenceServer
from jubako.tensor import Datatype

Said = int | JubakoError | None
"""An answer with this number, with this error, or with nothing but its flag."""
END = None


@dataclass
class Conversation(Ticket):
    """A request that is being answered, word by word."""

    request: InferRequest
    reply: Reply
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, what: Said, final: bool = False) -> None:
        self.reply(self._response(what), final)

    def _response(self, what: Said) -> InferResponse:
        if isinstance(what, JubakoError):
            return InferResponse(self.request, error=what)
        if what is None:
            return InferResponse(self.request)
        signature = ResponseSignature("talk", 1, (TensorSpec("WORD", Datatype.INT32, (1,)),))
        parameters = {"last": True} if what == 9 else None
        return InferResponse(self.request, signature, [np.array([what], np.int32)], parameters=parameters)

    def cancel(self) -> None:
        self.cancelled.set()


class Talkative(InferenceServer):
    """A server whose model says `script`, and lets the test say the rest where that has no end."""

    def __init__(self, script: Sequence[Said], *, ends: bool = True) -> None:
        super().__init__()
        self.script = script
        self.ends = ends
        self.begun: asyncio.Future[Conversation] = asyncio.get_running_loop().create_future()

    def submit(self, request: InferRequest, reply: Reply) -> Ticket | None:
        conversation = Conversation(request, reply)
        self.begun.set_result(conversation)
        for position, what in enumerate(self.script, 1):
            last = self.ends and position == len(self.script)
            asyncio.get_running_loop().call_soon(conversation.say, what, last)
        return conversation


Message = MutableMapping[str, Any]


@dataclass
class Client:
    """A client of an ASGI app: it sends one body, takes what comes, and leaves when it is told to."""

    body: bytes
    sent: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    status: int = 0
    content_type: bytes = b""

    async def receive(self) -> Message:
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": self.body}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.content_type = dict(message["headers"])[b"content-type"]
        else:
            self.came.put_nowait(message)

    async def next(self) -> bytes:
        return bytes((await self.came.get())["body"])

    def all(self) -> bytes:
        parts = [self.came.get_nowait() for _ in range(self.came.qsize())]
        assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]
        return b"".join(part["body"] for part in parts)


def scope(path: str) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": []}


def within(
    folder: Path, script: Sequence[Said], use: Callable[[Talkative, RestApp], Awaitable[None]], *, ends: bool = True
) -> None:
    """Run `use` with a server that says `script`."""

    async def run() -> None:
        server = Talkative(script, ends=ends)
        async with server, asyncio.timeout(20):
            await server.load(write_models(folder, {"talk": identity("FP32")}))
            await use(server, RestApp(Parts(server)))

    asyncio.run(run())


def asked(folder: Path, verb: str, *script: Said) -> Client:
    """Return a client that has its whole answer."""
    clients = []

    async def use(_: Talkative, app: RestApp) -> None:
        client = Client(b'{"INPUT0":1,"id":"q"}')
        await app(scope(f"/v2/models/talk/{verb}"), client.receive, client.send)
        clients.append(client)

    within(folder, script, use)
    return clients[0]


def events(body: bytes) -> list[Any]:
    """Return what each event says: its word, or its error."""
    *parts, rest = body.split(b"\n\n")
    assert rest == b""
    documents = [json.loads(part.removeprefix(b"data: ")) for part in parts]
    return [document.get("WORD", document.get("error")) for document in documents]


@pytest.mark.parametrize(
    ("script", "status", "expected"),
    [
        ((1, 2, 3), 200, [1, 2, 3]),
        ((1, 2, 3, END), 200, [1, 2, 3]),
        ((END, 4), 200, [4]),
        ((END,), 200, []),
        ((1, InvalidArgument("no luck"), 3), 200, [1, "no luck", 3]),
        ((NotFound("no luck"), 2), 404, ["no luck", 2]),
    ],
)
def test_a_stream_has_an_event_for_each_answer_and_the_status_of_the_first(
    tmp_path: Path, script: Sequence[Said], status: int, expected: list[Any]
) -> None:
    client = asked(tmp_path, "generate_stream", *script)

    assert (client.status, client.content_type) == (status, b"text/event-stream; charset=utf-8")
    assert events(client.all()) == expected


@pytest.mark.parametrize(
    ("script", "status", "expected"),
    [
        ((7,), 200, {"WORD": 7, "id": "q", "model_name": "talk", "model_version": "1"}),
        ((9, END), 200, {"WORD": 9, "id": "q", "last": True, "model_name": "talk", "model_version": "1"}),
        ((InvalidArgument("no luck"), END), 400, {"error": "no luck"}),
        ((END,), 200, {"error": NOT_ONE}),
        ((1, 2), 200, {"error": NOT_ONE}),
        ((1, InvalidArgument("no luck")), 200, {"error": NOT_ONE}),
        ((InvalidArgument("no luck"), 2), 400, {"error": NOT_ONE}),
    ],
)
def test_generate_wants_exactly_one_answer(
    tmp_path: Path, script: Sequence[Said], status: int, expected: dict[str, Any]
) -> None:
    client = asked(tmp_path, "generate", *script)

    assert (client.status, client.content_type) == (status, b"application/json")
    assert json.loads(client.all()) == expected


def test_an_event_leaves_before_the_next_answer_comes(tmp_path: Path) -> None:
    async def use(server: Talkative, app: RestApp) -> None:
        client = Client(b'{"INPUT0":1}')
        task = asyncio.create_task(app(scope("/v2/models/talk/generate_stream"), client.receive, client.send))
        conversation = await server.begun

        for word in (1, 2, 3):
            conversation.say(word)
            assert events(await client.next()) == [word]
        conversation.say(END, True)
        await task
        assert client.all() == b""

    within(tmp_path, (), use, ends=False)


def test_a_client_that_leaves_a_stream_cancels_its_request(tmp_path: Path) -> None:
    async def use(server: Talkative, app: RestApp) -> None:
        client = Client(b'{"INPUT0":1}')
        task = asyncio.create_task(app(scope("/v2/models/talk/generate_stream"), client.receive, client.send))
        conversation = await server.begun
        assert events(await client.next()) == [1]
        assert not conversation.cancelled.is_set()

        client.gone.set()
        await task

        assert conversation.cancelled.is_set()
        conversation.say(Cancelled(""), True)  # as a runner does; nobody hears it

    within(tmp_path, (1,), use, ends=False)
