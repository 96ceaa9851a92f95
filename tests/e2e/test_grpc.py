"""gRPC of a running server: the stock client, health and reflection, TLS, the port, and the end."""

import contextlib
import queue
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import psutil
import pytest
import tritonclient.grpc
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)
from rpc.certificates import Authority
from tritonclient.utils import InferenceServerException

from e2e.models import copy_examples
from e2e.serving import Serve, Served, free_port, wait_until
from e2e.slow_model import write_slow_model
from models.digits_data import held_out

pytestmark = pytest.mark.slow

PIECE = 60
"""Images a request: 360 are more than a batch of 64."""
ROUNDS = 1000
STOPPING = "GRPC server is shutting down and has stopped accepting new requests."


def client_at(port: int, **options: Any) -> Any:
    return contextlib.closing(tritonclient.grpc.InferenceServerClient(f"localhost:{port}", **options))


def scores(client: Any, triton: Any) -> np.ndarray[Any, Any]:
    """Return the answer to all held-out images, in their order."""
    answers = []
    images = held_out().images
    for start in range(0, len(images), PIECE):
        piece = images[start : start + PIECE]
        given = triton.InferInput("IMAGE", piece.shape, "FP32")
        given.set_data_from_numpy(piece)
        answers.append(client.infer("digits", [given]).as_numpy("SCORES"))
    return np.concatenate(answers)


def test_the_held_out_digits_are_read_and_rest_says_the_same(example: Served) -> None:
    with client_at(example.grpc_port) as client:
        over_grpc = scores(client, tritonclient.grpc)
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{example.port}") as http_client:
        over_http = scores(http_client, tritonclient.http)

    assert len(over_grpc) == 360
    assert np.mean(over_grpc.argmax(axis=1) == held_out().labels) >= 0.95
    np.testing.assert_allclose(over_grpc, over_http, rtol=0, atol=1e-5)


def test_probes_and_reflection_are_answered(example: Served) -> None:
    with grpc.insecure_channel(f"localhost:{example.grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        services = ProtoReflectionDescriptorDatabase(channel).get_services()

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(services)


def rounds() -> list[Any]:
    given = tritonclient.grpc.InferInput("ROUNDS", [1], "INT64")
    given.set_data_from_numpy(np.array([ROUNDS]))
    return [given]


@contextlib.contextmanager
def stream_of(port: int) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Give a client with an open stream, and a function that waits for the next thing to come out of it."""
    came: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with client_at(port) as client:
        client.start_stream(lambda result, error: came.put(error or result))
        yield client, lambda: came.get(timeout=30)
        client.stop_stream()


def test_at_sigterm_what_is_in_flight_is_answered_and_open_streams_end(tmp_path: Path, served: Serve) -> None:
    write_slow_model(tmp_path / "repository")
    port = free_port()
    server = served(tmp_path / "repository", grpc_port=port)
    with stream_of(port) as (busy, of_busy), stream_of(port) as (idle, of_idle), client_at(port) as client:
        with ThreadPoolExecutor(1) as pool:
            idle.async_stream_infer("slow", rounds())
            of_idle()
            unary = pool.submit(lambda: client.infer("slow", rounds()).as_numpy("DONE").tolist())
            busy.async_stream_infer("slow", rounds(), request_id="busy")
            time.sleep(0.2)  # until both have come; nothing tells from outside

            server.process.terminate()
            answered = of_busy()

            assert unary.result(30) == [ROUNDS]
        assert answered.get_response().id == "busy"
        for ended in (of_busy(), of_idle()):
            assert (ended.status(), ended.message()) == ("StatusCode.UNAVAILABLE", STOPPING)
    assert server.process.wait(15) == 0


def test_new_inference_is_refused_while_the_old_is_drained(tmp_path: Path, served: Serve) -> None:
    write_slow_model(tmp_path / "repository")
    port = free_port()
    server = served(tmp_path / "repository", grpc_port=port)
    with client_at(port) as client, ThreadPoolExecutor(1) as pool:
        unary = pool.submit(lambda: client.infer("slow", rounds()).as_numpy("DONE").tolist())
        time.sleep(0.1)  # until it has come

        server.process.terminate()
        wait_until(lambda: not client.is_server_ready(), within_s=3, what="not ready")
        with pytest.raises(InferenceServerException, match=STOPPING):
            client.infer("slow", rounds())

        assert client.is_server_live()
        assert unary.result(30) == [ROUNDS]
    assert server.process.wait(15) == 0


def listening(pid: int) -> set[int]:
    """Return the TCP ports that a process and its children listen at."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    connections = [connection for process in family for connection in process.net_connections("tcp")]
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("off", [{"grpc_port": 0}, {"grpc_port": 18001, "allow_grpc": "false"}])
def test_grpc_may_be_turned_off(tmp_path: Path, served: Serve, off: dict[str, object]) -> None:
    server = served(copy_examples(tmp_path / "repository", "simple"), **off)  # type: ignore[arg-type]

    assert server.port in listening(server.pid)
    assert "gRPC listens" not in server.output()
    assert 18001 not in listening(server.pid)


def test_a_port_that_was_asked_for_and_is_taken_ends_the_start(tmp_path: Path, served: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        server = served(copy_examples(tmp_path / "repository", "simple"), grpc_port=port, wait=None)

        assert server.process.wait(40) == 1
    assert f"failed to start GRPC service: Unavailable - Socket '127.0.0.1:{port}' already in use" in server.output()


def test_a_default_port_that_is_taken_leaves_a_server_without_grpc_that_says_so(tmp_path: Path, served: Serve) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else has it, which is as good
            stack.enter_context(socket.create_server(("127.0.0.1", 8001)))

        server = served(copy_examples(tmp_path / "repository", "simple"), grpc_port=None)

    assert "Socket '127.0.0.1:8001' already in use ; going on without gRPC" in server.output()


def test_over_tls_the_client_knows_the_server_by_its_certificate(tmp_path: Path, served: Serve) -> None:
    authority = Authority(tmp_path / "keys")
    own = authority.sign("server")
    port = free_port()
    served(
        copy_examples(tmp_path / "repository", "simple"),
        grpc_port=port,
        grpc_use_ssl="true",
        grpc_server_cert=own.certificate,
        grpc_server_key=own.key,
    )

    with client_at(port, ssl=True, root_certificates=str(authority.root)) as client:
        assert client.is_model_ready("simple")
    stranger = Authority(tmp_path / "others", "stranger")
    with (
        client_at(port, ssl=True, root_certificates=str(stranger.root)) as client,
        pytest.raises(InferenceServerException, match=r"CERTIFICATE_VERIFY_FAILED|failed to connect"),
    ):
        client.is_server_live()
