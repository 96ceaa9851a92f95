"""What is to be served, handed from the supervisor to its workers as a JSON file, or read from a Bento's entries."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jubako.bundle.store.entry import content_root, fault
from jubako.bundle.store.manifest import read_manifest
from jubako.repository import BrokenModel, Snapshot, StoredVersion

if TYPE_CHECKING:
    from bentoml._internal.models import ModelStore
    from bentoml._internal.tag import Tag


@runtime_checkable
class Tagged(Protocol):
    """What has a tag: BentoML's Model, BentoModel and BentoModelInfo."""

    @property
    def tag(self) -> "Tag":
        """Its tag."""
        ...


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write `snapshot` to `path`; a reader sees the old file or the new one, whole."""
    content = {
        "versions": [asdict(version) | {"root": str(version.root)} for version in snapshot.versions],
        "broken": [asdict(model) for model in snapshot.broken],
    }
    making = path.with_name(f"{path.name}.{os.getpid()}")
    making.write_text(json.dumps(content), encoding="utf-8")
    making.replace(path)


def read_snapshot(path: Path) -> Snapshot:
    """Return the snapshot in `path`.

    Raises:
        OSError: there is none.
        ValueError: the file is not a snapshot.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Snapshot(
            versions=tuple(StoredVersion(**entry | {"root": Path(entry["root"])}) for entry in content["versions"]),
            broken=tuple(BrokenModel(**model) for model in content["broken"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is not a snapshot") from error


def entries_from_bento(
    models: Iterable["Tagged | Tag | str"], store: "ModelStore | None" = None, *, thorough: bool = False
) -> Snapshot:
    """Return the model set of a Bento from its entries, in the order of `models`.

    `store` is where the tags are looked up: BentoML's own if None. Models that we did not make are left out. Sizes are
    compared with the manifest; contents only if `thorough`. A damaged or missing entry breaks its model.
    """
    if store is None:
        from bentoml._internal.configuration.containers import BentoMLContainer

        store = BentoMLContainer.model_store.get()
    outcomes = [
        _from_store(str(model.tag if isinstance(model, Tagged) else model), store, thorough) for model in models
    ]
    broken = {outcome.model: outcome for outcome in outcomes if isinstance(outcome, BrokenModel)}
    versions = (outcome for outcome in outcomes if isinstance(outcome, StoredVersion))
    return Snapshot(
        versions=tuple(version for version in versions if version.model not in broken), broken=tuple(broken.values())
    )


def _from_store(tag: str, store: "ModelStore", thorough: bool) -> StoredVersion | BrokenModel | None:
    from bentoml.exceptions import BentoMLException

    try:
        model = store.get(tag)
    except BentoMLException:
        return BrokenModel(tag, "", f"entry {tag} is not in the model store, or is damaged")
    entry = Path(model.path)
    ours = model.info.metadata.get("jubako")
    if not isinstance(ours, dict):
        return None
    name, repository = str(ours.get("model", tag)), str(ours.get("repository", ""))
    wrong = fault(entry, thorough=thorough)
    if wrong is not None:
        return BrokenModel(name, repository, f"entry {tag} is damaged: {wrong}; import it again")
    manifest = read_manifest(entry)
    return StoredVersion(
        model=manifest.model,
        version=manifest.version,
        repository=manifest.repository,
        digest=manifest.digest,
        tag=str(model.tag),
        root=content_root(entry, manifest.version),
    )
