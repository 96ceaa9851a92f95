"""What an entry of the store is said to hold: written last into it, read first from it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

FORMAT = 1
MANIFEST = "jubako.json"  # in the entry's folder
CARD = "model.yaml"  # BentoML's own description of the entry
CONTENT = "model"  # the folder in the entry that holds the model's files: none of theirs can shadow one of ours


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file: `path` is relative, with forward slashes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The true names behind an entry's tag, and the files in it."""

    model: str
    version: int
    repository: str  #: where these bytes were first imported from
    backend: str  #: empty if the configuration did not say
    digest: str
    created_ns: int
    card: FileRecord
    files: Sequence[FileRecord]

    def dumps(self) -> str:
        """The manifest as JSON."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1)

    @classmethod
    def loads(cls, text: str) -> "Manifest":
        """Return the manifest in `text`.

        Raises:
            ValueError: it is not one, or its digest is not the digest of its files.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields.pop("format") != FORMAT:
                raise ValueError("it is of another format")
            fields["card"] = FileRecord(**fields["card"])
            fields["files"] = tuple(FileRecord(**file) for file in fields["files"])
            manifest = cls(**fields)
            if manifest.digest != content_digest(manifest.model, manifest.version, manifest.files):
                raise ValueError("its digest is not that of its files")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("it is not one of ours") from error
        for file in manifest.files:
            require_inner(file.path)
        return manifest


def read_manifest(entry: Path) -> Manifest:
    """Return the manifest of an entry's folder.

    Raises:
        OSError: it has none that can be read.
        ValueError: it is damaged.
    """
    return Manifest.loads((entry / MANIFEST).read_text(encoding="utf-8"))


def content_digest(model: str, version: int, files: Iterable[FileRecord]) -> str:
    """Return the digest of a model version: of its names and of every relative path, size and content.

    The names are in it so that two models with the same bytes never share an entry, whatever their tags are.
    """
    listing = sorted([file.path, file.size, file.sha256] for file in files)
    return hashlib.sha256(json.dumps(["jubako", FORMAT, model, version, listing]).encode()).hexdigest()


def require_inner(path: str) -> None:
    """Refuse a relative path that would leave the folder it is relative to.

    Raises:
        ValueError: it would.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError(f"'{path}' is not the relative path of a file")
