"""A folder seen as models and versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One model version in the store: what a runner is loaded from.

    `root` has the layout of a model folder, cut down to this version: `config.pbtxt` if the model has one, label files,
    `<version>/…`, `warmup/`, `initial_state/`.
    """

    model: str
    version: int
    repository: str
    digest: str
    tag: str
    root: Path


@dataclass(frozen=True, slots=True)
class BrokenModel:
    """A model that could not be taken from its repository, and why."""

    model: str
    repository: str
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a server is to serve, fixed at one moment."""

    versions: Sequence[StoredVersion] = ()
    broken: Sequence[BrokenModel] = ()
