"""An event loop whose clock leaps to the next timer instead of waiting for it."""

import asyncio
import selectors
from typing import Any


class _LeapingSelector(selectors.DefaultSelector):
    """Never waits: where the loop would, time passes at once."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout:
            self.passed_s += timeout
        return events


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop on which an hour takes no time. Nothing outside of it (threads, other processes) should matter."""

    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        self._timers: list[asyncio.TimerHandle] = []
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.passed_s

    def call_at(self, when: float, callback: Any, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        timer = super().call_at(when, callback, *args, **kwargs)
        self._timers.append(timer)
        return timer

    def timers(self) -> int:
        """Return how many timers are still to ring."""
        return sum(not timer.cancelled() and timer.when() > self.time() for timer in self._timers)
