"""Shared memory segments as clients make them: files in /dev/shm."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jubako.protocols.shared_memory.system import FOLDER


@dataclass(frozen=True)
class Segment:
    """A segment and its key, as shm_open takes it."""

    file: Path

    @property
    def key(self) -> str:
        return f"/{self.file.name}"

    @property
    def content(self) -> bytes:
        return self.file.read_bytes()

    @property
    def size(self) -> int:
        return self.file.stat().st_size

    def put(self, data: bytes, offset: int = 0) -> None:
        with self.file.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def shrink(self, size: int) -> None:
        os.truncate(self.file, size)


@contextmanager
def a_segment(content: bytes = bytes(4096)) -> Iterator[Segment]:
    """Make a segment that is gone at the end of the block."""
    segment = Segment(FOLDER / f"test_{uuid.uuid4().hex}")
    segment.file.write_bytes(content)
    try:
        yield segment
    finally:
        segment.file.unlink(missing_ok=True)


def descriptors_of(segment: Segment) -> int:
    """Return how many descriptors this process has of `segment`."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += os.readlink(entry).removesuffix(" (deleted)") == str(segment.file)
        except FileNotFoundError:  # the descriptor that lists the folder
            continue
    return count
