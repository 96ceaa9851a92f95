"""NVIDIA's perf_analyzer, unmodified, over every way in; skipped where `make e2e-perf` has not brought it."""

import re
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
import tritonclient.http

from benchmarks import perf_analyzer
from e2e.models import EXAMPLES
from e2e.serving import Serve, Served, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(perf_analyzer.find() is None, reason=f"perf_analyzer is not there: {perf_analyzer.PREPARE}"),
]

WINDOW_MS = 300
LOOSE = ("--measurement-interval", str(WINDOW_MS), "--stability-percentage", "999")
"""Three short windows will do: what is measured here is not how fast."""


@dataclass(frozen=True)
class Target:
    """A server with everything open that perf_analyzer can use."""

    server: Served
    metrics_port: int

    def analyse(self, *options: str) -> str:
        """Run perf_analyzer on `simple` and return what it wrote; all of its requests must have been answered well."""
        before = self.counts()
        done = subprocess.run(
            [str(perf_analyzer.find()), "-m", "simple", *LOOSE, *options],
            env=perf_analyzer.environment(),
            capture_output=True,
            text=True,
            timeout=90,
        )
        after = self.counts()
        written = done.stdout + done.stderr
        assert done.returncode == 0, written
        assert after["success"]["count"] > before["success"]["count"]
        assert after["fail"].get("count", 0) == before["fail"].get("count", 0) == 0
        assert float(re.findall(r"Throughput: ([\d.]+) infer/sec", written)[0]) > 0, written
        assert "Avg request latency" in written  # by the server's own statistics
        return written

    def counts(self) -> Any:
        """Return the server's statistics of `simple`."""
        with tritonclient.http.InferenceServerClient(f"127.0.0.1:{self.server.port}") as client:
            return client.get_inference_statistics("simple")["model_stats"][0]["inference_stats"]

    @property
    def http(self) -> tuple[str, ...]:
        return "-i", "http", "-u", f"127.0.0.1:{self.server.port}"

    @property
    def grpc(self) -> tuple[str, ...]:
        return "-i", "grpc", "-u", f"127.0.0.1:{self.server.grpc_port}"


@pytest.fixture(scope="module")
def target(served_for_all: Serve) -> Target:
    metrics_port = free_port()
    server = served_for_all(EXAMPLES, grpc_port=free_port(), metrics_port=metrics_port, allow_client_shm="true")
    return Target(server, metrics_port)


WAYS = pytest.mark.parametrize("protocol", ["http", "grpc"])


@WAYS
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--async", "--concurrency-range", "4"),
        ("-b", "8", "--request-rate-range", "100"),
    ],
    ids=["one at a time", "four at a time", "batches at a rate"],
)
def test_simple_is_measured(target: Target, protocol: str, options: tuple[str, ...]) -> None:
    target.analyse(*getattr(target, protocol), *options)


def test_simple_is_measured_with_tensors_as_json(target: Target) -> None:
    target.analyse(*target.http, "--input-tensor-format", "json", "--output-tensor-format", "json")


@pytest.mark.parametrize("options", [(), ("--async", "--concurrency-range", "4")], ids=["one", "four"])
def test_simple_is_measured_over_a_stream(target: Target, options: tuple[str, ...]) -> None:
    target.analyse(*target.grpc, "--streaming", *options)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_simple_is_measured_with_compressed_messages(target: Target, algorithm: str) -> None:
    target.analyse(*target.grpc, "--grpc-compression-algorithm", algorithm)


@WAYS
def test_simple_is_measured_through_shared_memory(target: Target, protocol: str) -> None:
    target.analyse(*getattr(target, protocol), "--shared-memory", "system")

    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{target.server.port}") as client:
        assert client.get_system_shared_memory_status() == []


@WAYS
def test_simple_is_measured_with_the_server_s_metrics(target: Target, protocol: str) -> None:
    written = target.analyse(
        *getattr(target, protocol), "--collect-metrics", "--metrics-url", f"127.0.0.1:{target.metrics_port}/metrics",
        "--metrics-interval", "100",
    )  # fmt: skip

    assert "Server Prometheus Metrics:" in written
