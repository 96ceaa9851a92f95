"""The machine's processors and memory, as gauges."""

from dataclasses import dataclass

import psutil

from jubako.metrics.text import Family, Kind


@dataclass(frozen=True, slots=True)
class CpuReading:
    """What the machine's counters said at one time."""

    busy_s: float
    total_s: float
    memory_total_bytes: int
    memory_used_bytes: int


def read_cpu() -> CpuReading:
    """Ask the machine; takes well under a millisecond."""
    times = psutil.cpu_times()
    # Linux counts the time of guests in `user` too; `iowait` is idle time.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    idle = times.idle + getattr(times, "iowait", 0.0)
    memory = psutil.virtual_memory()
    return CpuReading(total - idle, total, memory.total, memory.total - memory.available)


def utilization(before: CpuReading, after: CpuReading) -> float:
    """Return which part of the processors' time between two readings was busy, 0 to 1."""
    passed = after.total_s - before.total_s
    return min(max((after.busy_s - before.busy_s) / passed, 0.0), 1.0) if passed > 0 else 0.0


class CpuGauges:
    """The families of the processors; busy since the reading before the last."""

    def __init__(self) -> None:
        self._last = read_cpu()

    def families(self) -> list[Family]:
        """Read once more and return the families."""
        before, self._last = self._last, read_cpu()
        return cpu_families(before, self._last)


def cpu_families(before: CpuReading, after: CpuReading) -> list[Family]:
    """Return the families of two readings, one behind the other."""
    busy = Family("nv_cpu_utilization", Kind.GAUGE, "Part of the machine's processor time that was busy, 0 to 1")
    total = Family("nv_cpu_memory_total_bytes", Kind.GAUGE, "The machine's memory")
    used = Family("nv_cpu_memory_used_bytes", Kind.GAUGE, "The machine's memory that is not available")
    busy.add({}, utilization(before, after))
    total.add({}, after.memory_total_bytes)
    used.add({}, after.memory_used_bytes)
    return [busy, total, used]
