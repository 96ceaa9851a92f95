"""One entry of the store: a folder that is a BentoML model, holds a model version, and can tell whether it is whole.

```
<name>/<version>/
    model.yaml     BentoML's card
    jubako.json    the manifest
    model/         the model's folder, cut down to one version
```
"""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from jubako.bundle.store.copying import copy_file, sync_tree, write_file
from jubako.bundle.store.digests import Digests, FileChanged, Stamp, sha256, stamp
from jubako.bundle.store.manifest import CARD, CONTENT, MANIFEST, FileRecord, Manifest, content_digest, read_manifest
from jubako.bundle.store.naming import tag_name, tag_version


class Point(StrEnum):
    """The moments of an import between which the disk looks different, in order."""

    LOCKED = "locked"
    STAGED = "staged"
    FILE_BEGUN = "file begun"
    FILE_COPIED = "file copied"
    FILES_COPIED = "files copied"
    CARD_WRITTEN = "card written"
    MANIFEST_WRITTEN = "manifest written"
    SYNCED = "synced"
    NAME_MADE = "name made"
    BROKEN_MOVED = "broken moved"
    ENTERED = "entered"
    LATEST_STAGED = "latest staged"
    LATEST_WRITTEN = "latest written"
    DONE = "done"


Checkpoint = Callable[[Point], None]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to import, as it was when its digest was taken."""

    source: Path
    seen: Stamp
    record: FileRecord


@dataclass(frozen=True, slots=True)
class Plan:
    """An entry as it is to be."""

    model: str
    version: int
    repository: str
    backend: str
    files: Sequence[PlannedFile]

    @property
    def digest(self) -> str:
        """The digest of the content."""
        return content_digest(self.model, self.version, (file.record for file in self.files))


def tag_of(model: str, version: int, digest: str) -> tuple[str, str]:
    """Return the name and version of the tag, which are also the folders of the entry in the store."""
    return tag_name(model), tag_version(version, digest)


def nanoseconds(moment: datetime) -> int:
    """Return a moment as nanoseconds since 1970; as exact as BentoML's card, which has microseconds."""
    return round(moment.timestamp() * 1_000_000) * 1000


def content_root(entry: Path, version: int) -> Path:
    """Return the model folder of an entry.

    The version's folder is in it even if the version has no files (an ensemble): archives drop empty folders.
    """
    root = entry / CONTENT
    with suppress(OSError):  # a read-only store
        (root / str(version)).mkdir(parents=True, exist_ok=True)
    return root


def write_entry(entry: Path, plan: Plan, checkpoint: Checkpoint) -> Manifest:
    """Write the entry's folder from the sources, all of it flushed to the disk.

    Raises:
        FileChanged: a source is not what the plan says; the argument is its path.
        OSError: reading or writing failed.
    """
    (entry / CONTENT / str(plan.version)).mkdir(parents=True)
    for file in plan.files:
        target = entry / CONTENT / file.record.path
        target.parent.mkdir(parents=True, exist_ok=True)
        checkpoint(Point.FILE_BEGUN)
        copy_file(file.source, target, file.record.size)
        checkpoint(Point.FILE_COPIED)
        if sha256(target) != file.record.sha256:
            raise FileChanged(file.source)
    for file in plan.files:  # once more for all: they belong together only if none changed while another was copied
        if stamp(file.source) != file.seen:
            raise FileChanged(file.source)
    checkpoint(Point.FILES_COPIED)
    created = datetime.now(UTC)
    write_file(entry / CARD, _card(plan, created))
    checkpoint(Point.CARD_WRITTEN)
    manifest = Manifest(
        model=plan.model,
        version=plan.version,
        repository=plan.repository,
        backend=plan.backend,
        digest=plan.digest,
        created_ns=nanoseconds(created),
        card=FileRecord(CARD, (entry / CARD).stat().st_size, sha256(entry / CARD)),
        files=tuple(file.record for file in plan.files),
    )
    write_file(entry / MANIFEST, manifest.dumps())
    checkpoint(Point.MANIFEST_WRITTEN)
    sync_tree(entry)
    checkpoint(Point.SYNCED)
    return manifest


def entry_files(entry: Path, manifest: Manifest) -> list[tuple[Path, FileRecord]]:
    """Return where each file that the manifest names lies."""
    files = [(entry / CONTENT / record.path, record) for record in manifest.files]
    return [(entry / CARD, manifest.card), *files]


def fault(
    entry: Path, digests: Digests | None = None, *, digest: str | None = None, thorough: bool = False
) -> str | None:
    """Return what is wrong with an entry, None if it is whole; `digest` is the one that it should have.

    Sizes are always compared. With `digests`, a file that it does not remember is read; without, none is, unless
    `thorough`, which reads all. Files that the manifest does not name are none of our business: models leave caches
    beside their code.
    """
    try:
        manifest = read_manifest(entry)
    except OSError as error:
        return f"its manifest cannot be read: {error.strerror}"
    except ValueError as error:
        return f"its manifest is damaged: {error}"
    if (entry.parent.name, entry.name) != tag_of(manifest.model, manifest.version, manifest.digest):
        return "it is not the entry that its manifest describes"
    if digest not in (None, manifest.digest):
        return "it holds another content under the same tag"
    for path, record in entry_files(entry, manifest):
        try:
            seen = stamp(path)
            if seen.size != record.size:
                return f"'{record.path}' has {seen.size} bytes instead of {record.size}"
            if thorough or (digests and digests.known(path, seen) != record.sha256):
                if sha256(path) != record.sha256:
                    return f"'{record.path}' has another content than at its import"
                if digests:
                    digests.trust(path, seen, record.sha256)
        except FileChanged:
            return f"'{record.path}' is being written to"
        except OSError as error:
            return f"'{record.path}' cannot be read: {error.strerror}"
    return None


def trust_entry(entry: Path, manifest: Manifest, digests: Digests) -> None:
    """Remember the digests of an entry that was just written: nobody else had its name before."""
    for path, record in entry_files(entry, manifest):
        with suppress(OSError):
            digests.trust(path, stamp(path), record.sha256)


def _card(plan: Plan, created: datetime) -> str:
    from bentoml._internal.models.model import ModelContext, ModelInfo, ModelOptions
    from bentoml._internal.tag import Tag

    names: dict[str, str] = {
        "model": plan.model,
        "version": str(plan.version),
        "repository": plan.repository,
        "digest": plan.digest,
        "backend": plan.backend,
    }
    size = sum(file.record.size for file in plan.files)
    info = ModelInfo(
        tag=Tag(*tag_of(plan.model, plan.version, plan.digest)),
        module="jubako",
        labels={key: value for key, value in names.items() if value},
        options=ModelOptions(),
        metadata={"jubako": {**names, "version": plan.version, "files": len(plan.files), "bytes": size}},
        context=ModelContext(framework_name=plan.backend or "jubako", framework_versions={}),
        signatures={},
        api_version="v1",
        creation_time=created,
    )
    card = io.StringIO()
    info.dump(card)
    return card.getvalue()
