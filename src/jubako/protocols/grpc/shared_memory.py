"""Shared memory's RPCs: what a client registers, and what it is told of that (http.md section 6). No gRPC machinery."""

from tritonclient.grpc import service_pb2 as pb

from jubako.errors import InvalidArgument
from jubako.protocols.shared_memory import Kind, Regions


async def system_status(
    regions: Regions, request: pb.SystemSharedMemoryStatusRequest
) -> pb.SystemSharedMemoryStatusResponse:
    """Tell of one region, or of all."""
    response = pb.SystemSharedMemoryStatusResponse()
    for region in regions.status(Kind.SYSTEM, request.name):
        told = response.regions[region.name]
        told.name, told.key = region.name, region.key
        told.offset, told.byte_size = region.offset, region.byte_size
    return response


async def system_register(
    regions: Regions, request: pb.SystemSharedMemoryRegisterRequest
) -> pb.SystemSharedMemoryRegisterResponse:
    """Register a segment."""
    _check_name(regions, request.name, Kind.SYSTEM)
    regions.register_system(request.name, request.key, request.offset, request.byte_size)
    return pb.SystemSharedMemoryRegisterResponse()


async def system_unregister(
    regions: Regions, request: pb.SystemSharedMemoryUnregisterRequest
) -> pb.SystemSharedMemoryUnregisterResponse:
    """Forget one region, or all."""
    regions.unregister(Kind.SYSTEM, request.name)
    return pb.SystemSharedMemoryUnregisterResponse()


async def cuda_status(regions: Regions, request: pb.CudaSharedMemoryStatusRequest) -> pb.CudaSharedMemoryStatusResponse:
    """Tell of one region, or of all."""
    response = pb.CudaSharedMemoryStatusResponse()
    for region in regions.status(Kind.CUDA, request.name):
        told = response.regions[region.name]
        told.name, told.device_id, told.byte_size = region.name, region.device_id, region.byte_size
    return response


async def cuda_register(
    regions: Regions, request: pb.CudaSharedMemoryRegisterRequest
) -> pb.CudaSharedMemoryRegisterResponse:
    """Register exported GPU memory."""
    _check_name(regions, request.name, Kind.CUDA)
    await regions.register_cuda(request.name, request.raw_handle, request.device_id, request.byte_size)
    return pb.CudaSharedMemoryRegisterResponse()


async def cuda_unregister(
    regions: Regions, request: pb.CudaSharedMemoryUnregisterRequest
) -> pb.CudaSharedMemoryUnregisterResponse:
    """Forget one region, or all."""
    regions.unregister(Kind.CUDA, request.name)
    return pb.CudaSharedMemoryUnregisterResponse()


def _check_name(regions: Regions, name: str, kind: Kind) -> None:
    """Refuse the empty name: it stands for all regions elsewhere."""
    regions.check_allowed()
    if not name:
        raise InvalidArgument(f"'region name' is necessary to register {kind.word} shared memory region")
