"""How long a function takes, without sockets or servers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Timing:
    """One micro benchmark."""

    name: str
    median_ns: float
    best_ns: float
    operations: int


def measure(name: str, operation: Callable[[], object], seconds: float, per_call: int = 1) -> Timing:
    """Time `operation`, which does `per_call` operations, for about `seconds`, in ten parts."""
    operation()
    calls = _calls_in(operation, seconds / 10)
    parts = [_time(operation, calls) / calls / per_call for _ in range(10)]
    return Timing(name, median(parts), min(parts), 10 * calls * per_call)


def _calls_in(operation: Callable[[], object], seconds: float) -> int:
    calls = 1
    while (taken_ns := _time(operation, calls)) < seconds * 1e9 / 10:
        calls *= 2
    return max(1, int(calls * seconds * 1e9 / taken_ns))


def _time(operation: Callable[[], object], calls: int) -> int:
    start_ns = time.perf_counter_ns()
    for _ in range(calls):
        operation()
    return time.perf_counter_ns() - start_ns
