"""Traces as OpenTelemetry spans, sent by OTLP over HTTP (observability.md 3.4). Imported only where they are asked for.

A request is a span `InferRequest`, in it one named as the model, in it one `compute`; all are made when it has ended,
with the times that were noted. A batch processor sends them from a thread of its own.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jubako.errors import InvalidArgument
from jubako.tracing.options import TraceOptions
from jubako.tracing.settings import TraceSetting
from jubako.tracing.trace import Trace

MAX_ATTRIBUTE: Final = 4096
"""Characters of an attribute: a client chooses the length of a request's id."""
NOWHERE: Final = Context()
MISSING: Final = (
    "--trace-config mode=opentelemetry needs the package opentelemetry-exporter-otlp-proto-http; it comes with "
    "`pip install 'jubako[tracing]'`"
)


def otlp_exporter(url: str) -> SpanExporter:
    """Return what sends spans to the collector at `url`; headers and the like come from OpenTelemetry's variables.

    Raises:
        InvalidArgument: the package that does it is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise InvalidArgument(MISSING) from error
    return OTLPSpanExporter(endpoint=url)


class Spans:
    """Makes spans of traces, and has them sent."""

    def __init__(self, options: TraceOptions, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is to be sampled was decided by the settings
            resource=Resource.create(dict(options.resource)),
            span_limits=SpanLimits(max_span_attribute_length=MAX_ATTRIBUTE),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=options.bsp_max_queue_size,
                schedule_delay_millis=options.bsp_schedule_delay,
                max_export_batch_size=min(options.bsp_max_export_batch_size, options.bsp_max_queue_size),
            )
        )
        self._tracer = self._provider.get_tracer("triton-server")
        self._propagator = TraceContextTextMapPropagator()

    def context_of(self, traceparent: str | None, tracestate: str | None, /) -> Any:
        """Return the context of a caller that traces this request; None for one that does not, or is not understood.

        Triton traces it also if the caller says that it does not: behind a proxy that is every request.
        """
        if traceparent is None:
            return None
        carrier = {"traceparent": traceparent} | ({} if tracestate is None else {"tracestate": tracestate})
        context = self._propagator.extract(carrier, context=NOWHERE)
        caller = api.get_current_span(context).get_span_context()
        return context if caller.is_valid and caller.trace_flags.sampled else None

    def take(self, trace: Trace, /) -> None:
        """Make the spans of a trace and leave them to the processor."""
        trace.setting.collect()
        offset_ns = time.time_ns() - time.monotonic_ns()
        events = sorted((*trace.front_events(), *trace.response_events()), key=lambda event: event[1])
        context = trace.context if trace.context is not None else NOWHERE
        root = self._start("InferRequest", context, trace.received_ns + offset_ns)
        if trace.start_ns:
            self._model_span(trace, api.set_span_in_context(root, NOWHERE), offset_ns)
        failure = trace.failure
        if failure is not None:
            root.set_status(api.Status(api.StatusCode.ERROR, _clean(failure)))
        _finish(root, events, trace.last_ns, offset_ns)

    def _model_span(self, trace: Trace, parent: Context, offset_ns: int) -> None:
        assert trace.request is not None
        span = self._start(_clean(trace.model), parent, trace.start_ns + offset_ns)
        span.set_attribute("triton.model_name", _clean(trace.model))
        span.set_attribute("triton.model_version", trace.request.model_version)
        span.set_attribute("triton.trace_id", trace.id)
        span.set_attribute("triton.trace_parent_id", trace.parent_id)
        if trace.request.id:
            span.set_attribute("triton.request_id", _clean(trace.request.id))
        failure = trace.failure
        if failure is not None:
            span.set_status(api.Status(api.StatusCode.ERROR, _clean(failure)))
        if trace.compute_start_ns:
            inside = api.set_span_in_context(span, NOWHERE)
            compute = self._start("compute", inside, trace.compute_start_ns + offset_ns)
            _finish(compute, trace.compute_events(), trace.compute_end_ns, offset_ns)
        _finish(span, trace.model_events(), trace.answered_ns or trace.last_ns, offset_ns)

    def _start(self, name: str, context: Context, start_ns: int) -> api.Span:
        return self._tracer.start_span(name, context, kind=api.SpanKind.SERVER, start_time=start_ns)

    def retire(self, setting: TraceSetting, /) -> None:
        """Do nothing: spans are sent as they come, whatever setting they came by."""

    async def close(self) -> None:
        """Send what is held, as long as the exporter's own time limit lets it."""
        await asyncio.to_thread(self._provider.shutdown)


def _finish(span: api.Span, events: Iterable[tuple[str, int]], end_ns: int, offset_ns: int) -> None:
    for name, ns in events:
        span.add_event(name, timestamp=ns + offset_ns)
    span.end(end_ns + offset_ns)


def _clean(text: str) -> str:
    """Return `text` as UTF-8 can carry it: one lone surrogate would lose its whole batch of spans."""
    return text.encode("utf-8", "replace").decode()
