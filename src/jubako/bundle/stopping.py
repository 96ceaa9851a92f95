"""How a worker ends: it refuses new inference, answers what it has, and only then lets uvicorn close.

uvicorn stops listening at the first SIGTERM, and neither it nor circus ever gives up waiting. So the signals come here
first: ready off, new inference refused, live still answered, what is queued or running drained; then uvicorn's own
handler. All of it has `timeout_s` from the signal on, and when that is over the process ends at once, as Triton does.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, Protocol

log = logging.getLogger("jubako.server")

EXPIRED: Final = "failed to stop server: Internal - Exit timeout expired. Exiting immediately."
HANDLED: Final = (signal.SIGTERM, signal.SIGINT)
CLOSING_S: Final = 1.0
"""What uvicorn gets at least, after the drain, to close the connections."""
Handler = Callable[[int, FrameType | None], object]


class Drainable(Protocol):
    """What `Stopping` needs of a server."""

    def stop_accepting(self) -> None:
        """Refuse new inference from now on."""

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is queued or running; False if that took longer."""


def _exit_at_once() -> None:
    logging.shutdown()
    os._exit(1)


class Stopping:
    """The handlers of SIGTERM and SIGINT, from `install` on. Lives in the loop's thread, which is the main one."""

    def __init__(
        self,
        server: Drainable,
        timeout_s: float,
        on_expiry: Callable[[], object] = lambda: None,
        exit_: Callable[[], object] = _exit_at_once,
    ) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._on_expiry = on_expiry
        self._exit = exit_
        self._saved: dict[int, Handler] = {}
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        """Take the signals over from whoever has them now; called in the running loop."""
        self._loop = asyncio.get_running_loop()
        for number in HANDLED:
            before = signal.getsignal(number)
            if callable(before):
                self._saved[number] = before
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.begin, number)

    def begin(self, number: int) -> None:
        """Start to stop; a second SIGINT means "now": uvicorn then waits for nothing."""
        if self._drain is None:
            self._server.stop_accepting()
            self._drain = asyncio.get_running_loop().create_task(self._stop(number))
        elif number == signal.SIGINT:
            self._hand_over(number)
            self._hand_over(number)

    async def _stop(self, number: int) -> None:
        deadline = time.monotonic() + self._timeout_s
        log.info("stopping: new inference is refused, requests in flight have %g s", self._timeout_s)
        if not await self._server.drain(self._timeout_s):
            self._expire()
            return
        left_s = max(deadline - time.monotonic(), CLOSING_S)
        asyncio.get_running_loop().call_later(left_s, self._expire)
        self._hand_over(number)

    def _hand_over(self, number: int) -> None:
        saved = self._saved.get(number)
        if saved is not None:
            saved(number, None)

    def _expire(self) -> None:
        log.error(EXPIRED)
        self._on_expiry()
        self._exit()
