"""The wide digits network as nothing but its ONNX file: the server writes the configuration."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from models.digits_export import onnx_file
from models.digits_network import WIDE
from models.folder import Files, run_recipe


def files() -> Files:
    """Return the model's folder: no config.pbtxt, no labels."""
    return {"1/model.onnx": onnx_file(WIDE)}


if __name__ == "__main__":
    run_recipe("digits_auto", files)
