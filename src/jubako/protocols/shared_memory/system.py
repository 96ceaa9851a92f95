"""POSIX shared memory segments, read and written by file calls.

A segment is a file in /dev/shm. Through a mapping, a page that is gone (its owner shrank the segment) or that cannot be
had (the file system is full) is SIGBUS, the end of the process; `pread` comes back short and `pwrite` says ENOSPC.
"""

import os
import stat
import weakref
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/dev/shm")
"""Where Linux keeps them. Other systems have no such folder: there, nothing is found."""


class Segment:
    """An open segment, from `start` to wherever it ends. Closed when the last reference is dropped."""

    def __init__(self, descriptor: int, start: int) -> None:
        self._descriptor = descriptor
        self._start = start
        weakref.finalize(self, os.close, descriptor).atexit = False

    @property
    def size(self) -> int:
        """Bytes there are now behind `start`; negative where the segment ends before it."""
        return os.fstat(self._descriptor).st_size - self._start

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes, or those there are."""
        position = self._start + offset
        data = os.pread(self._descriptor, size, position)
        while 0 < len(data) < size:  # the kernel gives at most 2 GiB less a page at once
            more = os.pread(self._descriptor, size - len(data), position + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data`."""
        position = self._start + offset
        while data:
            written = os.pwrite(self._descriptor, data, position)
            position += written
            data = data[written:]


def open_segment(key: str, start: int) -> Segment:
    """Open the segment that a client named `key` (`/name`, as shm_open takes it; the slash may be left out).

    Raises:
        OSError: there is none, it is not ours to write, or the key is more than the name of one.
    """
    name = key.lstrip("/")
    if not name or "/" in name or name in (".", ".."):
        raise FileNotFoundError(key)
    try:
        # what is no segment must neither be followed, nor waited for, nor inherited
        descriptor = os.open(FOLDER / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL, or what no file name can hold
        raise FileNotFoundError(key) from error
    segment = Segment(descriptor, start)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FileNotFoundError(key)
    return segment
