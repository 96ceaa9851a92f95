"""How much memory this process may use."""

from pathlib import Path
from typing import Final

import psutil

CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def usable_bytes(limits: tuple[Path, ...] = CGROUP_LIMITS) -> int:
    """Return the machine's memory, or what a container has of it."""
    bounds = [int(psutil.virtual_memory().total)]
    for path in limits:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():  # else "max"
            bounds.append(int(text))
    return min(bounds)
