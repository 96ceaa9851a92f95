"""Which memory clients have registered under which names, and tensors in it (http.md section 6).

System and CUDA regions share one space of names. Everything here is called in the loop's thread. The words are
Triton's, and say no more than what the client itself has sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from jubako.errors import AlreadyExists, Internal, InvalidArgument, JubakoError, NotFound, Unavailable, Unsupported
from jubako.protocols.shared_memory.cuda import HANDLE_SIZE, find_device
from jubako.protocols.shared_memory.memory import Bytes, Device, Memory
from jubako.protocols.shared_memory.system import open_segment
from jubako.tensor import Array

DISABLED: Final = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
RESERVED_PREFIX: Final = "triton_python_backend_shm_region_"
MAX_REGIONS: Final = 512
"""At once. A system region holds a descriptor, of which a process often has but 1024."""
MAX_SIZE: Final = 2**64 - 1


class Kind(Enum):
    """Where memory lies, as Triton writes it in a sentence and in a title."""

    SYSTEM = ("system", "system")
    CUDA = ("cuda", "CUDA")

    def __init__(self, word: str, title: str) -> None:
        self.word = word
        self.title = title


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request says that a tensor lies."""

    region: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Memory under a name. Whoever holds it can use it, unregistered or not."""

    name: str
    kind: Kind
    memory: Memory = field(repr=False)
    byte_size: int
    key: str = ""
    """Of a system region; a CUDA region has a `device_id`."""
    offset: int = 0
    device_id: int = 0


@dataclass(slots=True, eq=False)  # not frozen: that would triple the time to make one, four times a request
class Slot:
    """A part of a region, found to lie in it; the region is kept until the slot is dropped. Never changed."""

    region: Region
    offset: int
    size: int

    def read(self) -> Bytes:
        """Return a copy of what is there now.

        Raises:
            InvalidArgument: the memory is no longer as large as the region that was registered.
            Internal: it cannot be read.
        """
        try:
            data = self.region.memory.read(self.offset, self.size)
        except OSError as error:
            raise Internal(f"Unable to read shared memory region: '{self.region.name}'") from error
        if len(data) != self.size:
            raise _outside(self.region.name)
        return data

    def write(self, output: str, data: bytes | bytearray | Array) -> None:
        """Write the tensor `output`, contiguous, to the beginning of the slot.

        Raises:
            InvalidArgument: the memory is no longer as large as the region that was registered.
            Internal: the slot is too small for it, or it cannot be written.
        """
        flat = data.reshape(-1).view(np.uint8).data if isinstance(data, np.ndarray) else memoryview(data)
        if len(flat) > self.size:
            raise Internal(
                f"shared memory size specified with the request for output '{output}' ({self.size} bytes) should be at "
                f"least {len(flat)} bytes to hold the results"
            )
        memory = self.region.memory
        try:
            if self.offset + len(flat) > memory.size:  # written to, a segment that was cut short would grow again
                raise _outside(self.region.name)
            memory.write(self.offset, flat)
        except OSError as error:
            raise Internal(f"Unable to write shared memory region: '{self.region.name}'") from error


class Regions:
    """What clients have registered. Unless `allowed`, that is nothing, and stays so."""

    def __init__(self, *, allowed: bool = False, device: Callable[[], Device | None] = find_device) -> None:
        self.allowed = allowed
        self._find_device = device
        self._device: Device | None = None
        self._regions: dict[str, Region] = {}

    # --- tensors --------------------------------------------------------------------------------------------------

    def slot(self, place: Place) -> Slot:
        """Return the part of a region that a request names.

        Raises:
            NotFound: no such region.
            InvalidArgument: the place is not in it.
        """
        region = self._regions.get(place.region)
        if region is None:
            raise NotFound(f"Unable to find shared memory region: '{place.region}'")
        if not 0 <= place.offset < region.byte_size or not 0 <= place.size <= region.byte_size - place.offset:
            raise _misplaced(place, region)
        return Slot(region, place.offset, place.size)

    # --- registration ---------------------------------------------------------------------------------------------

    def check_allowed(self) -> None:
        """Refuse what changes the registered regions, unless the server was told to allow it.

        Raises:
            Unsupported: it was not.
        """
        if not self.allowed:
            raise Unsupported(DISABLED)

    def register_system(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Take `byte_size` bytes from `offset` on, which may be any, of the segment `key`.

        Raises:
            Unsupported: clients may not.
            AlreadyExists: the name is taken.
            InvalidArgument: a reserved key, or more bytes than the segment has.
            Internal: there is no such segment, or it is not the server's to use.
            Unavailable: there are too many regions.
        """
        self.check_allowed()
        _check_key(name, key)
        self._check_free(name)
        try:
            memory = open_segment(key, offset)
        except OSError as error:
            raise Internal(f"Unable to open shared memory region: '{key}'") from error
        self._add(Region(name, Kind.SYSTEM, memory, byte_size, key=key, offset=offset))

    async def register_cuda(self, name: str, handle: bytes, device_id: int, byte_size: int) -> None:
        """Take `byte_size` bytes of the GPU memory that a client has exported as `handle`.

        Raises:
            Unsupported: clients may not.
            AlreadyExists: the name is taken.
            InvalidArgument: there is no GPU, the handle is none of its, or the memory has fewer bytes.
            Unavailable: there are too many regions.
        """
        self.check_allowed()
        self._check_free(name)
        self._device = self._device or await asyncio.to_thread(self._find_device)
        if self._device is None:
            raise InvalidArgument(f"failed to register CUDA shared memory region: '{name}', GPUs not supported")
        if len(handle) != HANDLE_SIZE:
            raise InvalidArgument("failed to register shared memory region: invalid args")
        try:
            memory = await asyncio.to_thread(self._device.open, handle, device_id)
        except OSError as error:
            raise InvalidArgument("failed to register shared memory region: invalid args") from error
        self._check_free(name)  # another may have come first meanwhile
        self._add(Region(name, Kind.CUDA, memory, byte_size, device_id=device_id))

    def _check_free(self, name: str) -> None:
        if name in self._regions:
            raise AlreadyExists(f"shared memory region '{name}' already in manager")
        if len(self._regions) >= MAX_REGIONS:
            raise Unavailable(f"no more than {MAX_REGIONS} shared memory regions can be registered at once")

    def _add(self, region: Region) -> None:
        if not 0 < region.byte_size <= region.memory.size:
            raise InvalidArgument(f"failed to register shared memory region '{region.name}': invalid args")
        self._regions[region.name] = region

    def unregister(self, kind: Kind, name: str = "") -> None:
        """Forget the region `name`, or without a name all of `kind`; requests that use one still end as they began.

        Raises:
            Unsupported: clients may not.
        """
        self.check_allowed()
        self._regions = {
            known: region
            for known, region in self._regions.items()
            if region.kind is not kind or (name and known != name)
        }

    def status(self, kind: Kind, name: str = "") -> list[Region]:
        """Return the region `name`, or without a name all of `kind`, sorted by name.

        Raises:
            NotFound: no such region, or it is of the other kind.
        """
        if not name:
            return sorted((r for r in self._regions.values() if r.kind is kind), key=lambda region: region.name)
        region = self._regions.get(name)
        if region is None:
            raise NotFound(f"Unable to find {kind.word} shared memory region: '{name}'")
        if region.kind is not kind:
            raise NotFound(
                f"The region named '{name}' is registered as {region.kind.title} shared memory, not {kind.title} "
                "shared memory"
            )
        return [region]


NO_REGIONS: Final = Regions()
"""For servers that share no memory."""


def _misplaced(place: Place, region: Region) -> JubakoError:
    if not 0 <= place.offset < region.byte_size:
        return InvalidArgument(f"Invalid offset for shared memory region: '{place.region}'")
    if place.offset + place.size > MAX_SIZE:
        return InvalidArgument(
            f"Integer overflow detected: byte_size ({place.size}) + offset ({place.offset}) exceeds maximum value "
            f"({MAX_SIZE}) for region '{place.region}'"
        )
    return _outside(place.region)


def _outside(name: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid offset + byte size for shared memory region: '{name}'")


def _check_key(name: str, key: str) -> None:
    bare = key.lstrip("/")
    if not bare:
        raise InvalidArgument(f"cannot register shared memory region '{name}' - invalid shm key '{key}'")
    if bare.startswith(RESERVED_PREFIX):
        raise InvalidArgument(
            f"cannot register shared memory region '{name}' with key '{key}' as the key contains the reserved prefix "
            f"'{RESERVED_PREFIX}'"
        )
