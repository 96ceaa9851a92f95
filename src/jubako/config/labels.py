"""Label files: the class names of an output, one a line; the line's number is the class."""

import posixpath
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.errors import Internal, Unsupported


def label_paths(config: ModelConfig, model: str) -> dict[str, str]:
    """Return the label file of each output that has one: output name to path in the model's folder, cleaned up.

    Raises:
        Unsupported: a name points out of the model's folder.
        Internal: two outputs of one name have label files.
    """
    paths: dict[str, str] = {}
    for output in config.output:
        if not output.label_filename:
            continue
        path = posixpath.normpath(output.label_filename)
        if path.startswith(("/", "../")) or path in (".", ".."):
            raise outside(output.name, model, output.label_filename)
        if output.name in paths:
            raise Internal(f"multiple label files for '{output.name}'")
        paths[output.name] = path
    return paths


def outside(output: str, model: str, filename: str) -> Unsupported:
    """Return the error for a label file that is not in its model's folder."""
    return Unsupported(
        f"label file path '{filename}' for output '{output}' in model '{model}' is outside model directory"
    )


def read_labels(config: ModelConfig, root: Path) -> dict[str, tuple[str, ...]]:
    """Return the class names of each output that has a label file. `root` is the model's folder.

    Raises:
        Unsupported: a name, or the link that it names, points out of the model's folder.
        Internal: a file cannot be read as UTF-8 text.
    """
    model = config.name
    labels: dict[str, tuple[str, ...]] = {}
    for output, path in label_paths(config, model).items():
        file = root / path
        if not file.resolve().is_relative_to(root.resolve()):
            raise outside(output, model, path)
        try:
            text = file.read_bytes().decode()
        except OSError as error:
            raise Internal(f"failed to open text file for read {model}/{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise Internal(f"label file {model}/{path} is not UTF-8 text") from error
        labels[output] = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")) if text else ()
    return labels
