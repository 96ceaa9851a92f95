"""The families of the models. Pure: what versions have counted comes in.

Names, types and labels of `nv_*` are Triton's (observability.md section 1.1); `jubako_*` are what it lacks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jubako.metrics.options import MetricsConfig
from jubako.metrics.text import Family, Kind, Labels, tag_label
from jubako.server import VersionStatistics
from jubako.statistics import DURATION_BOUNDS_NS, Duration, Failure, ModelStatistics, Refusal
from jubako.statistics.extras import Summaries
from jubako.statistics.window import Window

Value = Callable[[ModelStatistics], int]
Summary = tuple[str, str, Callable[[Summaries], Window], Callable[[ModelStatistics], Duration]]
"""Name, help, the values of the last minute, and all of them."""

DURATION_BOUNDS_S: Final = tuple(bound / 1e9 for bound in DURATION_BOUNDS_NS)
ROW_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

COUNTS: Final[Sequence[tuple[str, str, Value]]] = (
    ("nv_inference_request_success", "Requests answered without an error", lambda s: s.success.count),
    (
        "nv_inference_count",
        "Inferences done: a row of a batch is one, a cache hit none",
        lambda s: s.inference_count,
    ),
    ("nv_inference_exec_count", "Executions of the model: a batch is one", lambda s: s.execution_count),
)
LATENCIES: Final[Sequence[tuple[str, str, Value]]] = (
    ("nv_inference_request_duration_us", "Microseconds from request to answer, summed", lambda s: s.success.ns // 1000),
    ("nv_inference_queue_duration_us", "Microseconds that requests waited, summed", lambda s: s.queue.ns // 1000),
    (
        "nv_inference_compute_input_duration_us",
        "Microseconds in which inputs were made ready, summed over requests",
        lambda s: s.compute_input.ns // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Microseconds in which the model ran, summed over requests",
        lambda s: s.compute_infer.ns // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Microseconds in which outputs were taken apart, summed over requests",
        lambda s: s.compute_output.ns // 1000,
    ),
)
CACHED: Final[Sequence[tuple[str, str, Value]]] = (
    ("nv_cache_num_hits_per_model", "Requests answered from the cache", lambda s: s.cache_hit.count),
    ("nv_cache_num_misses_per_model", "Answers that were not in the cache", lambda s: s.cache_miss.count),
    (
        "nv_cache_hit_duration_per_model",
        "Microseconds in which answers were found in the cache, summed",
        lambda s: s.cache_hit.ns // 1000,
    ),
    (
        "nv_cache_miss_duration_per_model",
        "Microseconds in which answers were looked for in vain and then kept, summed",
        lambda s: s.cache_miss.ns // 1000,
    ),
)
SUMMARIES: Final[Sequence[Summary]] = (
    (
        "nv_inference_request_summary_us",
        "Microseconds from request to answer, over the last minute",
        lambda windows: windows.request,
        lambda s: s.success,
    ),
    (
        "nv_inference_queue_summary_us",
        "Microseconds that requests waited, over the last minute",
        lambda windows: windows.queue,
        lambda s: s.queue,
    ),
    (
        "nv_inference_compute_input_summary_us",
        "Microseconds in which inputs were made ready, over the last minute",
        lambda windows: windows.compute_input,
        lambda s: s.compute_input,
    ),
    (
        "nv_inference_compute_infer_summary_us",
        "Microseconds in which the model ran, over the last minute",
        lambda windows: windows.compute_infer,
        lambda s: s.compute_infer,
    ),
    (
        "nv_inference_compute_output_summary_us",
        "Microseconds in which outputs were taken apart, over the last minute",
        lambda windows: windows.compute_output,
        lambda s: s.compute_output,
    ),
)
CACHED_SUMMARIES: Final[Sequence[Summary]] = (
    (
        "nv_cache_hit_summary_per_model",
        "Microseconds in which an answer was found in the cache, over the last minute",
        lambda windows: windows.cache_hit,
        lambda s: s.cache_hit,
    ),
    (
        "nv_cache_miss_summary_per_model",
        "Microseconds in which an answer was looked for in vain and then kept, over the last minute",
        lambda windows: windows.cache_miss,
        lambda s: s.cache_miss,
    ),
)
REASONS: Final[Mapping[Refusal, str]] = {
    Refusal.QUEUE_FULL: "queue_full",
    Refusal.STOPPING: "stopping",
    Refusal.INVALID: "invalid",
    Refusal.SERVER_FULL: "server_full",
}


@dataclass(frozen=True, slots=True)
class Series:
    """A version's counts with the labels under which they are shown."""

    labels: Labels
    version: VersionStatistics
    gpus: Mapping[str, ModelStatistics]
    """The shares of GPUs by their UUID: those that have one."""

    @property
    def statistics(self) -> ModelStatistics:
        """All that the version has counted."""
        return self.version.statistics

    def values(self, value: Value) -> Iterator[tuple[Labels, int]]:
        """Yield what each GPU did, and under the labels alone what was done elsewhere."""
        shares = {uuid: value(share) for uuid, share in self.gpus.items()}
        yield self.labels, value(self.statistics) - sum(shares.values())
        for uuid, share in shares.items():
            yield {**self.labels, "gpu_uuid": uuid}, share


def model_families(
    versions: Sequence[VersionStatistics], config: MetricsConfig, gpu_uuids: Mapping[int, str], now_ns: int
) -> Iterator[Family]:
    """Yield the families of all `versions`; `gpu_uuids` are those known, by the id that placements use.

    Each is right for the moment at which it is asked for.
    """
    series = [_series(version, gpu_uuids) for version in versions]
    cached = [one for one in series if one.version.cached]
    yield from (_counter(name, help_, value, series) for name, help_, value in COUNTS)
    yield _failures(series)
    yield _pending(series)
    yield _load_times(series)
    if config.counter_latencies:
        yield from (_counter(name, help_, value, series) for name, help_, value in LATENCIES)
        yield from (_counter(name, help_, value, cached) for name, help_, value in CACHED if cached)
    if config.summary_latencies:
        plain = [one for one in series if not one.version.cached]  # as in Triton, only they show whole requests
        yield _summary(SUMMARIES[0], plain, config.quantiles, now_ns)
        yield from (_summary(what, series, config.quantiles, now_ns) for what in SUMMARIES[1:])
        yield from (_summary(what, cached, config.quantiles, now_ns) for what in CACHED_SUMMARIES if cached)
    if config.histogram_latencies:
        yield _first_responses(series)
    yield _request_durations(series)
    yield _queue_durations(series)
    yield _compute_durations(series)
    yield _batch_sizes(series)
    yield _refusals(series)


def _series(version: VersionStatistics, gpu_uuids: Mapping[int, str]) -> Series:
    tags = {tag_label(key): value for key, value in sorted(version.tags.items())}
    labels = {"model": version.name, "version": str(version.version), **tags}
    shares = version.statistics.gpus
    return Series(labels, version, {gpu_uuids[gpu]: shares[gpu] for gpu in sorted(shares) if gpu in gpu_uuids})


def _counter(name: str, help_: str, value: Value, series: Sequence[Series]) -> Family:
    family = Family(name, Kind.COUNTER, help_)
    for one in series:
        for labels, counted in one.values(value):
            family.add(labels, counted)
    return family


def _failures(series: Sequence[Series]) -> Family:
    family = Family(
        "nv_inference_request_failure", Kind.COUNTER, "Requests that failed after they were queued, by reason"
    )
    for one in series:
        for reason in Failure:
            for labels, counted in one.values(lambda s, reason=reason: s.failures[reason]):  # type: ignore[misc]
                family.add({**labels, "reason": reason.name}, counted)
    return family


def _pending(series: Sequence[Series]) -> Family:
    family = Family("nv_inference_pending_request_count", Kind.GAUGE, "Requests that wait for an execution")
    for one in series:
        family.add(one.labels, one.version.waiting)
    return family


def _load_times(series: Sequence[Series]) -> Family:
    family = Family("nv_model_load_duration_secs", Kind.GAUGE, "Seconds that loading the version took")
    for one in series:
        family.add(one.labels, one.version.load_ns / 1e9)
    return family


def _summary(what: Summary, series: Sequence[Series], quantiles: Mapping[str, float], now_ns: int) -> Family:
    name, help_, window, duration = what
    family = Family(name, Kind.SUMMARY, help_)
    for one in series:
        extras = one.statistics.extras
        if extras is not None and extras.summaries is not None:
            values = window(extras.summaries).quantiles(list(quantiles.values()), now_ns)
            counted = duration(one.statistics)
            family.add_quantiles(
                one.labels, dict(zip(quantiles, values, strict=True)), counted.count, counted.ns // 1000
            )
    return family


def _first_responses(series: Sequence[Series]) -> Family:
    family = Family(
        "nv_inference_first_response_histogram_ms", Kind.HISTOGRAM, "Milliseconds from request to first response"
    )
    for one in series:
        extras = one.statistics.extras
        if extras is not None and (first := extras.first_responses) is not None:
            family.add_buckets(one.labels, first.bounds_ms, first.counts, first.sum_ns / 1e6)
    return family


def _request_durations(series: Sequence[Series]) -> Family:
    family = Family(
        "jubako_request_duration_seconds", Kind.HISTOGRAM, "From request to answer, of requests answered without error"
    )
    for one in series:
        counted = one.statistics
        family.add_buckets(one.labels, DURATION_BOUNDS_S, counted.request_buckets, counted.success.ns / 1e9)
    return family


def _queue_durations(series: Sequence[Series]) -> Family:
    family = Family("jubako_queue_duration_seconds", Kind.HISTOGRAM, "How long requests waited that were then answered")
    for one in series:
        counted = one.statistics
        family.add_buckets(one.labels, DURATION_BOUNDS_S, counted.queue_buckets, counted.queue.ns / 1e9)
    return family


def _compute_durations(series: Sequence[Series]) -> Family:
    family = Family("jubako_compute_duration_seconds", Kind.HISTOGRAM, "How long executions took, inputs to outputs")
    for one in series:
        counted = one.statistics
        total_ns = sum(batch.ns for batch in counted.batches.values())
        family.add_buckets(one.labels, DURATION_BOUNDS_S, counted.compute_buckets, total_ns / 1e9)
    return family


def _batch_sizes(series: Sequence[Series]) -> Family:
    family = Family("jubako_batch_size", Kind.HISTOGRAM, "Rows of executions")
    for one in series:
        counts = [0] * (len(ROW_BOUNDS) + 1)
        total = 0
        for rows, batch in one.statistics.batches.items():
            counts[bisect_left(ROW_BOUNDS, rows)] += batch.count
            total += rows * batch.count
        family.add_buckets(one.labels, ROW_BOUNDS, counts, total)
    return family


def _refusals(series: Sequence[Series]) -> Family:
    family = Family("jubako_rejected_total", Kind.COUNTER, "Requests refused before they were queued, by reason")
    for one in series:
        for reason, name in REASONS.items():
            family.add({**one.labels, "reason": name}, one.statistics.refusals[reason])
    return family
