"""Where the user's files live: `open_storage` gives the storage that a repository's URL asks for."""

from jubako.errors import Unsupported
from jubako.storage.base import FileInfo, Storage
from jubako.storage.local import LocalStorage

__all__ = ["FileInfo", "LocalStorage", "Storage", "open_storage"]


def open_storage(url: str) -> Storage:
    """Return the storage at `url`: a path of this machine, the only kind there is so far.

    Raises:
        Unsupported: the URL's scheme is that of a cloud storage.
        InvalidArgument: there is no such folder.
    """
    for scheme in ("gs://", "s3://", "as://"):
        if url.startswith(scheme):
            raise Unsupported(f"{scheme} file-system not supported")
    return LocalStorage(url)
