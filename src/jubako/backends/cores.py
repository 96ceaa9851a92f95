"""How many CPU cores this process may keep busy: a framework's own guess is the machine's, whatever the container's."""

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

TOPOLOGY: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return the number of physical cores that this process's affinity and its container's quota allow, at least 1."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return cores([_siblings(cpu) for cpu in cpus], _read(QUOTA))


def cores(siblings: Collection[str], quota: str) -> int:
    """Return the cores behind CPUs that name their hyper-threading `siblings`, under `quota`.

    `quota` is cgroup's cpu.max: `<microseconds> <period>`, or `max <period>`; empty says nothing.
    """
    physical = len(set(siblings))
    allowed, _, period = quota.strip().partition(" ")
    if allowed.isdigit() and period.isdigit() and int(period) > 0:
        physical = min(physical, math.ceil(int(allowed) / int(period)))
    return max(physical, 1)


def _siblings(cpu: int) -> str:
    return _read(Path(TOPOLOGY.format(cpu))).strip() or str(cpu)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
