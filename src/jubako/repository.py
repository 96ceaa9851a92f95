"""A folder seen as models and versions.

`scan` looks at storages and says what is there: models, the versions of each that its version policy chooses, and the
files that each version needs. It decides nothing about serving; one bad model is a `BrokenModel` and never stops the
others. A server loads from the store's copies (`StoredVersion`), whose configuration `load_config` reads back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelVersionPolicy

from jubako.config.backend import infer_backend
from jubako.config.labels import label_paths, outside
from jubako.config.parse import parse_text
from jubako.config.prepare import check_name
from jubako.errors import InvalidArgument, JubakoError
from jubako.storage import FileInfo, LocalStorage, Storage

CONFIG: Final = "config.pbtxt"
DATA_FOLDERS: Final = ("warmup", "initial_state")
"""Folders beside the versions whose files every version needs."""
OTHER_FOLDERS: Final = frozenset({*DATA_FOLDERS, "configs"})
"""Folders in a model's folder that are no versions, and are not warned about."""
MAX_VERSION: Final = 2**63 - 1
NOT_UNIQUE: Final = "model appears in two or more repositories"


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


@dataclass(frozen=True, slots=True)
class Choice:
    """Which versions a policy chooses, and which it names in vain; both in ascending order."""

    versions: tuple[int, ...]
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model in a repository. The paths of its files are relative to `folder`."""

    name: str
    repository: str
    """The repository as the user wrote it."""
    storage: Storage
    folder: str
    """The model's folder, relative to the storage's root."""
    config: ModelConfig | None
    """What config.pbtxt says, as it is written; None where there is none."""
    backend: str
    """The backend that it asks for, or that its files do; empty for an ensemble."""
    versions: tuple[int, ...]
    """The versions to serve, in ascending order; never empty."""
    shared: tuple[FileInfo, ...]
    """The files that every version needs: config.pbtxt, label files, `warmup/`, `initial_state/`."""
    of_version: Mapping[int, tuple[FileInfo, ...]]
    """The files of each version's own folder."""
    warnings: tuple[str, ...] = ()

    def files_of(self, version: int) -> tuple[FileInfo, ...]:
        """Return all files that `version` needs."""
        return self.shared + self.of_version[version]

    def local_path(self, file: FileInfo) -> Path | None:
        """Return where one of its files can be read on this machine, None where it must be copied first."""
        return self.storage.local_path(f"{self.folder}/{file.path}")


@dataclass(frozen=True, slots=True)
class Scan:
    """What the repositories hold, models in the order of their names."""

    models: tuple[FoundModel, ...] = ()
    broken: tuple[BrokenModel, ...] = ()


def scan(storages: Sequence[Storage]) -> Scan:
    """Look at every sub-folder of every storage's root. Blocks.

    Raises:
        JubakoError: a storage's root cannot be listed.
    """
    owners: dict[str, list[Storage]] = {}
    for storage in storages:
        for name in storage.folders(""):
            owners.setdefault(name, []).append(storage)
    models: list[FoundModel] = []
    broken: list[BrokenModel] = []
    for name, (storage, *others) in sorted(owners.items()):
        if others:
            broken.append(BrokenModel(name, storage.url, NOT_UNIQUE))
            continue
        try:
            models.append(find_model(storage, name))
        except JubakoError as error:
            broken.append(BrokenModel(name, storage.url, str(error)))
    return Scan(tuple(models), tuple(broken))


def find_model(storage: Storage, name: str) -> FoundModel:
    """Look at the model in the folder `name`. Blocks.

    Raises:
        JubakoError: it cannot be served; Triton's words.
    """
    config = _read_config(storage, f"{name}/{CONFIG}", name)
    folders = storage.folders(name)
    present, warnings = version_folders(folders)
    inferred = infer_backend(
        config or ModelConfig(), name, _files_of_first(storage, name, [str(version) for version in present] or folders)
    )
    policy = config.version_policy if config is not None and config.HasField("version_policy") else None
    choice = chosen_versions(policy, present)
    if not choice.versions:
        raise InvalidArgument(f"at least one version must be available under the version policy of model '{name}'")
    warnings += [
        f"version {version} is specified for model '{name}', but the version directory is not present"
        for version in choice.missing
    ]
    return FoundModel(
        name=name,
        repository=storage.url,
        storage=storage,
        folder=name,
        config=config,
        backend=inferred.backend,
        versions=choice.versions,
        shared=tuple(_shared_files(storage, name, config, folders)),
        of_version={version: _files_in(storage, name, str(version)) for version in choice.versions},
        warnings=tuple(warnings),
    )


def version_folders(names: Iterable[str]) -> tuple[list[int], list[str]]:
    """Return which of a model's sub-folders are versions, in ascending order, and a warning for each of the others.

    Folders that have another use (`warmup`, `initial_state`, `configs`) are no versions and get no warning.
    """
    versions: list[int] = []
    warnings: list[str] = []
    for name in sorted(names):
        if name in OTHER_FOLDERS:
            continue
        if len(name) > 1 and name.startswith("0"):
            warnings.append(f"ignore version directory '{name}' which contains leading zeros in its directory name")
        elif not (name.isascii() and name.isdecimal()) or int(name[:20]) > MAX_VERSION:
            warnings.append(f"ignore version directory '{name}' which fails to convert to integral number")
        else:
            versions.append(int(name))
    return sorted(versions), warnings


def chosen_versions(policy: ModelVersionPolicy | None, present: Collection[int]) -> Choice:
    """Return which of the versions that are present `policy` chooses. None is the default: the latest one."""
    if policy is None:
        policy = ModelVersionPolicy(latest=ModelVersionPolicy.Latest(num_versions=1))
    ascending = sorted(set(present))
    match policy.WhichOneof("policy_choice"):
        case "latest":
            count = policy.latest.num_versions
            return Choice(tuple(ascending[max(0, len(ascending) - count) :]))
        case "specific":
            wanted = set(policy.specific.versions)
            return Choice(
                tuple(version for version in ascending if version in wanted), tuple(sorted(wanted - set(ascending)))
            )
        case _:  # `all`; a policy that says nothing is the same to Triton
            return Choice(tuple(ascending))


def load_config(root: Path, model: str) -> ModelConfig | None:
    """Read the configuration of a stored entry as it is written, None where there is none. Blocks.

    Raises:
        JubakoError: it does not parse, or bears another name.
    """
    return _read_config(LocalStorage(root), CONFIG, model)


def stored_files(root: Path, version: int) -> tuple[str, ...]:
    """Return the paths of the files of a stored version's own folder, relative to that folder. Blocks.

    Raises:
        JubakoError: the folder cannot be read.
    """
    return tuple(file.path for file in LocalStorage(root).files(str(version)))


def _read_config(storage: Storage, path: str, model: str) -> ModelConfig | None:
    if storage.stat(path) is None:
        return None
    config = parse_text(storage.read_text(path), f"{model}/{CONFIG}")
    check_name(config, model)
    return config


def _files_of_first(storage: Storage, name: str, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the files of the folder that a model is judged by: as in Triton, the lexicographically first one."""
    return tuple(file.path for file in storage.files(f"{name}/{min(folders)}")) if folders else ()


def _shared_files(
    storage: Storage, name: str, config: ModelConfig | None, folders: Sequence[str]
) -> Iterable[FileInfo]:
    single = [CONFIG, *_label_files(storage, name, config)]
    for path in dict.fromkeys(single):
        file = storage.stat(f"{name}/{path}")
        if file is not None:
            yield FileInfo(path, file.size, file.mtime_ns)
    for folder in DATA_FOLDERS:
        if folder in folders:
            yield from _files_in(storage, name, folder)


def _label_files(storage: Storage, name: str, config: ModelConfig | None) -> list[str]:
    """Return the label files that the configuration names; one that is not there fails the load, not the scan."""
    paths = label_paths(config, name) if config is not None else {}
    for output, path in paths.items():
        if not storage.contains(name, f"{name}/{path}"):
            raise outside(output, name, path)
    return list(paths.values())


def _files_in(storage: Storage, name: str, folder: str) -> tuple[FileInfo, ...]:
    return tuple(
        FileInfo(f"{folder}/{file.path}", file.size, file.mtime_ns) for file in storage.files(f"{name}/{folder}")
    )
