"""One inference in the fast lane, from its body to its answer's bytes on the socket."""

import logging
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from jubako.errors import Internal, JubakoError
from jubako.protocols.rest.decode import decode, header_length
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import ReplyPlan
from jubako.protocols.rest.route import Verb
from jubako.protocols.rest.status import error_body, headers_of, status_of
from jubako.protocols.rest.traffic import Traffic
from jubako.protocols.shared_memory import Regions
from jubako.request import InferResponse, Ticket
from jubako.server import InferenceServer
from jubako.statistics import Refusal
from jubako.tensor import Array
from jubako.tracing.trace import Trace

log = logging.getLogger("jubako.rest")

OK: Final = b"HTTP/1.1 200 OK\r\n"
REASONS: Final = {
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}


class Shared(Protocol):
    """What a cycle needs of its lane."""

    server: InferenceServer
    limits: Limits
    regions: Regions
    traffic: Traffic

    def default_head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return uvicorn's own response headers as bytes."""


class Connection(Protocol):
    """What a cycle needs of its connection."""

    transport: Any
    server_state: Any

    @property
    def lane(self) -> Shared:
        """What all connections share."""

    def on_response_complete(self) -> None:
        """Let the connection's next request go."""


class FastCycle:
    """One inference in the fast lane: uvicorn's idea of a cycle, and the `Reply` of its request."""

    trace: Trace | None = None
    """Only a `TracedCycle` has one."""

    __slots__ = (
        "body",
        "disconnected",
        "header_length",
        "keep_alive",
        "message_event",
        "parts",
        "plan",
        "protocol",
        "received",
        "response_complete",
        "target",
        "ticket",
    )

    def __init__(
        self, protocol: "Connection", target: tuple[str, int], header_length: bytes | None, keep_alive: bool
    ) -> None:
        self.protocol = protocol
        self.target = target
        self.header_length = header_length
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False
        self.message_event = self
        self.ticket: Ticket | None = None
        self.plan: ReplyPlan | None = None
        self.body: bytes | bytearray = b""
        self.parts = 0
        self.received = 0

    def set(self) -> None:
        """Stand in for `message_event.set()`: uvicorn calls it when the connection is lost."""
        if self.disconnected and self.ticket is not None:
            self.ticket.cancel()

    def take(self, part: bytes, size: int) -> None:
        """Add a part of a body of `size` bytes; a body in one part is kept as it is."""
        if not self.parts and len(part) == size:
            self.body = part
        else:
            if not self.parts:
                self.body = bytearray(size)
            self.body[self.received : self.received + len(part)] = part  # type: ignore[index]
        self.parts += 1
        self.received += len(part)

    def start(self) -> None:
        """Decode the body and submit the request. Never raises."""
        lane = self.protocol.lane
        start_ns = time.monotonic_ns()
        try:
            runner = lane.server.runner(*self.target)
        except JubakoError as error:
            self.refuse(error)
            return
        try:
            length = header_length(self.header_length, len(self.body))
            request, self.plan = decode(self.body, length, runner, lane.limits, start_ns, lane.regions)
            request.trace = self.trace
            self.body = b""
        except JubakoError as error:
            runner.statistics.refused(Refusal.INVALID)
            self.refuse(error)
            return
        except Exception:
            log.exception("decoding a request for model '%s' broke", self.target[0])
            self.refuse(Internal("unexpected error while decoding the request"))
            return
        try:
            self.ticket = runner.submit(request, self)
        except JubakoError as error:
            self.refuse(error)

    def refuse(self, error: JubakoError) -> None:
        """Answer with `error`."""
        extra = b"".join([b"%b: %b\r\n" % header for header in headers_of(error)])
        self._write(status_of(error), b"application/json", extra, [error_body(str(error))])

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        """Write the answer. Never raises."""
        self.ticket = None
        plan, self.plan = self.plan, None  # it may hold a client's memory, and the cycle stays until the next request
        if self.disconnected or self.protocol.transport.is_closing():
            self.response_complete = True
            return
        if response.error is not None:
            self.refuse(response.error)
            return
        assert plan is not None
        repeated = plan.answers.get(response.signature) if self.keep_alive and not response.request.id else None
        if repeated is not None and not response.parameters:
            self._write_again(repeated, response.arrays)
            return
        try:
            answer = encode(response, plan)
        except JubakoError as error:
            self.refuse(error)
            return
        except Exception:
            named = {"request_id": response.request.id} if response.request.id else None
            log.exception("encoding an answer of model '%s' broke", self.target[0], extra=named)
            self.refuse(Internal("unexpected error while encoding the response"))
            return
        if answer.binary:
            extra = b"Inference-Header-Content-Length: %d\r\n" % len(answer.json)
            head = self._write(200, b"application/octet-stream", extra, [answer.json, *answer.tensors], answer.size)
            # An answer whose head the encoder remembers differs from the next one like it in its tensors' bytes alone.
            if response.signature in plan.heads and not plan.shared and not response.request.id:
                plan.answers[response.signature] = head + answer.json
        else:
            self._write(200, b"application/json", b"", [answer.json])

    def _write_again(self, head: bytes, arrays: Sequence[Array]) -> None:
        """Write an answer that differs in its tensors alone from one that was written before."""
        protocol = self.protocol
        lane = protocol.lane
        lane.traffic.inferred += 1
        default_head = lane.default_head(protocol.server_state.default_headers)
        pieces: list[Any] = [OK, default_head, head, *arrays]
        protocol.transport.write(b"".join(pieces))
        self.response_complete = True
        protocol.on_response_complete()

    def _write(self, status: int, content_type: bytes, extra: bytes, body: list[Any], size: int | None = None) -> bytes:
        """Write an answer; return its head, less the status line and uvicorn's own headers."""
        protocol = self.protocol
        lane = protocol.lane
        if status == 200:
            lane.traffic.inferred += 1
        else:
            lane.traffic.count(Verb.INFER, status)
        head = b"Content-Type: %b\r\n%bContent-Length: %d\r\n%b\r\n" % (
            content_type,
            extra,
            len(body[0]) if size is None else size,
            b"" if self.keep_alive else b"connection: close\r\n",
        )
        line = OK if status == 200 else b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b""))
        default_head = lane.default_head(protocol.server_state.default_headers)
        protocol.transport.write(b"".join((line, default_head, head, *body)))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
        return head


class TracedCycle(FastCycle):
    """One inference that is traced; the others pay nothing for it."""

    __slots__ = ("_noted",)

    def __init__(
        self,
        protocol: "Connection",
        target: tuple[str, int],
        header_length: bytes | None,
        keep_alive: bool,
        trace: Trace,
    ) -> None:
        super().__init__(protocol, target, header_length, keep_alive)
        self._noted = trace

    @property
    def trace(self) -> Trace:  # type: ignore[override]
        """What records it."""
        return self._noted

    def set(self) -> None:
        """End the trace too, of a request whose client left before it was whole."""
        super().set()
        if self.disconnected and self.ticket is None:
            self.trace.end()

    def refuse(self, error: JubakoError) -> None:
        """Answer with `error`, and note it."""
        self.trace.failed(error)
        super().refuse(error)

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        """Note the answer and write it."""
        self.trace.answered(response)
        super().__call__(response, final)
        if final:
            self.trace.end()

    def _write_again(self, head: bytes, arrays: Sequence[Array]) -> None:
        self.trace.sending()
        super()._write_again(head, arrays)
        self.trace.end()

    def _write(self, status: int, content_type: bytes, extra: bytes, body: list[Any], size: int | None = None) -> bytes:
        self.trace.sending()
        head = super()._write(status, content_type, extra, body, size)
        self.trace.end()
        return head
