"""Repositories and stores for the tests of the store."""

import importlib
import signal
import warnings
from collections.abc import Mapping
from os import getpid, kill
from pathlib import Path

from bentoml._internal.models import ModelStore

with warnings.catch_warnings():  # BentoML's own use of what pathspec and pydantic deprecate, at its first import
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("_bentoml_sdk.models")

from jubako.bundle.store import Checkpoint, Home, Point, VersionFiles


def a_version(
    repository: Path, model: str = "digits", version: int = 1, files: Mapping[str, bytes] | None = None
) -> VersionFiles:
    """Write a model version into `repository` and return it as a scan would find it."""
    contents = {"config.pbtxt": b'backend: "onnxruntime"', f"{version}/model.onnx": b"weights" * 1000}
    contents |= files or {}
    found = []
    for name, content in contents.items():
        path = repository / model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        found.append((name, path))
    return VersionFiles(model, version, str(repository), found, "onnxruntime")


def a_home(tmp_path: Path) -> Home:
    """Return an empty BENTOML_HOME as BentoML makes it."""
    home = Home.at(tmp_path / "home")
    for folder in (home.models, home.staging):
        folder.mkdir(parents=True)
    return home


def bentoml_store(home: Home) -> ModelStore:
    return ModelStore(home.models)


def tags(home: Home) -> list[str]:
    """Return what `bentoml models list` lists; raises as it does if any entry is broken."""
    return [str(model.tag) for model in bentoml_store(home).list()]


def leftovers(home: Home) -> list[str]:
    return sorted(path.name for path in home.staging.iterdir())


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def footprints(home: Home) -> dict[str, tuple[int, int, int]]:
    """Return inode, modification time and change time of every file and folder in the store."""
    found = {}
    for path in home.models.rglob("*"):
        status = path.stat()
        found[str(path.relative_to(home.models))] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found


def kill_at(point: Point) -> Checkpoint:
    """Return a checkpoint that kills its own process at `point`, as a power cut would."""

    def checkpoint(reached: Point) -> None:
        if reached == point:
            kill(getpid(), signal.SIGKILL)

    return checkpoint
