"""What a region needs of the memory under it, wherever that is."""

from typing import Protocol

from jubako.tensor import Array

Bytes = bytes | Array
"""Bytes: themselves, or a flat array of `uint8`."""


class Memory(Protocol):
    """Memory that another process owns. It is let go when the last reference to it is dropped."""

    @property
    def size(self) -> int:
        """Bytes there are now: the owner may have taken some away."""

    def read(self, offset: int, size: int) -> Bytes:
        """Return a copy of `size` bytes; of fewer where there are no more.

        Raises:
            OSError: they cannot be read.
        """

    def write(self, offset: int, data: memoryview) -> None:
        """Write `data`, flat bytes, so that its owner sees all of it when this returns.

        Raises:
            OSError: it cannot be written.
        """


class Device(Protocol):
    """What opens the memory that other processes have allocated on GPUs."""

    def open(self, handle: bytes, device_id: int) -> Memory:
        """Return the memory behind an exported handle of 64 bytes.

        Raises:
            OSError: no such GPU, or the handle is none of its.
        """
