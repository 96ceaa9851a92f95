"""From what the user wrote to what is served: the one chain that the server and the command line share."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.backend import infer_backend
from jubako.config.ensemble import validate_ensemble
from jubako.config.normalise import normalise
from jubako.config.support import review
from jubako.config.tensors import validate_tensors
from jubako.config.validate import validate, validate_model
from jubako.errors import Internal, InvalidArgument


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that can be served, and what in it is ignored."""

    config: ModelConfig
    warnings: tuple[str, ...] = ()


def prepare(
    config: ModelConfig | None,
    model: str,
    files: Collection[str],
    complete: Callable[[ModelConfig], ModelConfig] | None,
    gpus: Collection[int],
) -> Prepared:
    """Complete, normalise and check a model's configuration; `config` itself is left alone.

    Args:
        config: what config.pbtxt says, None where there is no such file.
        model: the name of the model's folder, which the configuration must bear.
        files: the paths of a version folder's files, relative to it.
        complete: the backend's auto-complete, handed the configuration with its backend filled in and its scheduler
            checked; it may read files. None where auto-complete is disabled: then config.pbtxt must be there and whole.
        gpus: ids of the GPUs that can be used here.

    Raises:
        JubakoError: the model cannot be served so, in Triton's words where Triton has some.
    """
    if config is None and complete is None:
        raise Internal(f"failed to open text file for read {model}/config.pbtxt: No such file or directory")
    inferred = normalise(infer_backend(config or ModelConfig(), model, files), gpus)
    validate_model(inferred)
    if complete is None:
        validate_tensors(inferred)
    check_name(inferred, model)
    # An ensemble has no backend to complete it.
    completed = normalise(complete(inferred), gpus) if complete is not None and inferred.backend else inferred
    validate(completed)
    validate_ensemble(completed)
    return Prepared(completed, tuple(review(completed)))


def check_name(config: ModelConfig, model: str) -> None:
    """Check that a configuration's name, if it gives one, is that of the model's folder.

    Raises:
        InvalidArgument: it is another.
    """
    if config.name not in ("", model):
        raise InvalidArgument(
            f"unexpected directory name '{model}' for model '{config.name}', directory name must equal model name"
        )
