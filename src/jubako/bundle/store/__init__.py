"""BentoML's model store as ours: model versions go in by content, once, and are served from there only."""

from jubako.bundle.store.entry import Checkpoint, Point
from jubako.bundle.store.home import Home
from jubako.bundle.store.importing import VersionFiles, import_all, import_version
from jubako.bundle.store.snapshot import entries_from_bento, read_snapshot, write_snapshot

__all__ = [
    "Checkpoint",
    "Home",
    "Point",
    "VersionFiles",
    "entries_from_bento",
    "import_all",
    "import_version",
    "read_snapshot",
    "write_snapshot",
]
