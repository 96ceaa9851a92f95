"""The server on its port: who may call, what a client that leaves takes with it, TLS, and the end."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import pytest
import tritonclient.grpc as triton
from fakes import identity, simple
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from jubako.errors import InvalidArgument, Unavailable
from jubako.protocols.access import AccessRules, Group, Key
from jubako.protocols.grpc.aio import GrpcServer
from jubako.protocols.grpc.options import CompressionLevel, Tls
from jubako.protocols.grpc.servicer import METHODS
from jubako.server import InferenceServer
from jubako.statistics import Refusal

from .certificates import Authority
from .serving import LOCAL, Served, a_request, serving, until

PATIENCE_S = 20


def stub_of(channel: Any) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, {"simple": simple(), "slow": simple(held=True)}) as served:
        yield served


@pytest.fixture
def channel(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.url) as channel:
        yield channel


# --- clients that leave -------------------------------------------------------------------------------------------


def occupy(served: Served, channel: Any) -> Any:
    """Have the slow model busy, and return the call that keeps it so."""
    call = stub_of(channel).ModelInfer.future(a_request("slow"))
    served.models["slow"].wait_until_it_runs()
    return call


def test_cancelled_requests_leave_the_queue_and_never_run(served: Served, channel: Any) -> None:
    busy = occupy(served, channel)
    calls = [stub_of(channel).ModelInfer.future(a_request("slow")) for _ in range(50)]
    served.wait_until_queued("slow", 50)

    for call in calls:
        call.cancel()
    served.wait_until_queued("slow", 0)
    served.models["slow"].release.set()

    assert busy.result(PATIENCE_S).model_name == "slow"
    assert served.models["slow"].executions == 1


def test_a_request_whose_deadline_passes_leaves_the_queue(served: Served, channel: Any) -> None:
    busy = occupy(served, channel)

    with pytest.raises(grpc.RpcError) as late:
        stub_of(channel).ModelInfer(a_request("slow"), timeout=0.2)
    served.wait_until_queued("slow", 0)
    served.models["slow"].release.set()

    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    busy.result(PATIENCE_S)
    assert served.models["slow"].executions == 1


def test_a_cancelled_stream_takes_its_requests_out_of_the_queue(served: Served, channel: Any) -> None:
    busy = occupy(served, channel)
    ended = threading.Event()

    def requests() -> Iterator[Any]:
        for number in range(50):
            yield a_request("slow", id=str(number))
        ended.wait(PATIENCE_S)

    stream = stub_of(channel).ModelStreamInfer(requests())
    served.wait_until_queued("slow", 50)

    stream.cancel()
    served.wait_until_queued("slow", 0)
    ended.set()
    served.models["slow"].release.set()

    busy.result(PATIENCE_S)
    assert served.models["slow"].executions == 1


def test_a_lost_connection_takes_its_requests_out_of_the_queue(served: Served, channel: Any) -> None:
    busy = occupy(served, channel)
    with grpc.insecure_channel(served.url, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
        calls = [stub_of(other).ModelInfer.future(a_request("slow")) for _ in range(5)]
        served.wait_until_queued("slow", len(calls))

    served.wait_until_queued("slow", 0)
    served.models["slow"].release.set()
    busy.result(PATIENCE_S)
    assert served.models["slow"].executions == 1


def test_other_calls_are_answered_while_a_model_is_busy(served: Served, channel: Any) -> None:
    busy = occupy(served, channel)

    assert stub_of(channel).ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE_S).live
    assert stub_of(channel).ModelInfer(a_request(), timeout=PATIENCE_S).model_name == "simple"
    assert not busy.done()
    served.models["slow"].release.set()
    busy.result(PATIENCE_S)


# --- streams ------------------------------------------------------------------------------------------------------


def test_many_requests_are_under_way_on_one_stream(served: Served, channel: Any) -> None:
    stream = stub_of(channel).ModelStreamInfer(iter([a_request("slow", id=str(n)) for n in range(20)]))
    served.models["slow"].wait_until_it_runs()
    served.wait_until_queued("slow", 19)

    served.models["slow"].release.set()

    assert [answer.infer_response.id for answer in stream] == [str(n) for n in range(20)]
    assert stream.code() is grpc.StatusCode.OK


def test_a_stream_ends_with_a_status_where_its_client_asked_for_that(tmp_path: Path) -> None:
    failing = identity("FP32")

    def fail(_: Any) -> Any:
        raise ValueError("no luck")

    failing.function = fail
    request = pb.ModelInferRequest(model_name="failing")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1])
    request.raw_input_contents.append(bytes(4))
    held = threading.Event()

    def requests() -> Iterator[Any]:
        yield request
        held.wait(PATIENCE_S)  # the client has not closed its side

    with serving(tmp_path, {"failing": failing}) as served, grpc.insecure_channel(served.url) as channel:
        stream = stub_of(channel).ModelStreamInfer(requests(), metadata=[("triton_grpc_error", "true")])
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        held.set()

    assert ended.value.code() is grpc.StatusCode.INTERNAL


def test_a_client_that_does_not_read_does_not_fill_the_memory(served: Served, channel: Any) -> None:
    written = 0
    blocked = threading.Event()

    def requests() -> Iterator[Any]:
        nonlocal written
        message = a_request("unknown", id="x" * 100_000)  # an answer as long as the request
        for _ in range(2000):  # 200 MB
            if blocked.is_set():
                return
            written += 1
            yield message

    stream = stub_of(channel).ModelStreamInfer(requests())
    before = -1
    pause = threading.Event()
    while before != written or not written:
        before = written
        pause.wait(1)
    blocked.set()

    assert written < 1000
    assert len(list(stream)) == written


@pytest.mark.parametrize("leaves", ["by a cancel", "with its connection"])
def test_a_client_may_leave_in_the_middle_of_its_answers(
    tmp_path: Path, leaves: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = pb.ModelInferRequest(model_name="identity")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[25_000])
    request.raw_input_contents.append(bytes(100_000))

    with serving(tmp_path, {"identity": identity("FP32")}) as served, grpc.insecure_channel(served.url) as channel:
        with grpc.insecure_channel(served.url, options=[("grpc.use_local_subchannel_pool", 1)]) as leaving:
            stream = stub_of(leaving).ModelStreamInfer(iter([request] * 100))
            next(stream)
            if leaves == "by a cancel":
                stream.cancel()
        assert stub_of(channel).ModelInfer(request, timeout=PATIENCE_S).model_name == "identity"
        until(lambda: served.waiting("identity") == 0)

    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# --- access -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*(m.path for m in METHODS), "stream", "infer"])
def test_a_restricted_call_needs_its_key(tmp_path: Path, method: str) -> None:
    paths = {"infer": "/inference.GRPCInferenceService/ModelInfer"}
    paths["stream"] = "/inference.GRPCInferenceService/ModelStreamInfer"
    rules = AccessRules({group: Key("the-key", b"secret") for group in Group})

    with serving(tmp_path, {}, access=rules) as served, grpc.insecure_channel(served.url) as channel:
        call = channel.stream_stream(paths.get(method, method))
        errors = []
        for value in (None, "wrong", "secret"):
            metadata = [] if value is None else [("triton-grpc-protocol-the-key", value)]
            try:
                list(call(iter([b""]), metadata=metadata, timeout=PATIENCE_S))
                errors.append("")
            except grpc.RpcError as error:
                errors.append(f"{error.code().name}: {error.details()}")

    refused = "UNAVAILABLE: This protocol is restricted, expecting header 'triton-grpc-protocol-the-key'"
    assert errors[:2] == [refused, refused]
    assert errors[2] != refused


def test_only_the_restricted_categories_need_a_key(tmp_path: Path) -> None:
    rules = AccessRules({Group.INFERENCE: Key("k", b"v")})
    with serving(tmp_path, {"simple": simple()}, access=rules) as served, grpc.insecure_channel(served.url) as channel:
        assert stub_of(channel).ServerLive(pb.ServerLiveRequest()).live
        answer = stub_of(channel).ModelInfer(a_request(), metadata=[("triton-grpc-protocol-k", "v")])

    assert answer.model_name == "simple"


def test_a_key_does_not_show_in_the_rules_text() -> None:
    assert "secret" not in repr(AccessRules({Group.INFERENCE: Key("k", b"secret")}))


# --- transport ----------------------------------------------------------------------------------------------------


def test_tls_is_spoken(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    own = authority.sign("server")
    options = replace(LOCAL, tls=Tls(own.certificate, own.key))

    with serving(tmp_path / "models", {"simple": simple()}, options) as served:
        url = served.url.replace("127.0.0.1", "localhost")
        with triton.InferenceServerClient(url, ssl=True, root_certificates=str(authority.root)) as client:
            assert client.is_model_ready("simple")
        plain = grpc.insecure_channel(served.url)
        with pytest.raises(grpc.RpcError), plain:
            stub_of(plain).ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE_S)


def test_mutual_tls_wants_a_certificate_of_the_authority(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "other")
    own, client, stranger = authority.sign("server"), authority.sign("client"), other.sign("stranger")
    options = replace(LOCAL, tls=Tls(own.certificate, own.key, authority.root, mutual=True))

    def live(served: Served, shown: Any) -> bool:
        pair = (shown.key.read_bytes(), shown.certificate.read_bytes()) if shown else (None, None)
        credentials = grpc.ssl_channel_credentials(authority.root.read_bytes(), *pair)
        alone = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(f"localhost:{served.front.port}", credentials, alone) as channel:
            return bool(stub_of(channel).ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE_S).live)

    with serving(tmp_path / "models", {"simple": simple()}, options) as served:
        assert live(served, client)
        for shown in (None, stranger):
            with pytest.raises(grpc.RpcError):
                live(served, shown)


def bytes_received(served: Served, request: Any, accepts: str) -> int:
    """Return how many bytes come back for `request`, counted between client and server."""
    count = 0

    def forward(source: socket.socket, target: socket.socket, counts: bool) -> None:
        nonlocal count
        try:
            while data := source.recv(65536):
                count += len(data) if counts else 0
                target.sendall(data)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = [("grpc.compression_enabled_algorithms_bitset", 0b111 if accepts == "gzip" else 1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            call = stub_of(channel).ModelInfer.future(request, timeout=PATIENCE_S)
            near, _ = listener.accept()
            with near, socket.create_connection(("127.0.0.1", served.front.port)) as far:
                threads = [
                    threading.Thread(target=forward, args=(near, far, False)),
                    threading.Thread(target=forward, args=(far, near, True)),
                ]
                for thread in threads:
                    thread.start()
                call.result(PATIENCE_S)
                for end in (near, far):
                    end.shutdown(socket.SHUT_RDWR)
                for thread in threads:
                    thread.join(PATIENCE_S)
    return count


@pytest.mark.parametrize("accepts", ["gzip", "nothing"])
@pytest.mark.parametrize("level", CompressionLevel)
def test_answers_are_compressed_as_told_for_clients_that_take_it(
    tmp_path: Path, level: CompressionLevel, accepts: str
) -> None:
    request = pb.ModelInferRequest(model_name="identity")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[100_000])
    request.raw_input_contents.append(np.zeros(100_000, np.float32).tobytes())

    with serving(tmp_path, {"identity": identity("FP32")}, replace(LOCAL, compression=level)) as served:
        size = bytes_received(served, request, accepts)

    compressed = level is not CompressionLevel.NONE and accepts == "gzip"
    assert (size < 50_000) == compressed


def test_a_message_past_the_limit_is_refused(tmp_path: Path) -> None:
    options = replace(LOCAL, max_receive_message_bytes=100)
    with serving(tmp_path, {"simple": simple()}, options) as served, grpc.insecure_channel(served.url) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            stub_of(channel).ModelInfer(a_request())
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub_of(channel).ServerLive(pb.ServerLiveRequest()).live


def test_a_port_in_use_is_a_clear_error(served: Served) -> None:
    async def start() -> None:
        async with InferenceServer() as server:
            await GrpcServer(server, replace(LOCAL, port=served.front.port)).start()

    with pytest.raises(Unavailable, match=f"Socket '{served.url}' already in use "):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("address", "certificate", "text"),
    [
        ("192.0.2.1", None, "cannot listen at '192.0.2.1:0': "),
        ("127.0.0.1", "nothing.pem", "cannot read '.*nothing.pem': No such file or directory"),
        ("127.0.0.1", "empty.pem", "are the certificates and the key in PEM, and do they fit"),
    ],
)
def test_what_cannot_be_listened_to_or_with_says_why(
    tmp_path: Path, address: str, certificate: str | None, text: str
) -> None:
    (tmp_path / "empty.pem").touch()
    tls = Tls(tmp_path / certificate, tmp_path / certificate) if certificate else None

    async def start() -> None:
        async with InferenceServer() as server:
            await GrpcServer(server, replace(LOCAL, address=address, tls=tls)).start()

    with pytest.raises(InvalidArgument, match=text):
        asyncio.run(start())


def test_a_request_that_cannot_be_read_is_counted_as_refused(served: Served) -> None:
    def refused() -> int:
        return int(served.in_loop(lambda: served.server.runner("simple").statistics.refusals[Refusal.INVALID]))

    before = refused()
    request = a_request()
    request.raw_input_contents.pop()

    with grpc.insecure_channel(served.url) as channel, pytest.raises(grpc.RpcError):
        stub_of(channel).ModelInfer(request)

    assert refused() == before + 1


# --- health and reflection ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "whatever"])
def test_health_is_the_servers_readiness(served: Served, channel: Any, service: str) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)

    assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
    served.in_loop(served.server.stop_accepting)
    assert health.Check(request).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_watching_health_is_not_done(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        next(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()))

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_shows_the_services_and_their_methods(channel: Any) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)

    services = set(database.get_services())
    inference = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")

    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services
    assert {"ModelInfer", "ModelStreamInfer"} <= {method.name for method in inference.methods}


def test_every_method_of_the_service_is_answered(channel: Any) -> None:
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

    for method in service.methods:
        call = channel.stream_stream(f"/{service.full_name}/{method.name}")(iter([b""]), timeout=PATIENCE_S)
        with contextlib.suppress(grpc.RpcError):
            list(call)

        assert call.details() != "Method not found!"


# --- the end ------------------------------------------------------------------------------------------------------


def test_a_stopping_server_refuses_inference_and_is_still_live(served: Served, channel: Any) -> None:
    served.in_loop(served.server.stop_accepting)

    with pytest.raises(grpc.RpcError) as refused:
        stub_of(channel).ModelInfer(a_request())

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "GRPC server is shutting down and has stopped accepting new requests."
    assert stub_of(channel).ServerLive(pb.ServerLiveRequest()).live
    assert not stub_of(channel).ServerReady(pb.ServerReadyRequest()).ready


def test_what_is_under_way_is_answered_before_the_end(served: Served, channel: Any) -> None:
    busy = occupy(served, channel)
    held = threading.Event()

    def requests() -> Iterator[Any]:
        yield a_request("slow", id="streamed")
        held.wait(PATIENCE_S)

    stream = stub_of(channel).ModelStreamInfer(requests())
    served.wait_until_queued("slow", 1)

    served.begin_to_stop(grace_s=PATIENCE_S)
    served.models["slow"].release.set()

    assert busy.result(PATIENCE_S).model_name == "slow"
    assert next(stream).infer_response.id == "streamed"
    with pytest.raises(grpc.RpcError) as ended:
        next(stream)
    held.set()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert ended.value.details() == "GRPC server is shutting down and has stopped accepting new requests."


def test_what_lasts_longer_than_the_grace_is_cut_off(served: Served, channel: Any) -> None:
    busy = occupy(served, channel)

    served.begin_to_stop(grace_s=0.1)

    with pytest.raises(grpc.RpcError):
        busy.result(PATIENCE_S)
    served.models["slow"].release.set()
    until(lambda: served.waiting("slow") == 0)


# --- messages that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [method.path for method in METHODS if method.request.DESCRIPTOR.fields])
def test_a_message_that_cannot_be_read_is_refused(channel: Any, path: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(path)(b"\xff\xff", timeout=PATIENCE_S)

    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert raised.value.details() == "Unable to parse request"
