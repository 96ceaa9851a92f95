"""GPU memory of clients: as regions, and as the driver's library is asked for it. No GPU is needed."""

import asyncio
import ctypes
import gc
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jubako.errors import AlreadyExists, Internal, InvalidArgument, NotFound
from jubako.protocols.shared_memory import Copies, Kind, Place, Regions
from jubako.protocols.shared_memory.cuda import CudaDriver
from jubako.protocols.shared_memory.memory import Bytes

from .segments import Segment, a_segment

HANDLE = bytes(range(64))


@pytest.fixture
def segment() -> Iterator[Segment]:
    with a_segment() as made:
        yield made


class FakeMemory:
    """GPU memory of another process, in this one."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.broken = False

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> Bytes:
        if self.broken:
            raise OSError("the GPU fell off the bus")
        return np.frombuffer(bytes(self.data[offset : offset + size]), np.uint8)

    def write(self, offset: int, data: memoryview) -> None:
        if self.broken:
            raise OSError("the GPU fell off the bus")
        self.data[offset : offset + len(data)] = data


class FakeDevice:
    """A machine's GPUs: one, that knows one handle."""

    def __init__(self) -> None:
        self.memory = FakeMemory(256)
        self.opened = 0

    def open(self, handle: bytes, device_id: int) -> FakeMemory:
        if (handle, device_id) != (HANDLE, 0):
            raise OSError("no such handle")
        self.opened += 1
        return self.memory


async def _with_a_gpu() -> tuple[Regions, FakeDevice]:
    device = FakeDevice()
    regions = Regions(allowed=True, device=lambda: device)
    await regions.register_cuda("g", HANDLE, 0, 128)
    return regions, device


def test_without_a_gpu_its_memory_is_refused() -> None:
    regions = Regions(allowed=True, device=lambda: None)

    with pytest.raises(InvalidArgument) as refused:
        asyncio.run(regions.register_cuda("g", HANDLE, 0, 64))

    assert str(refused.value) == "failed to register CUDA shared memory region: 'g', GPUs not supported"


def test_gpu_memory_is_read_and_written() -> None:
    regions, device = asyncio.run(_with_a_gpu())
    device.memory.data[:8] = b"from GPU"

    assert bytes(Copies(regions, 64).take("A", Place("g", 5, 3))) == b"GPU"
    regions.slot(Place("g", 100, 8)).write("O", np.array([1, 2], np.int32))

    assert device.memory.data[100:108] == struct.pack("<2i", 1, 2)
    assert [(r.name, r.device_id, r.byte_size) for r in regions.status(Kind.CUDA)] == [("g", 0, 128)]


@pytest.mark.parametrize(
    ("handle", "device_id", "size", "text"),
    [
        (bytes(64), 0, 64, "failed to register shared memory region: invalid args"),
        (HANDLE, 1, 64, "failed to register shared memory region: invalid args"),
        (HANDLE[1:], 0, 64, "failed to register shared memory region: invalid args"),
        (HANDLE, 0, 257, "failed to register shared memory region 'r': invalid args"),
        (HANDLE, 0, 0, "failed to register shared memory region 'r': invalid args"),
    ],
)
def test_gpu_memory_must_be_what_it_is_said_to_be(handle: bytes, device_id: int, size: int, text: str) -> None:
    regions, _ = asyncio.run(_with_a_gpu())

    with pytest.raises(InvalidArgument) as refused:
        asyncio.run(regions.register_cuda("r", handle, device_id, size))

    assert str(refused.value) == text


def test_both_kinds_share_one_space_of_names(segment: Segment) -> None:
    regions, _ = asyncio.run(_with_a_gpu())
    regions.register_system("s", segment.key, 0, 64)

    with pytest.raises(AlreadyExists):
        regions.register_system("g", segment.key, 0, 64)
    with pytest.raises(AlreadyExists):
        asyncio.run(regions.register_cuda("s", HANDLE, 0, 64))
    with pytest.raises(NotFound) as refused:
        regions.status(Kind.SYSTEM, "g")
    assert str(refused.value) == ("The region named 'g' is registered as CUDA shared memory, not system shared memory")
    with pytest.raises(NotFound, match=r"registered as system shared memory, not CUDA shared memory$"):
        regions.status(Kind.CUDA, "s")


def test_of_two_that_register_a_name_at_once_one_is_refused() -> None:
    device = FakeDevice()

    async def both() -> list[object]:
        regions = Regions(allowed=True, device=lambda: device)
        register = [regions.register_cuda("g", HANDLE, 0, 64) for _ in range(2)]
        return list(await asyncio.gather(*register, return_exceptions=True))

    results = asyncio.run(both())

    assert device.opened == 2
    assert {type(result) for result in results} == {type(None), AlreadyExists}


def test_memory_that_breaks_is_an_error_without_its_reasons() -> None:
    regions, device = asyncio.run(_with_a_gpu())
    device.memory.broken = True

    with pytest.raises(Internal, match=r"^Unable to read shared memory region: 'g'$"):
        regions.slot(Place("g", 0, 8)).read()
    with pytest.raises(Internal, match=r"^Unable to write shared memory region: 'g'$"):
        regions.slot(Place("g", 0, 8)).write("O", bytes(8))


# --- the driver -------------------------------------------------------------------------------------------------------


class FakeLibrary:
    """The functions of libcuda.so.1 that are asked for, over a buffer of this process in the place of a GPU.

    It answers in numbers and through pointers, and minds what CUDA minds: that a context is current where one must be.
    """

    def __init__(self) -> None:
        self.memory = ctypes.create_string_buffer(b"from the GPU", 256)
        self.begin = 64
        """The exported memory begins within an allocation."""
        self.current: list[int] = []
        self.open = 0
        self.unfinished = False

    def cuDeviceGet(self, device: Any, ordinal: Any) -> int:
        device._obj.value = ordinal.value
        return 0 if ordinal.value == 0 else 101

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        context._obj.value = 1000 + device.value
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:
        self.current.append(context.value)
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        context._obj.value = self.current.pop()
        return 0

    def cuIpcOpenMemHandle_v2(self, pointer: Any, handle: Any, flags: Any) -> int:
        assert self.current == [1000]
        assert flags.value == 1
        if bytes(handle) != HANDLE:
            return 400
        self.open += 1
        pointer._obj.value = ctypes.addressof(self.memory)
        return 0

    def cuMemGetAddressRange_v2(self, base: Any, size: Any, pointer: Any) -> int:
        base._obj.value = pointer.value - self.begin
        size._obj.value = self.begin + 256
        return 0

    def cuIpcCloseMemHandle(self, pointer: Any) -> int:
        assert self.current == [1000]
        assert pointer.value == ctypes.addressof(self.memory)
        self.open -= 1
        return 0

    def cuMemcpyDtoH_v2(self, destination: Any, source: Any, size: Any) -> int:
        assert self.current == [1000]
        ctypes.memmove(destination.value, source.value, size.value)
        return 0

    def cuMemcpyHtoD_v2(self, destination: Any, source: Any, size: Any) -> int:
        assert self.current == [1000]
        ctypes.memmove(destination.value, source.value, size.value)
        self.unfinished = True
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        assert self.current == [1000]
        self.unfinished = False
        return 0


def test_the_driver_opens_reads_writes_and_lets_go() -> None:
    library = FakeLibrary()
    memory = CudaDriver(library).open(HANDLE, 0)

    assert memory.size == 256
    assert bytes(memory.read(9, 3)) == b"GPU"
    assert len(memory.read(250, 10)) == 6
    memory.write(0, memoryview(b"into"))
    assert library.memory.raw.startswith(b"into the GPU")
    assert not library.unfinished

    del memory
    gc.collect()
    assert library.open == 0
    assert library.current == []


@pytest.mark.parametrize(("handle", "device_id"), [(bytes(64), 0), (HANDLE, 1), (HANDLE, 2**32), (HANDLE, -1)])
def test_the_driver_says_no(handle: bytes, device_id: int) -> None:
    library = FakeLibrary()

    with pytest.raises(OSError, match=r"answered|no such GPU"):
        CudaDriver(library).open(handle, device_id)

    assert library.current == []
    assert library.open == 0


def test_memory_of_which_the_size_cannot_be_known_is_let_go() -> None:
    library = FakeLibrary()
    library.cuMemGetAddressRange_v2 = lambda *_: 1  # type: ignore[method-assign]

    with pytest.raises(OSError, match="cuMemGetAddressRange_v2 answered 1"):
        CudaDriver(library).open(HANDLE, 0)

    gc.collect()
    assert library.open == 0
