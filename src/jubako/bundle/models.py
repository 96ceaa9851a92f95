"""Which model versions this server serves, and how its processes agree on them.

Models enter the store while the service's module is imported, in the process that builds the Bento or that supervises
the workers: BentoML resolves a service's models before any of its hooks runs. The supervisor then names the set to its
workers, through a file and an environment variable that points to it; a worker never looks at the repository.
"""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from jubako.bundle.arguments import INTERNAL_PREFIX, Settled
from jubako.bundle.store import VersionFiles, entries_from_bento, import_all, read_snapshot, write_snapshot
from jubako.errors import Internal, InvalidArgument, Unsupported
from jubako.repository import FoundModel, Snapshot, scan
from jubako.storage import open_storage

log = logging.getLogger("jubako.bundle")

SNAPSHOT: Final = f"{INTERNAL_PREFIX}SNAPSHOT"
"""The variable with the path of the file that the supervisor wrote for its workers."""
FAILED: Final = "failed"
"""The file beside it by which a worker says that the start failed; the supervisor then ends with status 1."""
BENTO_YAML: Final = "bento.yaml"
DEFAULT_REPOSITORY: Final = "repository"


class Origin(Enum):
    """Where the models of this process come from."""

    SUPERVISOR = "the supervisor's list"
    BENTO = "the Bento"
    REPOSITORY = "the model repository"


@dataclass(frozen=True, slots=True)
class Choice:
    """What `origin_of` decided; `repositories` only where it is the repository."""

    origin: Origin
    repositories: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The models to serve; `backends`, the names of those they need, only where the repository was read."""

    snapshot: Snapshot
    origin: Origin
    backends: frozenset[str] = frozenset()


def origin_of(settled: Settled, *, worker: bool, bento: bool, default: str | None) -> Choice:
    """Decide where the models come from.

    In a Bento they are the Bento's, whatever repository it was built from, unless the environment or the command line
    names one. `default` is the repository to take where nobody named one, None if there is no such folder.

    Raises:
        InvalidArgument: no repository was named and there is none by default.
    """
    if worker:
        return Choice(Origin.SUPERVISOR)
    named = settled.arguments.model_repository
    if bento and settled.sources["model_repository"] not in {"environment", "command line"}:
        return Choice(Origin.BENTO)
    if named:
        return Choice(Origin.REPOSITORY, named)
    if default is None:
        raise InvalidArgument("--model-repository must be specified")
    return Choice(Origin.REPOSITORY, (default,))


def find_models(settled: Settled, environ: Mapping[str, str], *, worker: bool) -> Found:
    """Return the model versions to serve, importing them into the store where this process is the one to do it.

    Raises:
        JubakoError: no repository was named, it cannot be listed, or the supervisor left no list.
    """
    folder = Path.cwd()  # in a Bento, its folder `src`
    default = folder / DEFAULT_REPOSITORY
    bento = (folder.parent / BENTO_YAML).is_file()
    choice = origin_of(settled, worker=worker, bento=bento, default=str(default) if default.is_dir() else None)
    match choice.origin:
        case Origin.SUPERVISOR:
            return Found(_from_supervisor(environ), choice.origin)
        case Origin.BENTO:
            from bentoml import Bento  # here: it takes half a second, and whoever only decides needs none

            return Found(entries_from_bento(Bento.from_path(folder.parent).info.all_models), choice.origin)
        case Origin.REPOSITORY:
            return _from_repositories(choice.repositories)


def _from_repositories(repositories: Sequence[str]) -> Found:
    found = scan([open_storage(repository) for repository in repositories])
    for model in found.models:
        for warning in model.warnings:
            log.warning("%s", warning)
    snapshot = import_all(
        VersionFiles(model.name, version, model.repository, _local_files(model, version), model.backend)
        for model in found.models
        for version in model.versions
    )
    broken = (*found.broken, *snapshot.broken)
    for left_out in broken:
        log.warning("model '%s' is left out: %s", left_out.model, left_out.reason)
    return Found(
        Snapshot(snapshot.versions, broken),
        Origin.REPOSITORY,
        frozenset(model.backend for model in found.models if model.backend),
    )


def _local_files(model: FoundModel, version: int) -> list[tuple[str, Path]]:
    files = []
    for file in model.files_of(version):
        path = model.local_path(file)
        if path is None:
            raise Unsupported(f"the files of model '{model.name}' are not on this machine")
        files.append((file.path, path))
    return files


def _from_supervisor(environ: Mapping[str, str]) -> Snapshot:
    path = environ.get(SNAPSHOT)
    if path is None:
        raise Internal(f"the supervisor did not say which models to serve: {SNAPSHOT} is not set")
    return read_snapshot(Path(path))


def tell_workers(snapshot: Snapshot) -> None:
    """Write the list for the workers that this process will start; it is gone when this process ends.

    A worker that is started again reads it again, so it has to stay as long as this process.
    """
    folder = Path(tempfile.mkdtemp(prefix="jubako-"))
    write_snapshot(folder / "models.json", snapshot)
    os.environ[SNAPSHOT] = str(folder / "models.json")
    atexit.register(_end, folder, os.getpid())


def tell_supervisor_of_failure(environ: Mapping[str, str]) -> None:
    """Make the supervisor's exit status 1."""
    (Path(environ[SNAPSHOT]).parent / FAILED).touch()


def _end(folder: Path, owner: int) -> None:
    if os.getpid() != owner:  # a fork of the supervisor
        return
    failed = (folder / FAILED).exists()
    shutil.rmtree(folder, ignore_errors=True)
    if failed:
        os._exit(1)  # circus ends with 0 however its workers ended
