"""What is counted of each request only where it was asked for: it costs more than an integer.

Quantiles over the last minute, and the time to the first response, by buckets that a model's configuration may set.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from jubako.statistics.window import Window

FIRST_RESPONSE_BOUNDS_MS: Final = (100.0, 500.0, 2000.0, 5000.0)
"""Triton's."""


@dataclass(slots=True)
class Summaries:
    """Microseconds of the successes of the last minute."""

    request: Window = field(default_factory=Window)
    queue: Window = field(default_factory=Window)
    compute_input: Window = field(default_factory=Window)
    compute_infer: Window = field(default_factory=Window)
    compute_output: Window = field(default_factory=Window)
    cache_hit: Window = field(default_factory=Window)
    cache_miss: Window = field(default_factory=Window)


@dataclass(slots=True)
class FirstResponses:
    """How many requests had their first response within how many milliseconds."""

    bounds_ms: Sequence[float] = FIRST_RESPONSE_BOUNDS_MS
    """Upper ends, inclusive and ascending; one more bucket has what is longer."""
    counts: list[int] = field(init=False)
    sum_ns: int = 0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds_ms) + 1)

    def add(self, ns: int) -> None:
        """Count a first response that came after `ns`."""
        self.counts[bisect_left(self.bounds_ms, ns / 1e6)] += 1
        self.sum_ns += ns


@dataclass(slots=True)
class Extras:
    """The extra counts of one model version; what is None was not asked for."""

    summaries: Summaries | None = None
    first_responses: FirstResponses | None = None

    def succeeded(
        self, now_ns: int, total_ns: int, queue_ns: int, input_ns: int, infer_ns: int, output_ns: int
    ) -> None:
        """Count one success that was answered at `now_ns`."""
        if (summaries := self.summaries) is not None:
            summaries.request.add(total_ns // 1000, now_ns)
            summaries.queue.add(queue_ns // 1000, now_ns)
            summaries.compute_input.add(input_ns // 1000, now_ns)
            summaries.compute_infer.add(infer_ns // 1000, now_ns)
            summaries.compute_output.add(output_ns // 1000, now_ns)
        if self.first_responses is not None:
            self.first_responses.add(total_ns)

    def hit(self, now_ns: int, lookup_ns: int, total_ns: int) -> None:
        """Count one success that was answered from the cache at `now_ns`."""
        if (summaries := self.summaries) is not None:
            summaries.request.add(total_ns // 1000, now_ns)
            summaries.queue.add(0, now_ns)
            summaries.cache_hit.add(lookup_ns // 1000, now_ns)
        if self.first_responses is not None:
            self.first_responses.add(total_ns)

    def missed(self, now_ns: int, overhead_ns: int) -> None:
        """Count what the cache cost one success that was not in it."""
        if self.summaries is not None:
            self.summaries.cache_miss.add(overhead_ns // 1000, now_ns)

    def failed(self, total_ns: int) -> None:
        """Count one failure: its error was its first response."""
        if self.first_responses is not None:
            self.first_responses.add(total_ns)
