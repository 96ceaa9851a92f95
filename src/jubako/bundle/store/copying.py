"""Bytes and names that are on the disk when the call returns."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

PIECE = 64 << 20  # bytes per call into the kernel


def copy_file(source: Path, target: Path, size: int) -> None:
    """Write the first `size` bytes of `source` to the new file `target`, flushed to the disk.

    The kernel copies where it can (a file system with reflinks then shares the blocks until one side is written to).
    Never a hard link: editing the user's file in place would edit the copy. Of the source's mode only the right to
    execute is kept.

    Raises:
        OSError: either side failed; `target` may be there in part.
    """
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        copied = _copy_in_kernel(reader, writer, size)
        while copied < size and (piece := reader.read(min(1 << 20, size - copied))):
            _write_whole(writer, piece)
            copied += len(piece)
        if os.fstat(reader.fileno()).st_mode & 0o100:
            mode = os.fstat(writer.fileno()).st_mode & 0o777
            target.chmod(mode | (mode & 0o444) >> 2)  # whoever may read may execute
        os.fsync(writer.fileno())


def write_file(target: Path, text: str) -> None:
    """Write `text` to the new file `target`, flushed to the disk."""
    with target.open("x", encoding="utf-8") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk: a rename survives a power cut only then."""
    if os.name == "nt":  # folders cannot be opened there, and NTFS journals names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Flush the names in a folder and in all below it; the files are flushed by whoever wrote them."""
    for folder, _, _ in os.walk(root, topdown=False):
        sync_folder(Path(folder))


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it, as far as it goes: what stays is swept at a later start."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _copy_in_kernel(reader: BinaryIO, writer: BinaryIO, size: int) -> int:
    """Return how many bytes were copied; fewer than `size` where the kernel or the file system cannot do it."""
    copied = 0
    if not hasattr(os, "copy_file_range"):
        return copied
    try:
        while copied < size:
            step = os.copy_file_range(reader.fileno(), writer.fileno(), min(PIECE, size - copied))
            if step == 0:
                break
            copied += step
    except OSError:
        # Across file systems, on a network one, by an old kernel: the caller goes on from the position that both
        # files are at, and meets a real fault (no space) again by itself.
        pass
    return copied


def _write_whole(writer: BinaryIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[writer.write(view) :]
