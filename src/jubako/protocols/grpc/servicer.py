"""The control plane's RPCs: message in, message out, errors as JubakoError. No gRPC machinery.

`METHODS` is the table of all of them but shared memory's, which `shared_memory_methods` has; inference has modules of
its own.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2 as pb

from jubako.errors import InvalidArgument, NotFound, Unavailable, Unsupported
from jubako.protocols.access import Group
from jubako.protocols.grpc import documents, shared_memory
from jubako.protocols.shared_memory import Regions
from jubako.server import InferenceServer, parse_version

SERVICE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
_NO_CONTROL: Final = "explicit model load / unload is not allowed if polling is enabled"


async def _server_live(server: InferenceServer, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
    return pb.ServerLiveResponse(live=server.live)


async def _server_ready(server: InferenceServer, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
    return pb.ServerReadyResponse(ready=server.ready)


async def _model_ready(server: InferenceServer, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
    """A model that is not there is not ready: clients ask this way after an unload (grpc.md section 2.1)."""
    version = parse_version(request.version)
    try:
        return pb.ModelReadyResponse(ready=server.model_ready(request.name, version))
    except (NotFound, Unavailable):
        return pb.ModelReadyResponse(ready=False)


async def _health_check(server: InferenceServer, _: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
    """Whichever service is asked for, it is the server's readiness."""
    serving = health_pb2.HealthCheckResponse.SERVING
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    return health_pb2.HealthCheckResponse(status=serving if server.ready else not_serving)


async def _server_metadata(server: InferenceServer, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
    name, version, extensions = server.metadata()
    return pb.ServerMetadataResponse(name=name, version=version, extensions=extensions)


async def _model_metadata(server: InferenceServer, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
    return documents.model_metadata(server.model_metadata(request.name, parse_version(request.version)))


async def _model_config(server: InferenceServer, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
    return pb.ModelConfigResponse(config=server.model_config(request.name, parse_version(request.version)))


async def _model_statistics(server: InferenceServer, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
    return documents.statistics(server.statistics(request.name, parse_version(request.version)))


async def _repository_index(server: InferenceServer, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
    _check_repository(request.repository_name)
    return documents.index(server.index(request.ready))


async def _repository_model_load(
    server: InferenceServer, request: pb.RepositoryModelLoadRequest
) -> pb.RepositoryModelLoadResponse:
    _check_repository(request.repository_name)
    check_load_parameters(request.parameters)
    raise Unavailable(_NO_CONTROL)


async def _repository_model_unload(
    server: InferenceServer, request: pb.RepositoryModelUnloadRequest
) -> pb.RepositoryModelUnloadResponse:
    _check_repository(request.repository_name)
    check_unload_parameters(request.parameters)
    raise Unavailable(_NO_CONTROL)


def _check_repository(name: str) -> None:
    if name:
        raise Unsupported("'repository_name' specification is not supported")


def check_load_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse what a load must not ask for (grpc.md section 5).

    Raises:
        InvalidArgument: an unknown parameter, or one of another type.
    """
    for key, parameter in parameters.items():
        kind = "string_param" if key == "config" else "bytes_param" if key.startswith("file:") else None
        if kind is None:
            raise InvalidArgument(f"unrecognized load parameter '{key}'.")
        if parameter.WhichOneof("parameter_choice") != kind:
            raise InvalidArgument(f"invalid value type for load parameter '{key}', expected {kind}.")


def check_unload_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse what an unload must not ask for.

    Raises:
        InvalidArgument: `unload_dependents` is no boolean.
    """
    key = "unload_dependents"
    if key in parameters and parameters[key].WhichOneof("parameter_choice") != "bool_param":
        raise InvalidArgument(f"invalid value type for '{key}' parameter, expected bool_param.")


@dataclass(frozen=True, slots=True)
class Method:
    """One unary RPC: its category, the message it takes, and what answers it."""

    path: str
    group: Group
    request: type[Message]
    answer: Callable[[InferenceServer, Any], Awaitable[Message]]


def _method(name: str, group: Group, answer: Callable[[InferenceServer, Any], Awaitable[Message]]) -> Method:
    return Method(f"/{SERVICE}/{name}", group, getattr(pb, f"{name}Request"), answer)


METHODS: Final = (
    _method("ServerLive", Group.HEALTH, _server_live),
    _method("ServerReady", Group.HEALTH, _server_ready),
    _method("ModelReady", Group.HEALTH, _model_ready),
    _method("ServerMetadata", Group.METADATA, _server_metadata),
    _method("ModelMetadata", Group.METADATA, _model_metadata),
    _method("ModelConfig", Group.MODEL_CONFIG, _model_config),
    _method("ModelStatistics", Group.STATISTICS, _model_statistics),
    _method("RepositoryIndex", Group.MODEL_REPOSITORY, _repository_index),
    _method("RepositoryModelLoad", Group.MODEL_REPOSITORY, _repository_model_load),
    _method("RepositoryModelUnload", Group.MODEL_REPOSITORY, _repository_model_unload),
    Method(f"/{HEALTH}/Check", Group.HEALTH, health_pb2.HealthCheckRequest, _health_check),
)


def shared_memory_methods(regions: Regions) -> list[Method]:
    """Return the RPCs of `regions`."""
    answers: Mapping[str, Callable[[Regions, Any], Awaitable[Message]]] = {
        "SystemSharedMemoryStatus": shared_memory.system_status,
        "SystemSharedMemoryRegister": shared_memory.system_register,
        "SystemSharedMemoryUnregister": shared_memory.system_unregister,
        "CudaSharedMemoryStatus": shared_memory.cuda_status,
        "CudaSharedMemoryRegister": shared_memory.cuda_register,
        "CudaSharedMemoryUnregister": shared_memory.cuda_unregister,
    }

    def over_regions(
        answer: Callable[[Regions, Any], Awaitable[Message]],
    ) -> Callable[[InferenceServer, Any], Awaitable[Message]]:
        return lambda _, request: answer(regions, request)

    return [_method(name, Group.SHARED_MEMORY, over_regions(answer)) for name, answer in answers.items()]
