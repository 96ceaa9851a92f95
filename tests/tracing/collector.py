"""An OpenTelemetry collector on the loopback: it keeps the spans that are posted to it."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

TIMEOUT_S = 20


@dataclass(frozen=True)
class Span:
    """A span as the collector got it; ids in hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    events: Sequence[tuple[str, int]]
    failed: bool
    message: str
    kind: int
    resource: Mapping[str, Any]


@dataclass
class Collector:
    """What came."""

    url: str
    spans: list[Span] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, path: str, body: bytes) -> None:
        spans = list(_spans(body))
        with self.arrived:
            self.paths.append(path)
            self.spans += spans
            self.arrived.notify_all()

    def wait_for(self, count: int) -> list[Span]:
        """Return the spans once there are `count` of them."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.spans) >= count, TIMEOUT_S), self.spans
            return list(self.spans)

    def named(self, name: str) -> list[Span]:
        """Return the spans of one name, in the order in which they began."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_ns)


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}/v1/traces")
        thread = threading.Thread(target=server.serve_forever, name="collector")
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join(TIMEOUT_S)


def _spans(body: bytes) -> Iterator[Span]:
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    for resource in service.ExportTraceServiceRequest.FromString(body).resource_spans:
        of_resource = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _attributes(span.attributes),
                    [(event.name, event.time_unix_nano) for event in span.events],
                    span.status.code == 2,
                    span.status.message,
                    span.kind,
                    of_resource,
                )


def _attributes(entries: Any) -> dict[str, Any]:
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in entries}
