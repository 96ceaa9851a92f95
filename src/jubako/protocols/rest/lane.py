"""The fast lane: inference answered inside uvicorn's HTTP protocol, without an ASGI call.

A POST to `…/infer` with a Content-Length goes from the parser to the data plane, and its answer to the socket: no
task, no scope, no event. Everything else (other routes, chunked or compressed bodies, `Expect`, a request behind an
unfinished one) takes uvicorn's own way to the ASGI app, which gives the same bytes.

While a fast request is under way it stands in `self.cycle`, where uvicorn's own cycles stand, with the attributes
that uvicorn reads of them; so pipelining, draining at shutdown, keep-alive and disconnects are uvicorn's own code,
unchanged. What uvicorn does not bound (headers, slow senders, connections, unread answers) is bounded here, for both
lanes.
"""

import asyncio
import logging
import time
from typing import Any, ClassVar, Final

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jubako.errors import Internal, JubakoError
from jubako.protocols.rest.decode import decode, header_length
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.gate import Gate
from jubako.protocols.rest.internals import unknown_internals
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import ReplyPlan
from jubako.protocols.rest.route import Verb, infer_target
from jubako.protocols.rest.status import error_body, status_of
from jubako.protocols.rest.traffic import Traffic
from jubako.protocols.rest.watch import Watch
from jubako.protocols.shared_memory import NO_REGIONS, Regions
from jubako.request import InferResponse, Ticket
from jubako.server import InferenceServer, parse_version
from jubako.statistics import Refusal

log = logging.getLogger("jubako.rest")

REMEMBERED_URLS: Final = 4096
GATHERED: Final = 65536
"""Bodies beyond this are gathered in one buffer of their announced size; smaller ones mostly come in one piece."""

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

IDLE, HEAD, BODY = range(3)


class Lane:
    """What all connections of one service share."""

    def __init__(
        self,
        server: InferenceServer,
        limits: Limits,
        gate: Gate,
        *,
        fast: bool = True,
        traffic: Traffic | None = None,
        regions: Regions = NO_REGIONS,
    ) -> None:
        self.fast = fast
        self.traffic = traffic or Traffic()
        self.regions = regions
        self.server = server
        self.limits = limits
        self.gate = gate
        self.watch = Watch(limits)
        self._targets: dict[bytes, tuple[str, int] | JubakoError | None] = {}
        self._default_headers: object = None
        self._default_head = b""

    def target(self, url: bytes) -> "tuple[str, int] | JubakoError | None":
        """Return the model and version that `url` infers with; None when it is another route's."""
        try:
            return self._targets[url]
        except KeyError:
            pass
        if len(self._targets) >= REMEMBERED_URLS:
            self._targets.clear()
        target: tuple[str, int] | JubakoError | None = None
        if (found := infer_target(url.partition(b"?")[0])) is not None:
            try:
                target = found[0], parse_version(found[1])
            except JubakoError as error:
                target = error
        self._targets[url] = target
        return target

    def default_head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return uvicorn's own response headers as bytes; it makes a new list once a second."""
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_head = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._default_head


class FastCycle:
    """One inference in the fast lane: uvicorn's idea of a cycle, and the `Reply` of its request."""

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
        self, protocol: "InferProtocol", target: tuple[str, int], header_length: bytes | None, keep_alive: bool
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
            self.body = b""
        except JubakoError as error:
            runner.statistics.refused(Refusal.INVALID)
            self.refuse(error)
            return
        except Exception:
            log.exception("decoding a request for model '%s' broke", self.target[0])
            self.refuse(Internal("unexpected error while decoding the request"))
            return
        ticket = lane.server.submit(request, self)
        if not self.response_complete:
            self.ticket = ticket

    def refuse(self, error: JubakoError) -> None:
        """Answer with `error`."""
        self._write(status_of(error), b"application/json", b"", [error_body(str(error))])

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        """Write the answer. Never raises."""
        self.ticket = None
        if self.disconnected or self.protocol.transport.is_closing():
            self.response_complete = True
            return
        if response.error is not None:
            self.refuse(response.error)
            return
        assert self.plan is not None
        try:
            answer = encode(response, self.plan)
        except JubakoError as error:
            self.refuse(error)
            return
        except Exception:
            log.exception("encoding an answer of model '%s' broke", self.target[0])
            self.refuse(Internal("unexpected error while encoding the response"))
            return
        if answer.binary:
            extra = b"Inference-Header-Content-Length: %d\r\n" % len(answer.json)
            self._write(200, b"application/octet-stream", extra, [answer.json, *answer.tensors], answer.size)
        else:
            self._write(200, b"application/json", b"", [answer.json])

    def _write(self, status: int, content_type: bytes, extra: bytes, body: list[Any], size: int | None = None) -> None:
        protocol = self.protocol
        if status == 200:
            protocol.lane.traffic.inferred += 1
        else:
            protocol.lane.traffic.count(Verb.INFER, status)
        head = b"HTTP/1.1 %d %b\r\n%bContent-Type: %b\r\n%bContent-Length: %d\r\n%b\r\n" % (
            status,
            b"OK" if status == 200 else REASONS.get(status, b""),
            protocol.lane.default_head(protocol.server_state.default_headers),
            content_type,
            extra,
            len(body[0]) if size is None else size,
            b"" if self.keep_alive else b"connection: close\r\n",
        )
        protocol.transport.write(b"".join((head, *body)))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class InferProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the fast lane in it. `lane` is set by the subclass that `protocol_class` makes."""

    lane: ClassVar[Lane]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stage = IDLE
        self.message = 0  #: counts messages, so that the watch can tell one from the next
        self.received = 0  #: bytes of the message's body
        self._chunks = 0
        self._head_bytes = 0
        self._fast: FastCycle | None = None
        self._size = 0
        self._held = False

    # --- the transport's callbacks --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.lane.limits.max_connections:
            self._refuse_and_close(503, "Exceeded the maximum number of connections")
            return
        self.lane.watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what this connection waits for."""
        self.lane.watch.discard(self)
        fast = self._fast
        super().connection_lost(exc)
        if fast is not None and not fast.response_complete:  # it may stand behind a later, pipelined cycle
            fast.disconnected = True
            fast.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bound on headers."""
        limit = self.lane.limits.max_head_size
        if self.stage != BODY:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.stage == HEAD:
            if self._head_bytes > limit:
                self._refuse_and_close(431, f"request line and headers exceed {limit} bytes")
        elif self.stage == IDLE:
            self._head_bytes = 0

    def resume_writing(self) -> None:
        """Go on with the connection once its answers are read."""
        super().resume_writing()
        if self._held:
            self._held = False
            super().on_response_complete()

    # --- the parser's callbacks -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Prepare for a message; what only the ASGI way needs is made when it is taken."""
        self.stage = HEAD
        self.message += 1
        self.received = self._chunks = 0
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Choose the lane."""
        self.stage = BODY
        if self._head_bytes > self.lane.limits.max_head_size and self._head_too_large():
            return
        self._head_bytes = 0
        target = self.lane.target(self.url)
        cycle = self.cycle
        if (
            target is not None
            and self.lane.fast
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and self.parser.get_method() == b"POST"
            and self._take_fast(target)
        ):
            return
        self._fast_ended()
        self._begin_slow()

    def _take_fast(self, target: tuple[str, int] | JubakoError) -> bool:
        """Start a fast request, if its headers ask for nothing but a plain inference."""
        length: bytes | None = None
        size = -1
        for name, value in self.headers:
            if name == b"content-length":
                size = int(value)
            elif name == b"inference-header-content-length":
                length = value if length is None else length  # the first counts, as in Triton
            elif name in SLOW_HEADERS and value != b"identity":
                return False
        if size < 0 or self.parser.should_upgrade():
            return False
        keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        refused = self.lane.gate.check("inference", self.headers)
        if refused is not None or isinstance(target, JubakoError) or size > self.lane.limits.max_body_size:
            return False  # the other lane says it
        self._size = size
        self.cycle = self._fast = FastCycle(self, target, length, keep_alive)  # type: ignore[assignment]
        return True

    def on_body(self, body: bytes) -> None:
        """Gather a part of the body."""
        self.received += len(body)
        if (fast := self._fast_receiving()) is not None:
            fast.take(body, self._size)
        else:
            super().on_body(body)

    def on_chunk_header(self) -> None:
        """Count the chunks of a body: the parser calls Python for each, so many small ones are costly."""
        self._chunks += 1
        most = self.lane.limits.max_chunks
        if self._chunks > most:
            message = f"Chunked request body exceeds maximum of {most} non-empty chunks. "
            self._refuse_and_close(400, message + "Send fewer or larger HTTP chunks.")

    def on_message_complete(self) -> None:
        """Start the inference."""
        self.stage = IDLE
        if (fast := self._fast_receiving()) is not None:
            fast.start()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Let the connection's next request go, once its peer reads its answers."""
        if self.flow.write_paused and not self.transport.is_closing():
            self._held = True
            self.flow.pause_reading()
            return
        super().on_response_complete()

    def _fast_receiving(self) -> FastCycle | None:
        """Return the fast cycle if it is the one whose message is being parsed."""
        newest: object = self.cycle
        return self._fast if self._fast is newest else None

    # --- the other lane -------------------------------------------------------------------------------------------

    def _begin_slow(self) -> None:
        """Do what uvicorn's `on_message_begin` would have done, and go on its way."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def _fast_ended(self) -> None:
        if self._fast is not None and self._fast.response_complete:
            self._fast = None

    def _head_too_large(self) -> bool:
        """Whether this message's own head passes the bound: what was counted may hold several messages."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        limit = self.lane.limits.max_head_size
        if size <= limit:
            return False
        self._refuse_and_close(431, f"request line and headers exceed {limit} bytes")
        return True

    def _refuse_and_close(self, status: int, message: str) -> None:
        """Answer with an error that ends the connection, whatever is in its way."""
        if self.transport.is_closing():
            return
        body = error_body(message)
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, REASONS[status], len(body), body)
        )
        self.transport.close()

    def time_out(self, message: str) -> None:
        """Give up on a sender that is too slow."""
        self._refuse_and_close(408, message)


SLOW_HEADERS: Final = frozenset((b"transfer-encoding", b"expect", b"content-encoding", b"accept-encoding", b"upgrade"))
"""Headers that only the ASGI way understands, unless they say `identity`."""


def protocol_class(
    server: InferenceServer,
    limits: Limits,
    gate: Gate,
    *,
    fast: bool = True,
    traffic: Traffic | None = None,
    regions: Regions = NO_REGIONS,
) -> type[InferProtocol]:
    """Return the protocol class for uvicorn that serves `server` in the fast lane.

    It counts its answers in `traffic`. Without `fast` every request takes the ASGI way, within the same bounds on
    headers, connections and slow peers.
    """
    lane = Lane(server, limits, gate, fast=fast, traffic=traffic, regions=regions)
    return type("JubakoInferProtocol", (InferProtocol,), {"lane": lane})


def install(
    server: InferenceServer,
    limits: Limits,
    gate: Gate,
    *,
    fast: bool = True,
    traffic: Traffic | None = None,
    regions: Regions = NO_REGIONS,
) -> bool:
    """Make uvicorn use the fast lane for the servers it starts from now on; False if its internals are not known.

    Then every request takes the ASGI way: slower, and without the bounds on headers and slow peers. `fast` and
    the others as in `protocol_class`.
    """
    reason = unknown_internals()
    if reason is not None:
        log.warning("the fast lane is off: %s", reason)
        return False
    made = protocol_class(server, limits, gate, fast=fast, traffic=traffic, regions=regions)
    HTTP_PROTOCOLS["auto"] = made  # type: ignore[assignment]
    return True
