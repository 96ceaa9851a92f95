"""Every RPC that there is without its key and with it; metadata that become parameters; what a cancel is counted as."""

from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from fakes import FakeModel, simple
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from jubako.protocols.access import AccessRules, Group, Key
from jubako.protocols.forwarding import Forwarding
from jubako.request import InferRequest
from jubako.statistics import Failure

from .serving import Served, a_request, serving, until

PATIENCE_S = 20
PREFIX = "triton-grpc-protocol-"
SERVICES = (
    pb.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
)
UNSERVED = {"/grpc.health.v1.Health/Watch"}
"""Triton has no answer to it either."""
RPCS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]


def stub_of(channel: Any) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


def outcome(channel: Any, path: str, *metadata: tuple[str, str]) -> str:
    """Return the status of a call with an empty message; the message too where it is a refusal."""
    try:
        list(channel.stream_stream(path)(iter([b""]), metadata=metadata, timeout=PATIENCE_S))
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"


def test_every_rpc_of_every_service_needs_the_key(tmp_path: Path) -> None:
    rules = AccessRules({group: Key("The-Key", b"secret") for group in Group})
    refused = f"UNAVAILABLE: This protocol is restricted, expecting header '{PREFIX}The-Key'"
    name = f"{PREFIX}the-key"

    with (
        serving(tmp_path / "a", {}, access=rules) as closed,
        serving(tmp_path / "b", {}) as open_,
        grpc.insecure_channel(closed.url) as channel,
        grpc.insecure_channel(open_.url) as free,
    ):
        assert len(RPCS) >= 23
        for path in RPCS:
            if path in UNSERVED:
                assert outcome(channel, path).startswith("UNIMPLEMENTED")
                continue
            assert outcome(channel, path) == refused, f"{path} is in no category"
            for wrong in (
                [(name, "wrong")],
                [(name, "")],
                [("the-key", "secret")],
                [(name, "secret"), (name, "wrong")],
                [(name, "wrong"), (name, "secret")],
            ):
                assert outcome(channel, path, *wrong) == refused, path
            assert outcome(channel, path, (name, "secret")) == outcome(free, path), path


def test_no_spelling_of_a_method_is_answered_without_the_key(tmp_path: Path) -> None:
    rules = AccessRules({group: Key("k", b"v") for group in Group})
    infer = "/inference.GRPCInferenceService/ModelInfer"
    with serving(tmp_path, {}, access=rules) as served, grpc.insecure_channel(served.url) as channel:
        for path in (infer.lower(), f"/{infer}", f"{infer}/", infer[1:], infer.replace("M", "%4d"), f"{infer}?x"):
            assert not outcome(channel, path).startswith("OK")


@pytest.mark.parametrize("group", Group)
def test_a_key_of_one_category_closes_that_one_alone(tmp_path: Path, group: Group) -> None:
    categories = {
        "ServerLive": Group.HEALTH,
        "ServerReady": Group.HEALTH,
        "ModelReady": Group.HEALTH,
        "ServerMetadata": Group.METADATA,
        "ModelMetadata": Group.METADATA,
        "ModelInfer": Group.INFERENCE,
        "ModelStreamInfer": Group.INFERENCE,
        "ModelConfig": Group.MODEL_CONFIG,
        "ModelStatistics": Group.STATISTICS,
        "RepositoryIndex": Group.MODEL_REPOSITORY,
        "RepositoryModelLoad": Group.MODEL_REPOSITORY,
        "RepositoryModelUnload": Group.MODEL_REPOSITORY,
        "SystemSharedMemoryStatus": Group.SHARED_MEMORY,
        "SystemSharedMemoryRegister": Group.SHARED_MEMORY,
        "SystemSharedMemoryUnregister": Group.SHARED_MEMORY,
        "CudaSharedMemoryStatus": Group.SHARED_MEMORY,
        "CudaSharedMemoryRegister": Group.SHARED_MEMORY,
        "CudaSharedMemoryUnregister": Group.SHARED_MEMORY,
        "TraceSetting": Group.TRACE,
        "LogSettings": Group.LOGGING,
        "Check": Group.HEALTH,
        "ServerReflectionInfo": Group.METADATA,
    }
    rules = AccessRules({group: Key("k", b"v")})
    with serving(tmp_path, {}, access=rules) as served, grpc.insecure_channel(served.url) as channel:
        for path in sorted(set(RPCS) - UNSERVED):
            closed = "This protocol is restricted" in outcome(channel, path)
            assert closed == (categories[path.rpartition("/")[2]] is group), path


# --- metadata as parameters -------------------------------------------------------------------------------------------


def noted(served: Served, model: str) -> list[dict[str, Any]]:
    """Return a list that will have the parameters of the model's requests."""
    parameters: list[dict[str, Any]] = []
    runner = served.in_loop(lambda: served.server.runner(model))
    submit = runner.submit

    def note(request: InferRequest, reply: Any) -> Any:
        parameters.append(dict(request.signature.parameters))
        return submit(request, reply)

    runner.submit = note
    return parameters


def test_metadata_that_match_become_parameters_and_win_over_the_messages(tmp_path: Path) -> None:
    metadata = [("x-user", "ann"), ("x-user", "bob"), ("x-tenant-bin", b"\x00"), ("other", "no")]
    request = a_request()
    request.parameters["x-user"].string_param = "eve"
    request.parameters["mine"].int64_param = 3
    with serving(tmp_path, {"simple": simple()}, forwarding=Forwarding("^x-")) as served:
        parameters = noted(served, "simple")
        with grpc.insecure_channel(served.url) as channel:
            stub_of(channel).ModelInfer(request, metadata=metadata)
            stub_of(channel).ModelInfer(request)
            list(stub_of(channel).ModelStreamInfer(iter([request, request]), metadata=metadata))

    own = {"x-user": "eve", "mine": 3}
    forwarded = {"x-user": "ann, bob", "mine": 3}
    assert parameters == [forwarded, own, forwarded, forwarded]


def test_reserved_metadata_are_refused(tmp_path: Path) -> None:
    text = "Header 'timeout' is reserved for Triton usage and cannot be forwarded."
    with (
        serving(tmp_path, {"simple": simple()}, forwarding=Forwarding("time")) as served,
        grpc.insecure_channel(served.url) as channel,
    ):
        with pytest.raises(grpc.RpcError) as refused:
            stub_of(channel).ModelInfer(a_request(), metadata=[("timeout", "1")])
        (answer,) = stub_of(channel).ModelStreamInfer(iter([a_request()]), metadata=[("timeout", "1")])

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == text
    assert answer.error_message == text


# --- cancelled --------------------------------------------------------------------------------------------------------


def failures(served: Served, reason: Failure) -> int:
    counted = served.in_loop(lambda: served.server.statistics("slow"))
    return int(counted[0].statistics.failures[reason])


def test_fifty_cancelled_requests_free_the_queue_and_are_counted_as_cancelled(tmp_path: Path) -> None:
    slow: FakeModel = simple(held=True, more="dynamic_batching { default_queue_policy { max_queue_size: 50 } }")
    with serving(tmp_path, {"slow": slow}) as served, grpc.insecure_channel(served.url) as channel:
        infer = stub_of(channel).ModelInfer
        busy = infer.future(a_request("slow"))
        slow.wait_until_it_runs()
        calls = [infer.future(a_request("slow")) for _ in range(50)]
        served.wait_until_queued("slow", 50)
        with pytest.raises(grpc.RpcError, match="Exceeds maximum queue size"):
            infer(a_request("slow"))

        for call in calls:
            call.cancel()
        busy.cancel()
        served.wait_until_queued("slow", 0)
        assert failures(served, Failure.CANCELED) == 50
        later = [infer.future(a_request("slow")) for _ in range(50)]  # the queue has room for all of them
        served.wait_until_queued("slow", 50)
        slow.release.set()

        assert all(call.result(PATIENCE_S).model_name == "slow" for call in later)
        until(lambda: failures(served, Failure.CANCELED) == 51)  # with the one that ran
        assert sum(failures(served, reason) for reason in Failure) == 51
