"""Clients that leave while nothing is read from them.

A connection is not read from while a request waits behind another one, and there is nothing to read behind a client's
last byte. Whether it is still there has then to be asked of the kernel. It knows two things: that the client will send
no more (it closed, or it closed its half and still listens: the same packet), and that the connection is gone. What
tells the first two apart is to send something: who still listens takes an interim answer, `100 Continue`, as every
HTTP/1.1 client must; who does not answers with a reset.
"""

import asyncio
import select
import time
from typing import Any, Final, Protocol

LOOK_S: Final = 0.02
SHARE: Final = 0.02
"""Of the loop's time, at most, where there are so many to look at that a look takes long."""
ENDED: Final[int] = getattr(select, "POLLRDHUP", 0)
"""Linux alone says that a peer will send no more; 0 elsewhere."""
GONE: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Unheard(Protocol):
    """A connection of which nothing may be heard."""

    transport: Any

    @property
    def waits_unheard(self) -> bool:
        """Its client waits for an answer, and is not read from."""

    def ended(self) -> None:
        """Its client will send no more."""

    def gone(self) -> None:
        """Its client has left."""


class Departures:
    """The connections of one service that have to be looked at, and the timer that does. Lives in the loop's thread."""

    def __init__(self) -> None:
        self._unheard: dict[Unheard, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Unheard) -> None:
        """Look at a connection for as long as it waits unheard. For nothing where the kernel would not tell."""
        if ENDED:
            self._unheard[connection] = None
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = time.monotonic()  # the loop's own clock stands still within a turn
        self._timer = None
        poll = select.poll()
        by_number: dict[int, Unheard] = {}
        for connection in list(self._unheard):
            number = _number(connection) if connection.waits_unheard else -1
            if number < 0:
                del self._unheard[connection]
            else:
                by_number[number] = connection
                poll.register(number, ENDED)
        for number, events in poll.poll(0):
            if events & GONE:
                by_number[number].gone()
            else:
                by_number[number].ended()
        if self._unheard:
            took_s = time.monotonic() - began_s
            self._timer = loop.call_later(max(LOOK_S, took_s / SHARE), self._look)


def _number(connection: Unheard) -> int:
    """Return the number of a connection's socket; -1 if it is closed."""
    socket = None if connection.transport.is_closing() else connection.transport.get_extra_info("socket")
    return -1 if socket is None else int(socket.fileno())
