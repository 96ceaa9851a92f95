"""Patience with slow peers, kept by one timer for all connections instead of one for each request.

Once a tick each connection is compared with what it was a tick ago: the same message still in its headers, a body that
came too slowly, answers that nobody reads, nothing asked for long. Nothing is recorded on the request path but a
counter.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jubako.protocols.rest.limits import Limits

IDLE, HEAD, BODY = range(3)
TICK_S: Final = 1.0
SHORTEST_TICK_S: Final = 0.02


class Watched(Protocol):
    """What the watch reads of a connection."""

    stage: int
    message: int
    received: int
    transport: Any
    flow: Any
    timeout_keep_alive: int

    @property
    def busy(self) -> bool:
        """A request is being answered, or its answer not yet read."""

    def time_out(self, message: str) -> None:
        """Answer that the peer was too slow, and close."""


@dataclass(slots=True)
class _Seen:
    """A connection as it was when something about it last changed."""

    stage: int
    message: int
    since_s: float
    received: int
    unsent: int = 0
    unsent_since_s: float = 0.0


class Watch:
    """The connections of one service, and the timer that looks at them. Lives in the loop's thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tick_s = min(TICK_S, limits.head_timeout_s / 4, limits.body_grace_s / 4)
        self._seen: dict[Watched, _Seen | None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Watched) -> None:
        """Watch a connection from now on."""
        self._seen[connection] = None
        self._tick_s = min(self._tick_s, max(connection.timeout_keep_alive / 4, SHORTEST_TICK_S))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._look)

    def discard(self, connection: Watched) -> None:
        """Forget a connection; the timer ends with the last one."""
        self._seen.pop(connection, None)

    def _look(self) -> None:
        if not self._seen:
            self._timer = None
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._tick_s, self._look)
        now_s = loop.time()
        for connection, seen in list(self._seen.items()):
            self._seen[connection] = self._judge(connection, seen, now_s)

    def _judge(self, connection: Watched, seen: _Seen | None, now_s: float) -> _Seen:
        if seen is None or (seen.stage, seen.message) != (connection.stage, connection.message):
            seen = _Seen(connection.stage, connection.message, now_s, connection.received)
        if connection.transport.is_closing():
            pass  # all that is still waited for is that the peer reads its last answer
        elif connection.stage == HEAD:
            self._judge_head(connection, seen, now_s)
        elif connection.stage == BODY:
            self._judge_body(connection, seen, now_s)
        else:
            self._judge_idle(connection, seen, now_s)
        self._judge_unsent(connection, seen, now_s)
        return seen

    def _judge_head(self, connection: Watched, seen: _Seen, now_s: float) -> None:
        if connection.busy or connection.flow.read_paused:  # it is we who are slow, with the request before this one
            seen.since_s = now_s
        elif now_s - seen.since_s > self._limits.head_timeout_s:
            connection.time_out(f"request headers did not arrive within {self._limits.head_timeout_s:g} s")

    def _judge_idle(self, connection: Watched, seen: _Seen, now_s: float) -> None:
        """Close what asks for nothing: after an answer for the keep-alive time, at first as long as for headers."""
        if connection.busy:
            seen.since_s = now_s
            return
        patience_s = connection.timeout_keep_alive if connection.message else self._limits.head_timeout_s
        if now_s - seen.since_s > patience_s:
            connection.transport.close()

    def _judge_body(self, connection: Watched, seen: _Seen, now_s: float) -> None:
        if connection.flow.read_paused:  # it is we who are slow
            seen.since_s, seen.received = now_s, connection.received
            return
        elapsed_s = now_s - seen.since_s
        if elapsed_s <= self._limits.body_grace_s:
            return
        if (connection.received - seen.received) / elapsed_s < self._limits.min_body_rate:
            connection.time_out(f"request body came at less than {self._limits.min_body_rate} bytes per second")
        else:  # what came fast once does not excuse what stalls now
            seen.since_s, seen.received = now_s, connection.received

    def _judge_unsent(self, connection: Watched, seen: _Seen, now_s: float) -> None:
        """Drop a peer that, for as long as a slow body is borne, reads nothing of a full buffer or of a last answer."""
        held = connection.flow.write_paused or connection.transport.is_closing()
        unsent = connection.transport.get_write_buffer_size() if held else 0
        if unsent != seen.unsent:
            seen.unsent, seen.unsent_since_s = unsent, now_s
        elif unsent and now_s - seen.unsent_since_s > self._limits.body_grace_s:
            connection.transport.abort()
