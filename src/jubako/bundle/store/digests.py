"""SHA-256 of files, remembered by their stat: an unchanged file is not read a second time.

A remembered digest holds while path, size, inode and both times stay the same. The change time (ctime) is among them
because a tool can restore a modification time, and cannot restore that one.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

RACY_NS = 2_000_000_000  # FAT keeps times in steps of 2 s, the coarsest we may meet
LONGEST_MEMORY = 100_000  # files; the ones used longest ago are forgotten first


class FileChanged(Exception):
    """A file was written to while it was read. Its only argument is the path."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file's stat says about its content."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """The stamp in a stat result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def stamp(path: Path) -> Stamp:
    """Return the stamp of the file at `path`, behind any symbolic link.

    Raises:
        OSError: there is none, or it is not a regular file (a pipe would hang whoever reads it).
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "not a regular file", str(path))
    return Stamp.of(status)


def sha256(path: Path) -> str:
    """Return the digest of a file's bytes, read now.

    Raises:
        FileChanged: it was written to meanwhile, as far as its stat tells.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        before = Stamp.of(os.fstat(file.fileno()))
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if Stamp.of(os.fstat(file.fileno())) != before:
            raise FileChanged(path)
    return digest


class Digests:
    """The digest cache, in memory; `read` and `save` are its file.

    One thread at a time. A file younger than 2 s at its stat is not remembered: a write in the same clock tick
    would leave no trace.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._changed = False

    def read(self, file: Path) -> None:
        """Take over what `file` remembers; what is known already wins. A missing, torn or foreign file is ignored."""
        self._known = _parse(file) | self._known

    def save(self, file: Path) -> None:
        """Replace `file`, if there is news. Never fails: a lost cache costs time, nothing else.

        For whoever holds the import lock: the name of the file in the making is fixed.
        """
        if not self._changed:
            return
        latest = list(self._known.items())[-LONGEST_MEMORY:]
        body = json.dumps(
            {path: [seen.size, seen.mtime_ns, seen.ctime_ns, seen.inode, digest] for path, (seen, digest) in latest}
        ).encode()
        with suppress(OSError):
            making = file.with_suffix(".new")
            making.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            making.replace(file)
            self._changed = False

    def of(self, path: Path) -> tuple[Stamp, str]:
        """Return the stamp and digest of a file, from memory if it is unchanged.

        Raises:
            FileChanged: it was written to while it was read.
            OSError: it cannot be read.
        """
        now_ns = self._now_ns()
        seen = stamp(path)
        digest = self.known(path, seen)
        if digest is None:
            digest = sha256(path)
            if stamp(path) != seen:
                raise FileChanged(path)
            if max(seen.mtime_ns, seen.ctime_ns) + RACY_NS <= now_ns:
                self.trust(path, seen, digest)
        return seen, digest

    def known(self, path: Path, seen: Stamp) -> str | None:
        """Return the remembered digest of the file with this stamp; None if it must be read."""
        key = _key(path)
        remembered = self._known.pop(key, None)
        if remembered is None:
            return None
        self._known[key] = remembered  # back at the end: in use
        return remembered[1] if remembered[0] == seen else None

    def trust(self, path: Path, seen: Stamp, digest: str) -> None:
        """Remember a digest that the caller knows to be right, however young the file is."""
        self._known[_key(path)] = (seen, digest)
        self._changed = True

    def forget(self, path: Path) -> None:
        """Read the file at the next `of`."""
        self._changed |= self._known.pop(_key(path), None) is not None


def _key(path: Path) -> str:
    return os.path.abspath(path)  # not resolved: the stat behind a moved link differs anyway


def _parse(file: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        checksum, _, body = file.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return {}
        return {path: (Stamp(*times), digest) for path, (*times, digest) in json.loads(body).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
