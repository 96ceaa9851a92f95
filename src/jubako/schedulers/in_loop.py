"""When an execution may run in the loop itself. Pure.

Handing a batch to a thread and back costs 100 to 150 µs; an execution shorter than that is cheaper where the request
already is. It must never hold the loop for long, so the leave is earned by measurement and lost at the first long run.
"""

from collections import deque
from typing import Final

WINDOW: Final = 100
SHORT_NS: Final = 200_000
LONG_NS: Final = 1_000_000
SLOW_ALLOWED: Final = 10
LONG_ALLOWED: Final = 3


class InLoopLeave:
    """Whether a model version may run in the loop, judged by its own executions.

    Given while at most a tenth of the last 100 took over 200 µs; taken back for good by the third that takes over 1 ms
    of the thread's own processor time in the loop. A tenth and the third, because on a busy machine a run that has done
    nothing wrong is now and then twice as long as the others; processor time, because it is now and then not scheduled
    for a millisecond.
    """

    def __init__(self, *, possible: bool) -> None:
        self._possible = possible
        self._slow: deque[bool] = deque(maxlen=WINDOW)
        self._slow_count = 0
        self._long_count = 0

    @property
    def given(self) -> bool:
        """The next execution may run in the loop."""
        return self._possible and len(self._slow) == WINDOW and self._slow_count <= SLOW_ALLOWED

    def ran(self, wall_ns: int, cpu_ns: int | None = None) -> None:
        """Take note of an execution; `cpu_ns` is known of those in the loop."""
        if not self._possible:
            return
        if cpu_ns is not None and cpu_ns > LONG_NS:
            self._long_count += 1
            self._possible = self._long_count < LONG_ALLOWED
            return
        if len(self._slow) == WINDOW:
            self._slow_count -= self._slow[0]
        slow = wall_ns > SHORT_NS
        self._slow.append(slow)
        self._slow_count += slow
