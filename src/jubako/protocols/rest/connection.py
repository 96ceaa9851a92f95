"""A connection: uvicorn's HTTP protocol with the fast lane in it, and the bounds that it lacks.

While a fast request is under way it stands in `self.cycle`, where uvicorn's own cycles stand, with the attributes
that uvicorn reads of them; so pipelining, draining at shutdown and disconnects are uvicorn's own code, unchanged. What
uvicorn does not bound (headers, slow senders, connections, unread answers) is bounded here, for both lanes.

A client's request head repeats, byte for byte, as long as its body keeps its size. What the parser made of such a head
is remembered, so that the next request is a look-up and a cut; anything that is not one whole request in one piece
goes through the parser.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jubako.errors import JubakoError
from jubako.protocols.access import Group
from jubako.protocols.rest.cycle import REASONS, FastCycle, TracedCycle
from jubako.protocols.rest.departures import ENDED, Departures
from jubako.protocols.rest.parent import callers_trace
from jubako.protocols.rest.parts import Parts
from jubako.protocols.rest.route import infer_target
from jubako.protocols.rest.status import error_body
from jubako.protocols.rest.watch import BODY, HEAD, IDLE, Watch
from jubako.server import parse_version
from jubako.tracing.trace import Front

REMEMBERED_URLS: Final = 4096
REMEMBERED_HEADS: Final = 256
REMEMBERED_HEAD_SIZE: Final = 2048
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
END_OF_HEAD: Final = b"\r\n\r\n"

SLOW_HEADERS: Final = frozenset((b"transfer-encoding", b"expect", b"content-encoding", b"accept-encoding", b"upgrade"))
"""Headers that only the ASGI way understands, unless they say `identity`."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the parser made of a request's head that the fast lane takes; the connection stays open behind it."""

    target: tuple[str, int]
    header_length: bytes | None
    size: int
    """Bytes of the body."""
    headers: list[tuple[bytes, bytes]]


class Lane:
    """What all connections of one service share."""

    def __init__(self, parts: Parts, *, fast: bool = True) -> None:
        self.fast = fast and not parts.forwarding
        self.server = parts.server
        self.limits = parts.limits
        self.gate = parts.gate
        self.traffic = parts.traffic
        self.regions = parts.regions
        self.tracing = parts.settings.sampler
        self.watch = Watch(parts.limits)
        self.departures = Departures()
        self.heads: dict[bytes, Head] = {}
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

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep what the parser made of a request's head, for the next one that is the same to the byte."""
        if len(self.heads) >= REMEMBERED_HEADS:
            self.heads.clear()
        self.heads[raw] = head

    def default_head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return uvicorn's own response headers as bytes; it makes a new list once a second."""
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_head = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._default_head


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
        self._new_head: Head | None = None
        self._running: Any = None  #: the cycle that is being answered; later, pipelined ones stand behind it
        self._ended = False
        self._asked = False

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
        running = self._running
        super().connection_lost(exc)  # tells the newest cycle, which may stand behind the one that runs
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection while its client may still listen for what it has asked; else have it closed.

        uvicorn takes the end of what a client sends for the end of the client.
        """
        if self.stage != IDLE or not self._may_listen():
            return False
        self._ended = True
        self._ask()
        self.lane.departures.add(self)
        return True

    def data_received(self, data: bytes) -> None:
        """Take a request whose head is known as it is; parse everything else, within the bound on headers."""
        whole = self.stage == IDLE and type(data) is bytes
        if whole:
            end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
            head = self.lane.heads.get(data[:end])
            if head is not None and len(data) - end == head.size and self._take_again(head, data[end:]):
                return
        self._parse(data)
        if self._new_head is not None:
            head, self._new_head = self._new_head, None
            # That the body fills the rest of the data is what proves that the head is the data's beginning.
            if whole and self.stage == IDLE and len(data) - end == head.size and end <= REMEMBERED_HEAD_SIZE:
                self.lane.remember(data[:end], head)

    def _take_again(self, head: "Head", body: bytes) -> bool:
        """Start a request that the parser has seen before, all but its body."""
        cycle = self.cycle
        if (cycle is not None and not cycle.response_complete) or self.flow.write_paused:
            return False
        if self.lane.gate.check(Group.INFERENCE, head.headers) is not None:
            return False
        self.message += 1
        self.headers = head.headers
        if self.lane.tracing.active:
            fast = self._perhaps_traced(head.target, head.header_length, True)
        else:
            fast = FastCycle(self, head.target, head.header_length, True)
        fast.body = body
        self.cycle = self._fast = self._running = fast  # type: ignore[assignment]
        fast.start()
        return True

    def _parse(self, data: bytes) -> None:
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
            self._go_on()

    # --- clients that may have left -------------------------------------------------------------------------------

    def _may_listen(self) -> bool:
        """Whether an answer is awaited that an interim one may come before."""
        return (
            ENDED != 0
            and self.scheme == "http"
            and self.busy
            and not getattr(self._running, "response_started", False)
            and self.parser.get_http_version() == "1.1"
        )

    def _ask(self) -> None:
        """Send what has a client that listens no more answer with a reset."""
        if not self._asked:
            self._asked = True
            self.transport.write(CONTINUE)

    @property
    def waits_unheard(self) -> bool:
        """Its client waits for an answer, and is not read from."""
        return (self._ended or self.flow.read_paused) and self.busy and not self._held

    def ended(self) -> None:
        """Find out whether a client that sends no more still listens; over TLS none does."""
        if self.scheme == "https":
            self.gone()
        elif self._may_listen():
            self._ask()

    def gone(self) -> None:
        """Give up on a client that has left."""
        self.transport.abort()

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
        refused = self.lane.gate.check(Group.INFERENCE, self.headers)
        if refused is not None or isinstance(target, JubakoError) or size > self.lane.limits.max_body_size:
            return False  # the other lane says it
        self._size = size
        if keep_alive:
            self._new_head = Head(target, length, size, self.headers)
        if self.lane.tracing.active:
            fast = self._perhaps_traced(target, length, keep_alive)
        else:
            fast = FastCycle(self, target, length, keep_alive)
        self.cycle = self._fast = self._running = fast  # type: ignore[assignment]
        return True

    def _perhaps_traced(self, target: tuple[str, int], length: bytes | None, keep_alive: bool) -> FastCycle:
        trace = self.lane.tracing.begin(target[0], Front.HTTP, time.monotonic_ns(), *callers_trace(self.headers))
        if trace is None:
            return FastCycle(self, target, length, keep_alive)
        return TracedCycle(self, target, length, keep_alive, trace)

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
        self._go_on()

    def _go_on(self) -> None:
        """Do what uvicorn's `on_response_complete` does, but for its keep-alive timer: the watch keeps that time."""
        if self.pipeline:
            self._running = self.pipeline[-1][0]
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self._ended:
            self.transport.close()
        if not self.transport.is_closing():
            self.flow.resume_reading()

    @property
    def busy(self) -> bool:
        """A request is being answered, or its answer not yet read."""
        return self._held or (self.cycle is not None and not self.cycle.response_complete)

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
        if self.pipeline:
            self.lane.departures.add(self)  # it is not read from, from now on
        else:
            self._running = self.cycle

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
