"""Which file of a version's folder a model is loaded from."""

from pathlib import Path, PurePosixPath

from jubako.backends.base import ModelFiles
from jubako.errors import InvalidArgument, Unavailable


def artefact(files: ModelFiles, filename: str, inside: str = "") -> Path:
    """Return the file that `filename` names in the version's folder, or the file `inside` where that is a folder.

    Raises:
        InvalidArgument: `filename` would leave the version's folder.
        Unavailable: there is no such file; Triton's words, with the path cut down to what the user wrote.
    """
    relative = PurePosixPath(filename)
    if relative.is_absolute() or ".." in relative.parts:
        raise InvalidArgument(
            f"default_model_filename '{filename}' of model '{files.model}' is outside its version directory"
        )
    path = files.version_dir / relative
    if inside and path.is_dir():
        path = path / inside
    if not path.is_file():
        raise Unavailable(f"unable to find '{files.version}/{filename}' for model instance '{files.model}'")
    return path


def without_paths(message: str, files: ModelFiles) -> str:
    """Return a framework's `message` with the store's folders cut out of it: clients see it."""
    for folder in (files.version_dir, files.root):
        for spelled in (folder, folder.resolve()):
            message = message.replace(f"{spelled}/", "").replace(str(spelled), ".")
    return message
