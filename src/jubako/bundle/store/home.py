"""Where BentoML's store and our own notes about it lie."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one `BENTOML_HOME`. Nothing is created by asking for a path."""

    root: Path
    models: Path  #: BentoML's model store: `<name>/<version>/` per entry, `<name>/latest`

    @classmethod
    def at(cls, root: Path) -> "Home":
        """The home in `root`, laid out as BentoML lays out its own."""
        return cls(root=root, models=root / "models")

    @classmethod
    def of_bentoml(cls) -> "Home":
        """The home that this process's BentoML uses; BentoML creates its folders and remembers the answer."""
        from bentoml._internal.configuration.containers import BentoMLContainer

        return cls(
            root=Path(BentoMLContainer.bentoml_home.get()).absolute(),
            models=Path(BentoMLContainer.model_store_dir.get()).absolute(),
        )

    @property
    def staging(self) -> Path:
        """Where entries are put together. On the file system of the models, or the last rename could not be atomic."""
        return self.root / "tmp"

    @property
    def lock(self) -> Path:
        """The file whose lock an import holds."""
        return self.root / "jubako" / "import.lock"

    @property
    def digests(self) -> Path:
        """The digest cache."""
        return self.root / "jubako" / "digests.json"
