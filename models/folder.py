"""A model's folder, as the recipes write it. Knows paths and bytes; refuses to know what a model computes."""

import argparse
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1] / "repository"

Files = Mapping[str, bytes]
"""The whole content of a model's folder: path inside the folder, with `/`, to bytes."""


def write_model(name: str, files: Files, repository: Path = REPOSITORY) -> None:
    """Make `repository/name` hold exactly `files`.

    A file that already has these bytes is not touched: its time of modification stays, and a server that polls the
    repository does not load the model again.
    """
    folder = repository / name
    wanted = {folder / path: content for path, content in files.items()}
    kept = {parent for path in wanted for parent in path.parents}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path not in wanted and path not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path, content in wanted.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def run_recipe(name: str, recipe: Callable[[], Files]) -> None:
    """Carry out the command `python models/NAME.py [--repository DIR]`."""
    parser = argparse.ArgumentParser(description=f"Write the example model {name!r}.")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="where its folder goes")
    repository = parser.parse_args().repository
    write_model(name, recipe(), repository)
    print(f"wrote {repository / name}")
