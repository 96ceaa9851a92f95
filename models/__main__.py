"""Make every example model anew: `python -m models [--repository DIR]`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from models import (
    digits,
    digits_auto,
    digits_label,
    digits_normalise,
    digits_pipeline,
    digits_torchscript,
    simple,
    strings,
    summary,
)
from models.folder import REPOSITORY, Files, write_model

RECIPES: dict[str, Callable[[], Files]] = {
    "simple": simple.files,
    "digits": digits.files,
    "digits_torchscript": digits_torchscript.files,
    "digits_auto": digits_auto.files,
    "digits_normalise": digits_normalise.files,
    "digits_label": digits_label.files,
    "digits_pipeline": digits_pipeline.files,
    "strings": strings.files,
    "summary": summary.files,
}


def main() -> None:
    """Write each model's folder and say so."""
    parser = argparse.ArgumentParser(prog="python -m models", description="Make every example model anew.")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="where the folders go")
    repository = parser.parse_args().repository
    for name, recipe in RECIPES.items():
        write_model(name, recipe(), repository)
        print(f"wrote {repository / name}")


if __name__ == "__main__":
    main()
