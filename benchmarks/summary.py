"""From samples to rows: medians over the rounds, and ratios to the echo of the same round. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from benchmarks.sample import Sample


class Named(Protocol):
    """What a row says of its workload."""

    @property
    def name(self) -> str:
        """What is asked."""

    @property
    def connections(self) -> int:
        """By how many at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """One workload at one server. Ratios compare with the echo server; they are absent in its own rows."""

    workload: str
    connections: int
    server: str
    cpu_us: float
    """Server processor time per request."""
    cpu_us_rounds: Sequence[float]
    requests_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    requests: int
    wrong: int
    mean_batch: float | None = None
    cpu_ratio: float | None = None
    requests_per_s_ratio: float | None = None
    p50_ratio: float | None = None


def cpu_us(sample: Sample) -> float:
    """Return the server's processor time per request."""
    return sample.cpu_ns / 1000 / sample.load.requests


def requests_per_s(sample: Sample) -> float:
    """Return the throughput."""
    return sample.load.requests / sample.load.duration_s


def p50_us(sample: Sample) -> float:
    """Return the median latency."""
    return sample.load.p50_us


def row(workload: Named, server: str, samples: Sequence[Sample], floor: Sequence[Sample] | None) -> Row:
    """Return the medians of `samples`; `floor` holds the echo's of the same rounds.

    A ratio is the median of the rounds' ratios: what slows the machine down for a while slows both.
    """

    def ratio(measure: Callable[[Sample], float]) -> float | None:
        if floor is None:
            return None
        return median(measure(own) / measure(echo) for own, echo in zip(samples, floor, strict=True))

    batches = [sample.mean_batch for sample in samples if sample.mean_batch is not None]
    return Row(
        workload.name,
        workload.connections,
        server,
        median(map(cpu_us, samples)),
        [round(cpu_us(sample), 2) for sample in samples],
        median(map(requests_per_s, samples)),
        median(sample.load.p50_us for sample in samples) / 1000,
        median(sample.load.p90_us for sample in samples) / 1000,
        median(sample.load.p99_us for sample in samples) / 1000,
        sum(sample.load.requests for sample in samples),
        sum(sample.load.wrong for sample in samples),
        median(batches) if batches else None,
        ratio(cpu_us),
        ratio(requests_per_s),
        ratio(p50_us),
    )
