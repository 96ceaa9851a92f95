"""Spans, as a collector gets them over HTTP."""

import time
from collections.abc import Iterator

import pytest

from jubako.errors import Internal
from jubako.tracing.options import parse_trace_config
from jubako.tracing.spans import Spans, otlp_exporter
from jubako.tracing.trace import Front
from jubako.tracing.tracing import Tracing

from .collector import Collector, Span, collecting
from .scene import STEP_NS, a_request, close, run, trace_one

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SERVER = 2
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def tracing_to(collector: Collector, *config: str) -> Tracing:
    entries = ["mode=opentelemetry", "level=TIMESTAMPS", f"opentelemetry,url={collector.url}", *config]
    options = parse_trace_config(entries, {})
    return Tracing(options, Spans(options, otlp_exporter(options.url)), lambda model: True)


def spans_of_one(collector: Collector, **how: object) -> tuple[Span, Span, Span]:
    """Trace one request and return its spans: InferRequest, the model's, compute."""
    tracing = tracing_to(collector, "rate=1")
    trace = tracing.begin("m", Front.HTTP, time.monotonic_ns(), None)
    assert trace is not None
    run(trace, **how)  # type: ignore[arg-type]
    close(tracing)
    by_name = {span.name: span for span in collector.wait_for(3)}
    return by_name["InferRequest"], by_name["m"], by_name["compute"]


def test_a_request_is_a_span_with_the_model_s_in_it_and_the_execution_in_that(collector: Collector) -> None:
    root, model, compute = spans_of_one(collector)

    assert root.parent_id == ""
    assert model.parent_id == root.span_id
    assert compute.parent_id == model.span_id
    assert root.trace_id == model.trace_id == compute.trace_id
    assert {root.kind, model.kind, compute.kind} == {SERVER}
    assert collector.paths == ["/v1/traces"]


def test_spans_lie_within_each_other_at_the_time_of_day(collector: Collector) -> None:
    before = time.time_ns()
    root, model, compute = spans_of_one(collector)

    assert root.start_ns <= model.start_ns <= compute.start_ns
    assert compute.start_ns < compute.end_ns
    assert compute.end_ns - compute.start_ns == 3 * STEP_NS
    assert model.end_ns <= root.end_ns
    assert abs(root.start_ns - before) < 60_000_000_000


def test_every_event_is_on_the_span_that_triton_puts_it_on(collector: Collector) -> None:
    root, model, compute = spans_of_one(collector)

    assert [name for name, _ in root.events] == [
        "HTTP_RECV_START",
        "HTTP_RECV_END",
        "INFER_RESPONSE_COMPLETE",
        "HTTP_SEND_START",
        "HTTP_SEND_END",
    ]
    assert [name for name, _ in model.events] == ["REQUEST_START", "QUEUE_START", "REQUEST_END"]
    assert [name for name, _ in compute.events] == [
        "COMPUTE_START",
        "COMPUTE_INPUT_END",
        "COMPUTE_OUTPUT_START",
        "COMPUTE_END",
    ]
    for span in (root, model, compute):
        times = [ns for _, ns in span.events]
        assert times == sorted(times)


def test_the_model_s_span_says_which_request_of_which_version_it_was(collector: Collector) -> None:
    _, model, _ = spans_of_one(collector)

    assert dict(model.attributes) == {
        "triton.model_name": "m",
        "triton.model_version": 2,
        "triton.trace_id": 1,
        "triton.trace_parent_id": 0,
        "triton.request_id": "r",
    }
    assert model.resource["service.name"] == "triton-inference-server"


def test_a_failed_request_has_failed_spans_and_their_message(collector: Collector) -> None:
    root, model, _ = spans_of_one(collector, error=Internal("out of luck"))

    assert (root.failed, root.message) == (True, "out of luck")
    assert (model.failed, model.message) == (True, "out of luck")


def test_what_came_to_no_request_is_one_failed_span(collector: Collector) -> None:
    tracing = tracing_to(collector, "rate=1")
    trace = tracing.begin("m", Front.HTTP, time.monotonic_ns())
    assert trace is not None

    trace.failed(Internal("no JSON"))
    trace.end()
    close(tracing)

    (span,) = collector.wait_for(1)
    assert (span.name, span.failed, span.message) == ("InferRequest", True, "no JSON")


@pytest.mark.parametrize("config", [["rate=1000"], ["rate=0"], ["rate=1", "count=0"]])
def test_a_caller_that_traces_is_the_parent_and_is_traced_out_of_turn(collector: Collector, config: list[str]) -> None:
    tracing = tracing_to(collector, *config)

    assert not trace_one(tracing, received_ns=time.monotonic_ns())
    assert trace_one(tracing, received_ns=time.monotonic_ns(), traceparent=CALLER)
    close(tracing)

    spans = collector.wait_for(3)
    assert {span.trace_id for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert collector.named("InferRequest")[0].parent_id == "b7ad6b7169203331"


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "x",
        CALLER[:-1],
        CALLER[:-2] + "00",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff" + CALLER[2:],
        "é" * 1000,
    ],
)
def test_a_caller_that_does_not_trace_or_says_nonsense_changes_nothing(collector: Collector, traceparent: str) -> None:
    tracing = tracing_to(collector, "rate=2")

    assert [trace_one(tracing, traceparent=traceparent) for _ in range(2)] == [False, True]
    close(tracing)

    assert all(span.parent_id != "b7ad6b7169203331" for span in collector.wait_for(3))


def test_an_id_that_is_no_unicode_or_has_no_end_does_not_lose_the_batch(collector: Collector) -> None:
    _, model, _ = spans_of_one(collector, request=a_request("\ud800" + "x" * 100_000, start_ns=1))

    assert len(model.attributes["triton.request_id"]) == 4096


def test_the_settings_show_where_spans_go_and_nothing_of_files(collector: Collector) -> None:
    tracing = tracing_to(collector, "rate=1", "opentelemetry,resource=a=b")

    document = tracing.document()
    tracing.update("", {"trace_level": ["TENSORS"], "log_frequency": ["3"]})
    close(tracing)

    assert document == {
        "trace_level": ["TIMESTAMPS"],
        "trace_rate": "1",
        "trace_count": "-1",
        "trace_mode": "opentelemetry",
        "url": collector.url,
        "resource": "service.name=triton-inference-server,a=b",
        "bsp_max_queue_size": "2048",
        "bsp_schedule_delay": "5000",
        "bsp_max_export_batch_size": "512",
    }
