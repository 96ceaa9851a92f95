"""Which backend serves a model: from its config, the names of its files, or its own name. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.errors import InvalidArgument

ENSEMBLE: Final = "ensemble"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artefact that Triton knows without being told a backend.

    `platform` is empty where the backend has none. `folder` says what the artefact may be: a folder (True), a file
    (False), or either (None).
    """

    backend: str
    platform: str
    filename: str
    aliases: Collection[str] = ()
    folder: bool | None = None


# In the order in which Triton tries them.
KINDS: Final = (
    Kind("tensorflow", "tensorflow_savedmodel", "model.savedmodel", folder=True),
    Kind("tensorflow", "tensorflow_graphdef", "model.graphdef", folder=False),
    Kind("tensorrt", "tensorrt_plan", "model.plan", folder=False),
    Kind("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    Kind("openvino", "", "model.xml"),
    Kind("pytorch", "pytorch_libtorch", "model.pt", aliases=("libtorch",), folder=False),
    Kind("pytorch", "torch_aoti", "model.pt2", folder=False),
    Kind("python", "", "model.py"),
)


def infer_backend(config: ModelConfig, model: str, files: Collection[str]) -> ModelConfig:
    """Return a copy of `config` with name, backend, platform and default_model_filename filled in where empty.

    `files` are the paths of a version folder's files, relative to it; Triton looks at the lexicographically first
    version folder. An ensemble has no backend and gets none.

    Raises:
        InvalidArgument: nothing says which backend is meant.
    """
    completed = ModelConfig()
    completed.CopyFrom(config)
    completed.name = config.name or model
    kind = _kind_of(completed, files)
    if kind is not None:
        _fill_from(kind, completed)
    elif not (completed.backend or completed.platform or completed.default_model_filename):
        _fill_from_name(completed, model)
    return completed


def _kind_of(config: ModelConfig, files: Collection[str]) -> Kind | None:
    if not config.backend:
        return next((kind for kind in KINDS if _fits(kind, config, files)), None)
    kinds = [kind for kind in KINDS if kind.backend == config.backend]
    of_platform = [kind for kind in kinds if kind.platform == config.platform]
    return next(iter(of_platform or kinds), None)


def _fits(kind: Kind, config: ModelConfig, files: Collection[str]) -> bool:
    if config.platform or config.default_model_filename:
        by_platform = config.platform != "" and config.platform in (kind.platform, *kind.aliases)
        return by_platform or config.default_model_filename == kind.filename
    return _holds(files, kind)


def _holds(files: Collection[str], kind: Kind) -> bool:
    is_file = kind.filename in files
    is_folder = any(path.startswith(f"{kind.filename}/") for path in files)
    return (is_file or is_folder) if kind.folder is None else (is_folder if kind.folder else is_file)


def _fill_from(kind: Kind, config: ModelConfig) -> None:
    config.backend = config.backend or kind.backend
    config.platform = config.platform or kind.platform
    config.default_model_filename = config.default_model_filename or kind.filename


def _fill_from_name(config: ModelConfig, model: str) -> None:
    _, dot, backend = model.partition(".")
    if not dot:
        raise InvalidArgument(
            f"Invalid model name: Could not determine backend for model '{model}' with no backend in model "
            "configuration. Expected model name of the form 'model.<backend_name>'."
        )
    config.backend = backend
    config.default_model_filename = f"model.{backend}"


def check_pair(config: ModelConfig) -> None:
    """Check that platform and backend belong together; a backend that is not in `KINDS` may have any platform.

    Raises:
        InvalidArgument: they do not, or there is no backend and the platform is not `ensemble`.
    """
    if not config.backend:
        if config.platform != ENSEMBLE:
            raise InvalidArgument(f"unexpected platform type '{config.platform}' for {config.name}")
        return
    if config.platform == ENSEMBLE:
        raise InvalidArgument(
            f"Ensemble model '{config.name}' must have platform type 'ensemble' and empty backend type"
        )
    platforms = {kind.platform for kind in KINDS if kind.backend == config.backend and kind.platform}
    if platforms and config.platform not in platforms:
        raise InvalidArgument(f"unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend}")
