"""BentoML's `latest`: the file beside a name's entries that holds the version of the newest one."""

import re
from datetime import datetime
from pathlib import Path

from jubako.bundle.store.copying import sync_folder, write_file
from jubako.bundle.store.entry import Checkpoint, Point, nanoseconds
from jubako.bundle.store.manifest import CARD, read_manifest

LATEST = "latest"

_CREATED = re.compile(r"^creation_time: '?([^'\n]+)", re.MULTILINE)  # one line as BentoML writes it: no YAML parser


def latest_is_right(name: Path, chosen: Path) -> bool:
    """Whether `latest` in the folder `name` names an entry, and none older than the entry `chosen`."""
    try:
        latest = name / (name / LATEST).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return False
    if latest == chosen:
        return True
    return latest.parent == name and (latest / CARD).is_file() and _created_ns(latest) >= _created_ns(chosen)


def write_latest(name: Path, staging: Path, checkpoint: Checkpoint) -> None:
    """Let `latest` name the newest entry in the folder `name`; `staging` is an empty folder beside the store."""
    newest = max((entry for entry in name.iterdir() if (entry / CARD).is_file()), key=_created_ns)
    write_file(staging / LATEST, newest.name)
    checkpoint(Point.LATEST_STAGED)
    (staging / LATEST).replace(name / LATEST)
    sync_folder(name)
    checkpoint(Point.LATEST_WRITTEN)


def _created_ns(entry: Path) -> int:
    """When the entry was made; 0 if it does not say. The entries of others have only the card."""
    try:
        return read_manifest(entry).created_ns
    except (OSError, ValueError):
        pass
    try:
        line = _CREATED.search((entry / CARD).read_text(encoding="utf-8"))
        return nanoseconds(datetime.fromisoformat(line[1])) if line else 0
    except (OSError, ValueError):
        return 0
