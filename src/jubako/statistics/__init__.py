"""Counts and durations of one model version, as plain integers. No clock, no lock, no Prometheus.

Meanings are Triton's (observability.md section 2.1). Only the loop's thread writes, so reading from it is consistent.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from jubako.statistics.extras import Extras

US: Final = 1_000
MS: Final = 1_000_000
S: Final = 1_000_000_000

DURATION_BOUNDS_NS: Final = (
    *(25 * US, 50 * US, 100 * US, 250 * US, 500 * US),
    *(1 * MS, 2_500 * US, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS),
    *(1 * S, 2_500 * MS, 5 * S, 10 * S, 30 * S),
)
"""Upper ends, inclusive, of the buckets of every duration; one more bucket has what is longer. They are the same for
all models, so that counts of several servers can be added."""


class Failure(IntEnum):
    """Why a request that had been queued failed; Triton's names."""

    REJECTED = 0
    """The scheduler gave it up."""
    CANCELED = 1
    """Its sender did."""
    BACKEND = 2
    """Its execution failed."""
    OTHER = 3


class Refusal(IntEnum):
    """Why a request was never queued. Triton counts none of these."""

    QUEUE_FULL = 0
    STOPPING = 1
    INVALID = 2
    """It did not fit the model, or was no request at all."""
    SERVER_FULL = 3
    """The whole server had as much to do as it may."""


@dataclass(slots=True)
class Duration:
    """How often something happened, and the nanoseconds it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count `count` events that took `ns` together."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchStatistics:
    """Executions of one batch size."""

    count: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    @property
    def compute_input(self) -> Duration:
        """Executions, and the time in which their inputs were made ready."""
        return Duration(self.count, self.input_ns)

    @property
    def compute_infer(self) -> Duration:
        """Executions, and the time in which the model ran."""
        return Duration(self.count, self.infer_ns)

    @property
    def compute_output(self) -> Duration:
        """Executions, and the time in which outputs were taken apart."""
        return Duration(self.count, self.output_ns)

    @property
    def ns(self) -> int:
        """The time of all its executions."""
        return self.input_ns + self.infer_ns + self.output_ns


def _buckets() -> list[int]:
    return [0] * (len(DURATION_BOUNDS_NS) + 1)


@dataclass(slots=True)
class ModelStatistics:
    """Everything that one model version has counted since it was loaded."""

    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)
    failures: list[int] = field(default_factory=lambda: [0] * len(Failure))
    """By `Failure`; together they are `fail.count`."""
    refusals: list[int] = field(default_factory=lambda: [0] * len(Refusal))
    """By `Refusal`."""
    request_buckets: list[int] = field(default_factory=_buckets)
    """How many successes took how long, by `DURATION_BOUNDS_NS`."""
    queue_buckets: list[int] = field(default_factory=_buckets)
    """How long successes had waited."""
    compute_buckets: list[int] = field(default_factory=_buckets)
    """How long executions took."""
    gpus: "dict[int, ModelStatistics]" = field(default_factory=dict)
    """The part of these counts that each GPU has a share in, by its id."""
    extras: Extras | None = None
    """What is counted only where it was asked for."""

    def on_gpu(self, gpu: int) -> "ModelStatistics":
        """Return the share of a GPU, to be counted beside the whole."""
        share = self.gpus.get(gpu)
        if share is None:
            share = self.gpus[gpu] = ModelStatistics()
        return share

    def executed(self, rows: int, input_ns: int, infer_ns: int, output_ns: int, now_ms: int) -> None:
        """Count one execution of a batch of `rows` rows that ended at `now_ms` (Unix epoch)."""
        self.execution_count += 1
        self.last_inference_ms = now_ms
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = BatchStatistics()
        batch.count += 1
        batch.input_ns += input_ns
        batch.infer_ns += infer_ns
        batch.output_ns += output_ns
        self.compute_buckets[bisect_left(DURATION_BOUNDS_NS, input_ns + infer_ns + output_ns)] += 1

    def succeeded(
        self, requests: int, rows: int, total_ns: int, queue_ns: int, input_ns: int, infer_ns: int, output_ns: int
    ) -> None:
        """Count `requests` answers of one execution; `took` says of each how long it took.

        `total_ns` and `queue_ns` are sums over the requests; each request is charged with the whole execution's
        `input_ns`, `infer_ns` and `output_ns`, as Triton does.
        """
        self.inference_count += rows
        success, queue = self.success, self.queue  # not `add`: five calls would cost more than all the rest
        success.count += requests
        success.ns += total_ns
        queue.count += requests
        queue.ns += queue_ns
        compute_input, compute_infer, compute_output = self.compute_input, self.compute_infer, self.compute_output
        compute_input.count += requests
        compute_input.ns += input_ns * requests
        compute_infer.count += requests
        compute_infer.ns += infer_ns * requests
        compute_output.count += requests
        compute_output.ns += output_ns * requests

    def hit(self, lookup_ns: int, total_ns: int) -> None:
        """Count a success that was answered from the cache: it did not wait, and nothing ran for it."""
        self.success.add(total_ns)
        self.queue.add(0)
        self.cache_hit.add(lookup_ns)
        self.took(total_ns, 0)

    def missed(self, overhead_ns: int) -> None:
        """Count a success, counted before, that was not in the cache, and what looking and keeping it took."""
        self.success.ns += overhead_ns
        self.cache_miss.add(overhead_ns)

    def took(self, total_ns: int, queue_ns: int) -> None:
        """Sort one success into its buckets."""
        self.request_buckets[bisect_left(DURATION_BOUNDS_NS, total_ns)] += 1
        self.queue_buckets[bisect_left(DURATION_BOUNDS_NS, queue_ns)] += 1

    def failed(self, reason: Failure, total_ns: int) -> None:
        """Count a request that had been queued and ended with an error."""
        self.fail.add(total_ns)
        self.failures[reason] += 1

    def refused(self, reason: Refusal) -> None:
        """Count a request that was never queued."""
        self.refusals[reason] += 1
