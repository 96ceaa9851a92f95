"""The second lane: everything under `/v2` as a plain ASGI app, inference among it where the fast lane does not take it.

Answers are Triton's (http.md), but for these, on purpose:

- `/v2/health/ready` is 503 while the server is not ready (Triton: 400), which is what load balancers and Kubernetes
  read as "not yet". It is so while models load, while the server stops, and with strict readiness while a version is
  not ready. `/v2/health/live` stays 200 until the process ends.
- Error bodies always say `application/json`; Triton calls some of them text.
- A body larger than the limit is 413, one that comes too slowly 408; Triton bounds neither.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import numpy as np

from jubako.config.parse import to_json
from jubako.errors import InvalidArgument, JubakoError, Unavailable, Unsupported
from jubako.protocols.rest import documents, generate, shared_memory
from jubako.protocols.rest.answers import answers
from jubako.protocols.rest.bodies import Disconnected, Message, Receive
from jubako.protocols.rest.call import BINARY, EVENTS, JSON, TEXT, Call, Scope, Send
from jubako.protocols.rest.compression import Coding, coding_for_answer, coding_of_request, deflate, inflate
from jubako.protocols.rest.decode import decode, header_length
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.gate import Headers
from jubako.protocols.rest.json_text import parse
from jubako.protocols.rest.parent import callers_trace
from jubako.protocols.rest.parts import Parts
from jubako.protocols.rest.plan import Encoded
from jubako.protocols.rest.route import Route, Verb, match
from jubako.protocols.rest.settings import change_logs, trace_texts
from jubako.protocols.rest.status import Refused, error_body, headers_of, status_of
from jubako.protocols.shared_memory import Kind
from jubako.request import InferRequest, InferResponse
from jubako.server import parse_version
from jubako.statistics import Refusal
from jubako.tracing.trace import Front, Trace

log = logging.getLogger("jubako.rest")


class RestApp:
    """`/v2` as an ASGI app, over `server`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Nothing is raised but what ends the task."""
        if scope["type"] != "http":
            return
        route = match(_path(scope))
        send = self._counted(route, send)
        call = _Verbs(self._parts, scope, receive, send)
        try:
            await call.answer(self._checked(route, scope))
        except Disconnected:
            return
        except Refused as refused:
            await call.refuse(refused.status, str(refused), refused.headers, close=refused.close)
        except JubakoError as error:
            await call.refuse(status_of(error), str(error), headers_of(error))
        except Exception as error:
            log.error(
                "%s %a broke: %a\n%s",
                scope["method"],
                scope["path"],
                error,
                "".join(traceback.format_tb(error.__traceback__)),
            )
            await call.refuse(500, "unexpected error while answering the request")

    def _counted(self, route: Route | None, send: Send) -> Send:
        """Return `send`, such that it counts the answer."""
        verb = None if route is None else route.verb

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._parts.traffic.count(verb, message["status"])
            await send(message)

        return counted

    def _checked(self, route: Route | None, scope: Scope) -> Route:
        """Return the route, once path, access and method, in this order, are found right."""
        if route is None:
            raise Refused(404, "Not Found")
        if (refused := self._parts.gate.check(route.group, scope["headers"])) is not None:
            raise refused
        if scope["method"] not in route.methods:
            allowed = ", ".join(sorted(route.methods)).encode()
            raise Refused(405, "Method Not Allowed", headers=[(b"allow", allowed)])
        return route


def _path(scope: Scope) -> str:
    """Return the path as it came, still percent-encoded, without what stands before this app."""
    raw: bytes | None = scope.get("raw_path")
    path = scope["path"] if raw is None else raw.partition(b"?")[0].decode("utf-8", "replace")
    return str(path).removeprefix(scope.get("root_path", ""))


class _Verbs(Call):
    """One request being answered: what each route does."""

    def __init__(self, parts: Parts, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(parts.limits, scope, receive, send)
        self._server = parts.server
        self._regions = parts.regions
        self._forwarding = parts.forwarding
        self._settings = parts.settings
        self._trace: Trace | None = None

    async def answer(self, route: Route) -> None:
        """Do what the route asks and answer it.

        Raises:
            JubakoError, Refused: the answer is an error.
            Disconnected: there is nobody to answer.
        """
        server = self._server
        match route.verb:
            case Verb.INFER | Verb.GENERATE | Verb.GENERATE_STREAM if self._settings.sampler.active:
                await self._traced(route)
            case Verb.INFER | Verb.GENERATE | Verb.GENERATE_STREAM:
                await self._infer_by(route)
            case Verb.LIVE:
                await self.respond(200 if server.live else 503, TEXT, b"")
            case Verb.READY:
                await self.respond(200 if server.ready else 503, TEXT, b"")
            case Verb.MODEL_READY:
                ready = server.model_ready(route.model, parse_version(route.version))
                await self.respond(200 if ready else 400, TEXT, b"" if ready else error_body("Model version not ready"))
            case Verb.SERVER_METADATA:
                await self.document(documents.server_metadata(*server.metadata()))
            case Verb.MODEL_METADATA:
                metadata = server.model_metadata(route.model, parse_version(route.version))
                await self.document(documents.model_metadata(metadata))
            case Verb.MODEL_CONFIG:
                await self.document(to_json(server.model_config(route.model, parse_version(route.version))))
            case Verb.STATISTICS:
                counted = server.statistics(route.model, parse_version(route.version))
                await self.document(documents.statistics(counted))
            case Verb.INDEX:
                await self.document(documents.index(server.index(await self._ready_only())))
            case Verb.LOAD | Verb.UNLOAD:
                await self._control(route)
            case Verb.SYSTEM_STATUS | Verb.CUDA_STATUS:
                found = self._regions.status(_kind(route.verb), route.region)
                await self.document(shared_memory.status(found))
            case Verb.SYSTEM_REGISTER | Verb.CUDA_REGISTER:
                body = await self.body(self._limits.max_input_size)
                await shared_memory.register(self._regions, _kind(route.verb), route.region, body)
                await self.respond(200, JSON, b"")
            case Verb.SYSTEM_UNREGISTER | Verb.CUDA_UNREGISTER:
                self._regions.unregister(_kind(route.verb), route.region)
                await self.respond(200, JSON, b"")
            case Verb.TRACE_SETTING:
                await self._trace_setting(route.model)
            case Verb.LOGGING:
                change_logs(self._settings.logs, await self._json())
                await self.document(self._settings.logs.document())

    # --- the control plane ----------------------------------------------------------------------------------------

    async def _ready_only(self) -> bool:
        """Return what an index request asks for; a body that is no object asks for nothing."""
        document = await self._json()
        ready = document.get("ready", False) if isinstance(document, dict) else False
        if not isinstance(ready, bool):
            raise InvalidArgument("Invalid value for 'ready': expected a boolean")
        return ready

    async def _control(self, route: Route) -> None:
        if route.repository:
            raise Unsupported("'repository_name' specification is not supported")
        if route.verb is Verb.LOAD:
            await self._json()
        raise Unavailable("explicit model load / unload is not allowed if polling is enabled")

    async def _trace_setting(self, model: str) -> None:
        tracing = self._settings.tracing
        tracing.check_model(model)
        tracing.update(model, trace_texts(await self._json()))
        await self.document(tracing.document(model))

    async def _json(self) -> Any:
        """Return the body's document; None for an empty body."""
        body = await self.body(self._limits.max_input_size)
        return parse(body) if body else None

    # --- the data plane -------------------------------------------------------------------------------------------

    async def _infer_by(self, route: Route) -> None:
        match route.verb:
            case Verb.GENERATE:
                await self._generate(route)
            case Verb.GENERATE_STREAM:
                await self._generate_stream(route)
            case _:
                await self._infer(route)

    async def _traced(self, route: Route) -> None:
        """Infer, with a trace if it is this request's turn to have one."""
        sampler = self._settings.sampler
        self._trace = sampler.begin(route.model, Front.HTTP, time.monotonic_ns(), *callers_trace(self.headers))
        if self._trace is None:
            await self._infer_by(route)
            return
        try:
            await self._infer_by(route)
        except BaseException as error:
            self._trace.failed(error)
            raise
        finally:
            self._trace.end()

    async def _infer(self, route: Route) -> None:
        runner = self._server.runner(route.model, parse_version(route.version))  # 404 before anything is read
        coding = coding_of_request(self.header(b"content-encoding"))
        body = await self.body(self._limits.max_body_size)
        start_ns = time.monotonic_ns()
        if coding is not Coding.IDENTITY:
            body = await inflate(body, self._limits.max_input_size)
        try:
            length = header_length(self.header(b"inference-header-content-length"), len(body))
            request, plan = decode(body, length, runner, self._limits, start_ns, self._regions)
            if self._forwarding:
                self._forwarding.forward(request, _as_text(self.headers))
        except JubakoError:
            runner.statistics.refused(Refusal.INVALID)
            raise
        del body
        request.trace = self._trace
        response = await self._outcome(request)
        self._heard(response)
        if response.error is not None:
            raise response.error
        await self._encoded(encode(response, plan))

    async def _outcome(self, request: InferRequest) -> InferResponse:
        """Submit `request` and return its answer; it is cancelled if the client, or this task, leaves first.

        Raises:
            Disconnected: the client left.
        """
        answer: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()

        def take(response: InferResponse, final: bool, /) -> None:
            if final and not answer.done():
                answer.set_result(response)

        ticket = self._server.submit(request, take)
        if answer.done():
            return answer.result()
        leaving = asyncio.ensure_future(self.left())
        try:
            await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Disconnected
            return answer.result()
        finally:
            leaving.cancel()
            if ticket is not None:
                ticket.cancel()  # nothing, once answered

    async def _generate(self, route: Route) -> None:
        status, body, count = 200, b"", 0
        async with aclosing(answers(self._server, await self._generation(route), self.left)) as came:
            async for response in came:
                self._heard(response)
                if not count:
                    status, body = generate.said(response)
                count += 1
        await self.begin(status, JSON)
        await self.part(body if count == 1 else error_body(generate.NOT_ONE), more=False)

    async def _generate_stream(self, route: Route) -> None:
        """Send each answer as an event; the status is the first one's."""
        async with aclosing(answers(self._server, await self._generation(route), self.left)) as came:
            async for response in came:
                self._heard(response)
                status, body = generate.said(response)
                if not self._started:
                    await self.begin(status, EVENTS)
                await self.part(generate.event(body), more=True)
        if not self._started:
            await self.begin(200, EVENTS)
        await self.part(b"", more=False)

    async def _generation(self, route: Route) -> InferRequest:
        """Return the request that the body of a `generate` is."""
        runner = self._server.runner(route.model, parse_version(route.version))
        if self.header(b"content-encoding") not in (None, b"identity"):
            raise InvalidArgument("Unsupported content-encoding, only 'identity' is supported.")
        body = await self.body(self._limits.max_input_size)
        try:
            request = generate.decode(body, runner, self._limits, time.monotonic_ns())
        except JubakoError:
            runner.statistics.refused(Refusal.INVALID)
            raise
        request.trace = self._trace
        return request

    def _heard(self, response: InferResponse) -> None:
        """Note an answer, and that it goes to the client now."""
        if self._trace is not None:
            self._trace.answered(response)
            self._trace.sending()

    async def _encoded(self, answer: Encoded) -> None:
        extra = [(b"inference-header-content-length", b"%d" % len(answer.json))] if answer.binary else []
        content_type = BINARY if answer.binary else JSON
        parts = [memoryview(answer.json), *map(_flat, answer.tensors)]
        coding = coding_for_answer(self.header(b"accept-encoding"))
        if coding is not Coding.IDENTITY:
            extra.append((b"content-encoding", coding.token.encode()))
            parts = [memoryview(await deflate(parts, coding))]
        await self.respond(200, content_type, *parts, extra=extra)


def _as_text(headers: Headers) -> Iterator[tuple[str, str]]:
    """Yield headers as text; HTTP leaves open what bytes beyond ASCII mean, most who send some mean UTF-8."""
    for name, value in headers:
        yield name.decode("latin-1"), value.decode("utf-8", "replace")


def _kind(verb: Verb) -> Kind:
    cuda = (Verb.CUDA_STATUS, Verb.CUDA_REGISTER, Verb.CUDA_UNREGISTER)
    return Kind.CUDA if verb in cuda else Kind.SYSTEM


def _flat(tensor: Any) -> memoryview:
    """Return a tensor's bytes, not copied."""
    flat: Any = tensor.reshape(-1).view(np.uint8) if isinstance(tensor, np.ndarray) else tensor
    return memoryview(flat)
