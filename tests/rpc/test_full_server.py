"""A server that has as much to do as it may, over gRPC."""

from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
from fakes import simple
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from .serving import a_request, serving


def test_what_the_whole_server_has_no_room_for_is_refused_and_health_is_not(tmp_path: Path) -> None:
    models = {"simple": simple(), "slow": simple(held=True)}
    with serving(tmp_path, models) as served, grpc.insecure_channel(served.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        served.server.options.load.runner.in_flight.max_requests = 1
        running = stub.ModelInfer.future(a_request("slow"))
        served.models["slow"].wait_until_it_runs()

        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(a_request("simple"))

        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "Exceeds maximum number of requests in flight (1)" in refused.value.details()
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        served.models["slow"].release.set()
        running.result()
