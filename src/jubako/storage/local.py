"""Files in a folder of this machine."""

import os
import shutil
import stat as modes
from collections.abc import Iterator
from pathlib import Path

from jubako.errors import Internal, InvalidArgument, NotFound
from jubako.storage.base import FileInfo


class LocalStorage:
    """A folder of this machine, seen as a `Storage`. Links are followed: a link to a folder is a folder.

    Raises:
        InvalidArgument: `root` is no folder.
    """

    def __init__(self, root: str | Path) -> None:
        self._url = str(root)
        self._root = Path(root).absolute()
        if not self._root.is_dir():
            raise InvalidArgument(f"repository path is not a valid directory: '{root}'")

    @property
    def url(self) -> str:
        """The folder as the user wrote it."""
        return self._url

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in `folder`, in lexicographic order."""
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(_readable(entry.name) for entry in entries if entry.is_dir())
        except OSError as error:
            raise self._failure(folder, error) from error

    def files(self, folder: str) -> list[FileInfo]:
        """Return all regular files below `folder`, at any depth, in lexicographic order.

        Sockets, pipes and devices are left out, and so is a link back to a folder that holds it. A link to nothing is
        an error, since a model that needs it would fail later and in a worse place; so is a name that is not UTF-8.
        """
        try:
            return sorted(_walk(self._root / folder, "", ()), key=lambda file: file.path)
        except OSError as error:
            raise self._failure(folder, error) from error

    def stat(self, path: str) -> FileInfo | None:
        """Return one file, None where there is none."""
        try:
            found = (self._root / path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failure(path, error) from error
        return FileInfo(path, found.st_size, found.st_mtime_ns) if modes.S_ISREG(found.st_mode) else None

    def read_text(self, path: str) -> str:
        """Return a file's text, which is UTF-8."""
        try:
            return (self._root / path).read_bytes().decode()
        except OSError as error:
            raise self._failure(path, error) from error
        except UnicodeDecodeError as error:
            raise Internal(f"{path} is not UTF-8 text") from error

    def contains(self, folder: str, path: str) -> bool:
        """Say whether the file at `path` lies in `folder`, wherever links may lead."""
        return (self._root / path).resolve().is_relative_to((self._root / folder).resolve())

    def local_path(self, path: str) -> Path:
        """Return where the file is."""
        return self._root / path

    def copy_to(self, path: str, target: Path) -> None:
        """Copy a file's bytes, not its mode or times."""
        try:
            shutil.copyfile(self._root / path, target)
        except OSError as error:
            raise self._failure(path, error) from error

    def _failure(self, path: str, error: OSError) -> NotFound | Internal:
        if error.filename is not None:
            path = Path(os.path.relpath(os.fsdecode(error.filename), self._root)).as_posix()
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        kind = NotFound if missing else Internal
        return kind(f"failed to read '{path}' in the model repository: {error.strerror}")


def _readable(name: str) -> str:
    """Return `name`, changed if it is not UTF-8: then it names nothing, and whoever asks for it is told so."""
    return os.fsencode(name).decode(errors="replace")


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[FileInfo]:
    """Yield the files below `folder`. `above` are the folders on the way down to it, by device and inode."""
    here = folder.stat()
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if _readable(entry.name) != entry.name:
                raise Internal(f"the name of the file '{_readable(path)}' in the model repository is not UTF-8")
            found = entry.stat()
            if modes.S_ISDIR(found.st_mode):
                yield from _walk(folder / entry.name, f"{path}/", (*above, identity))
            elif modes.S_ISREG(found.st_mode):
                yield FileInfo(path, found.st_size, found.st_mtime_ns)
