"""Where a repository's files live, as far as the scan and the import into the store need to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file, and what tells whether it has changed."""

    path: str
    """Relative to the folder that was asked about, with `/` between the parts."""
    size: int
    mtime_ns: int
    """Modification time in nanoseconds since 1970; 0 where the storage keeps none."""


class Storage(Protocol):
    """A tree of files. Paths are relative to its root, with `/` between the parts; "" is the root itself.

    Every method may block, and raises `NotFound` where a path that it needs is missing, `Internal` where the storage
    fails; both name the path relative to the root.
    """

    @property
    def url(self) -> str:
        """The root as the user wrote it."""

    def folders(self, folder: str) -> Sequence[str]:
        """Return the names of the folders in `folder`, in lexicographic order."""

    def files(self, folder: str) -> Sequence[FileInfo]:
        """Return all files below `folder`, at any depth, in lexicographic order; their paths are relative to it."""

    def stat(self, path: str) -> FileInfo | None:
        """Return one file, None where there is none; its path is `path`."""

    def read_text(self, path: str) -> str:
        """Return a file's text, which is UTF-8."""

    def contains(self, folder: str, path: str) -> bool:
        """Say whether the file at `path` lies in `folder`, wherever links may lead."""

    def local_path(self, path: str) -> Path | None:
        """Return where the file can be read on this machine, None where it must be copied first. Never written to."""

    def copy_to(self, path: str, target: Path) -> None:
        """Copy the file at `path` to `target`, which does not exist; its folder does."""
