"""Wake the loop at a time given in nanoseconds, to within tens of microseconds where the system can.

asyncio rounds a timer up to about 1.15 ms and uvloop's has steps of 1 ms, firing `call_later(<= 0.5 ms)` at once: a
queue delay of 100 to 500 µs, Triton's usual ones, would silently be nothing. A Linux timerfd read by the loop has no
such steps. Where there is none the delay is rounded up to whole milliseconds, never down.
"""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

CLOCK_MONOTONIC: Final = 1
TFD_FLAGS: Final = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
TFD_TIMER_ABSTIME: Final = 1
NS: Final = 1_000_000_000


class Alarm(Protocol):
    """One deadline at a time on the monotonic clock."""

    def set(self, due_ns: int) -> None:
        """Ring at `due_ns` of `time.monotonic_ns()`, or at once if that has passed. Replaces an earlier deadline."""

    def clear(self) -> None:
        """Do not ring."""

    def close(self) -> None:
        """Release what the alarm holds; it never rings again."""


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class TimerfdAlarm:
    """An alarm on a Linux timerfd; the loop watches its descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd = libc.timerfd_create(CLOCK_MONOTONIC, TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._pointer = ctypes.byref(self._spec)
        self._ring = ring
        self._loop = loop
        loop.add_reader(self._fd, self._expired)

    def set(self, due_ns: int) -> None:
        """Ring at `due_ns`."""
        value = self._spec.it_value
        value.tv_sec, value.tv_nsec = divmod(max(due_ns, 1), NS)  # all zeros would disarm
        self._settime(self._fd, TFD_TIMER_ABSTIME, self._pointer, None)

    def clear(self) -> None:
        """Do not ring."""
        self._spec.it_value.tv_sec = self._spec.it_value.tv_nsec = 0
        self._settime(self._fd, TFD_TIMER_ABSTIME, self._pointer, None)

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set again between the wake-up and this read
        self._ring()


class LoopAlarm:
    """An alarm on the loop's own timers, in whole milliseconds, rounded up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_ns: int) -> None:
        """Ring at `due_ns`, up to 2 ms late."""
        self.clear()
        milliseconds = max(1, -(-(due_ns - time.monotonic_ns()) // 1_000_000))
        self._handle = self._loop.call_later(milliseconds / 1000, self._ring)

    def clear(self) -> None:
        """Do not ring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """Do not ring again."""
        self.clear()


def make_alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """Return the finest alarm that this system has."""
    if sys.platform == "linux":
        try:
            return TimerfdAlarm(loop, ring)
        except (OSError, AttributeError):  # a seccomp filter, or a libc without it
            pass
    return LoopAlarm(loop, ring)
