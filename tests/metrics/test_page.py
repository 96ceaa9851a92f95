"""The page as a whole, of a server whose models run."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from fakes import failing, simple

from jubako.metrics.gpu import GpuReading, gpu_families
from jubako.metrics.models import model_families
from jubako.metrics.options import MetricsConfig, MetricsOptions, parse_metrics_config
from jubako.metrics.page import Metrics
from jubako.metrics.text import Family, render
from jubako.runner import RunnerOptions
from jubako.schedulers.cache import ResponseCache
from jubako.server import InferenceServer, VersionStatistics
from jubako.statistics import Failure, ModelStatistics

from .page import Page, faults
from .scene import Sent, floats, in_loop, send, serving, sum_of, until_it_runs

PER_MODEL = {
    "nv_inference_request_success": "counter",
    "nv_inference_request_failure": "counter",
    "nv_inference_count": "counter",
    "nv_inference_exec_count": "counter",
    "nv_inference_pending_request_count": "gauge",
    "nv_inference_request_duration_us": "counter",
    "nv_inference_queue_duration_us": "counter",
    "nv_inference_compute_input_duration_us": "counter",
    "nv_inference_compute_infer_duration_us": "counter",
    "nv_inference_compute_output_duration_us": "counter",
    "nv_model_load_duration_secs": "gauge",
}
"""Names and types of observability.md section 1.1 that are there by default."""
SUMMARIES = {
    f"nv_inference_{what}_summary_us": "summary"
    for what in ("request", "queue", "compute_input", "compute_infer", "compute_output")
}
CACHED = {
    "nv_cache_num_hits_per_model": "counter",
    "nv_cache_num_misses_per_model": "counter",
    "nv_cache_hit_duration_per_model": "counter",
    "nv_cache_miss_duration_per_model": "counter",
}
CACHED_SUMMARIES = {"nv_cache_hit_summary_per_model": "summary", "nv_cache_miss_summary_per_model": "summary"}
CACHE = {
    f"nv_cache_{what}": "gauge"
    for what in (
        *("util", "num_entries", "num_lookups", "num_hits", "num_misses", "num_evictions"),
        *("lookup_duration", "insertion_duration"),
    )
}
OURS = {
    "jubako_request_duration_seconds": "histogram",
    "jubako_queue_duration_seconds": "histogram",
    "jubako_compute_duration_seconds": "histogram",
    "jubako_batch_size": "histogram",
    "jubako_rejected": "counter",  # Prometheus takes `_total` for a counter's ending
}
CPU = {"nv_cpu_utilization": "gauge", "nv_cpu_memory_total_bytes": "gauge", "nv_cpu_memory_used_bytes": "gauge"}
GPU = {
    "nv_gpu_utilization": "gauge",
    "nv_gpu_memory_total_bytes": "gauge",
    "nv_gpu_memory_used_bytes": "gauge",
    "nv_gpu_power_usage": "gauge",
    "nv_gpu_power_limit": "gauge",
    "nv_energy_consumption": "counter",
}


class FixedGauges:
    """Gauges that count how often they are read."""

    def __init__(self) -> None:
        self.read = 0

    def families(self) -> Sequence[Family]:
        self.read += 1
        return gpu_families([GpuReading("GPU-1", 0.5, 100, 60, 250.0, 300.0, 7.5)], {"GPU-1": 5.0})


async def page_of(server: InferenceServer, *config: str) -> Page:
    text = await Metrics(server, MetricsOptions(parse_metrics_config(config), gpu=False)).text()
    assert faults(text) == []
    return Page(text)


@in_loop
async def test_the_families_of_the_reference_are_there_from_the_load_with_their_types(tmp_path: Path) -> None:
    async with serving(tmp_path, {"simple": simple()}) as server:
        page = await page_of(server)

    assert page.types == PER_MODEL | OURS | CPU
    for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
        assert page.value("nv_inference_request_failure", model="simple", version="1", reason=reason) == 0
    assert page.value("nv_model_load_duration_secs", model="simple") > 0
    assert 0 <= page.value("nv_cpu_utilization") <= 1
    assert 0 < page.value("nv_cpu_memory_used_bytes") < page.value("nv_cpu_memory_total_bytes")


@in_loop
async def test_a_page_shows_what_was_counted(tmp_path: Path) -> None:
    model = simple(
        more='dynamic_batching { max_queue_delay_microseconds: 20000 }\nmetric_tags { key: "a" value: "\\"b" }'
    )
    async with serving(tmp_path, {"simple": model, "broken": failing()}) as server:
        await send(server, 1, 2)
        await Sent(server, floats(4, "broken")).error()
        await Sent(server, sum_of(1, columns=3)).error()

        page = await page_of(server)

        (version,) = server.statistics("simple")
    labels = {"_a": '"b', "model": "simple", "version": "1"}
    assert page.value("nv_inference_request_success", **labels) == 2
    assert page.value("nv_inference_count", **labels) == 3
    assert page.value("nv_inference_exec_count", **labels) == 1
    assert page.value("nv_inference_request_duration_us", **labels) == version.statistics.success.ns // 1000
    assert page.value("nv_inference_request_failure", model="broken", reason="BACKEND") == 1
    assert page.value("jubako_request_duration_seconds_count", **labels) == 2
    assert page.value("jubako_batch_size_sum", **labels) == 3
    assert page.value("jubako_batch_size_bucket", le="2", **labels) == 0
    assert page.value("jubako_batch_size_bucket", le="4", **labels) == 1
    assert page.value("jubako_rejected_total", reason="invalid", **labels) == 1


@in_loop
async def test_what_waits_is_pending_and_what_runs_is_not(tmp_path: Path) -> None:
    model = simple(held=True)
    async with serving(tmp_path, {"simple": model}, RunnerOptions(run_in_loop=False)) as server:
        sent = [Sent(server, sum_of(1)) for _ in range(3)]
        await until_it_runs(model)

        assert (await page_of(server)).value("nv_inference_pending_request_count") == 2

        model.release.set()
        for one in sent:
            await one.error()
        assert (await page_of(server)).value("nv_inference_pending_request_count") == 0


@in_loop
async def test_latencies_are_shown_as_metrics_config_says(tmp_path: Path) -> None:
    own_buckets = (
        'model_metrics { metric_control { metric_identifier { family: "nv_inference_first_response_histogram_ms" } '
        "histogram_options { buckets: [ 1, 20000 ] } } }"
    )
    asked_for = RunnerOptions(summaries=True, first_responses=True)
    async with serving(tmp_path, {"simple": simple(), "own": simple(more=own_buckets)}, asked_for) as server:
        await send(server, 1)
        await send(server, 1, model="own")

        page = await page_of(
            server,
            *("counter_latencies=false", "summary_latencies=true", "histogram_latencies=true"),
            "summary_quantiles=0.5:0.05,1:0",
        )

    first = "nv_inference_first_response_histogram_ms"
    counters = {name: kind for name, kind in PER_MODEL.items() if "duration_us" not in name}
    assert page.types == counters | SUMMARIES | {first: "histogram"} | OURS | CPU
    assert page.value("nv_inference_request_summary_us_count", model="simple") == 1
    assert page.value("nv_inference_request_summary_us", model="simple", quantile="1") > 0
    assert page.value("nv_inference_request_success", model="simple") == 1, "which Triton then leaves at 0"
    ends: dict[str, list[str]] = {"own": [], "simple": []}
    for sample in page.named(f"{first}_bucket"):
        ends[sample.labels["model"]].append(sample.labels["le"])
    assert ends == {"own": ["1", "20000", "+Inf"], "simple": ["100", "500", "2000", "5000", "+Inf"]}
    assert page.value(f"{first}_count", model="own") == 1


@in_loop
async def test_the_cache_is_shown_where_there_is_one_and_of_models_that_use_it(tmp_path: Path) -> None:
    cache = ResponseCache(10_000)
    cached = simple(more="response_cache { enable: true }")
    asked_for = RunnerOptions(cache=cache, summaries=True)
    async with serving(tmp_path, {"cached": cached, "simple": simple()}, asked_for) as server:
        for rows in (1, 1, 1, 2):
            await send(server, rows, model="cached")
        await send(server, 1)

        page = await page_of(server, "summary_latencies=true")
        counters_off = await page_of(server, "counter_latencies=false")

        (version,) = server.statistics("cached")
    assert page.types == PER_MODEL | SUMMARIES | CACHED | CACHED_SUMMARIES | CACHE | OURS | CPU
    assert {sample.labels["model"] for name in CACHED for sample in page.named(name)} == {"cached"}
    assert page.value("nv_cache_num_hits_per_model", model="cached", version="1") == 2
    assert page.value("nv_cache_num_misses_per_model") == 2
    assert page.value("nv_cache_hit_duration_per_model") == version.statistics.cache_hit.ns // 1000
    assert page.value("nv_cache_miss_duration_per_model") == version.statistics.cache_miss.ns // 1000
    assert page.value("nv_inference_request_success", model="cached") == 4
    assert page.value("nv_inference_exec_count", model="cached") == 2
    assert page.value("nv_cache_hit_summary_per_model_count", model="cached") == 2
    assert page.value("nv_cache_miss_summary_per_model_count", model="cached") == 2
    assert page.value("nv_inference_queue_summary_us_count", model="cached") == 4
    whole_requests = page.named("nv_inference_request_summary_us_count")
    assert [sample.labels["model"] for sample in whole_requests] == ["simple"]
    assert [page.value(f"nv_cache_num_{what}") for what in ("entries", "lookups", "hits", "misses", "evictions")] == [
        *(2, 4, 2, 2, 0)
    ]
    assert page.value("nv_cache_util") == cache.used_bytes / 10_000 > 0
    assert page.value("nv_cache_lookup_duration") == cache.lookup.ns // 1000
    assert page.value("nv_cache_insertion_duration") == cache.insertion.ns // 1000
    assert not CACHED.keys() & counters_off.types.keys()


def test_each_gpu_has_a_series_and_the_one_without_has_the_rest() -> None:
    whole = ModelStatistics()
    for gpu, requests in ((0, 2), (1, 3)):
        for counts in (whole, whole.on_gpu(gpu)):
            counts.executed(requests, 1, 1, 1, 1)
            counts.succeeded(requests, requests, 1, 1, 1, 1, 1)
    whole.on_gpu(1).failed(Failure.BACKEND, 1)
    whole.failed(Failure.BACKEND, 1)
    whole.failed(Failure.REJECTED, 1)

    text = render(model_families([VersionStatistics("m", 1, whole)], MetricsConfig(), {0: "GPU-a", 1: "GPU-b"}, 0))

    assert faults(text) == []
    success = [line for line in text.splitlines() if line.startswith("nv_inference_request_success{")]
    assert success == [
        'nv_inference_request_success{model="m",version="1"} 0',
        'nv_inference_request_success{gpu_uuid="GPU-a",model="m",version="1"} 2',
        'nv_inference_request_success{gpu_uuid="GPU-b",model="m",version="1"} 3',
    ]
    page = Page(text)
    assert page.value("nv_inference_request_failure", gpu_uuid="GPU-b", reason="BACKEND") == 1
    assert 'nv_inference_request_failure{model="m",reason="BACKEND",version="1"} 0' in text
    assert 'nv_inference_request_failure{model="m",reason="REJECTED",version="1"} 1' in text
    assert page.value("nv_inference_pending_request_count") == 0, "one series, without a GPU"


def test_a_gpu_without_a_known_uuid_is_counted_in_the_series_without_one() -> None:
    whole = ModelStatistics()
    for counts in (whole, whole.on_gpu(0)):
        counts.succeeded(2, 2, 1, 1, 1, 1, 1)

    page = Page(render(model_families([VersionStatistics("m", 1, whole)], MetricsConfig(), {}, 0)))

    assert page.value("nv_inference_request_success") == 2


@in_loop
async def test_the_machine_is_not_read_more_often_than_the_interval_says(tmp_path: Path) -> None:
    gauges = FixedGauges()
    async with serving(tmp_path, {"simple": simple()}) as server:
        seldom = Metrics(server, MetricsOptions(interval_s=3600), open_gauges=lambda *_: [gauges])
        pages = await asyncio.gather(*(seldom.text() for _ in range(3)))
        assert gauges.read == 1
        assert {Page(page).value("nv_gpu_memory_used_bytes", gpu_uuid="GPU-1") for page in pages} == {60}

        always = Metrics(server, MetricsOptions(interval_s=0), open_gauges=lambda *_: [gauges])
        await always.text()
        await always.text()
        assert gauges.read == 3
    assert GPU.items() <= Page(pages[0]).types.items()


@in_loop
async def test_pages_are_right_while_requests_run(tmp_path: Path) -> None:
    async with serving(tmp_path, {"simple": simple(more="dynamic_batching { }")}) as server:
        metrics = Metrics(server, MetricsOptions(interval_s=0, gpu=False))

        async def load() -> None:
            for rows in (1, 2, 3) * 20:
                await send(server, rows, rows)

        loading = [asyncio.create_task(load()) for _ in range(4)]
        counts = []
        while not all(task.done() for task in loading):
            text = await metrics.text()
            assert faults(text) == []
            page = Page(text)
            counts.append(page.value("nv_inference_request_success"))
            assert page.value("jubako_request_duration_seconds_count") >= counts[-1], "which is made later"
        await asyncio.gather(*loading)

        assert counts == sorted(counts)
        assert Page(await metrics.text()).value("nv_inference_request_success") == 4 * 60 * 2
