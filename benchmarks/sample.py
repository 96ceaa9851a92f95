"""What a load generator saw in one round."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """Counts and times at the client's side."""

    requests: int
    duration_s: float
    p50_us: float
    p90_us: float
    p99_us: float
    wrong: int
    """Answers that were not the right ones, and connections that broke."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one workload at one server."""

    load: Load
    cpu_ns: int
    """Processor time of the server's processes, user and system."""
    mean_batch: float | None = None
    """Rows per execution, from the server's own statistics."""
