"""What a backend is: it completes a configuration, and it loads instances that execute arrays. Nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.placement import Placement
from jubako.tensor import Array


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the files of one model version are: the store's copy, never the repository."""

    model: str
    version: int
    root: Path
    """The model's folder: label files, `warmup/`, `initial_state/`."""

    @property
    def version_dir(self) -> Path:
        """The folder of this version's artefacts."""
        return self.root / str(self.version)


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """Server-wide settings of one backend (`--backend-config`)."""

    default_max_batch_size: int = 4
    settings: Mapping[str, str] = field(default_factory=dict)


class Instance(ABC):
    """One loaded copy of a model version on one device. Its methods run in its own thread, one call at a time."""

    @abstractmethod
    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """Run the model once and return the arrays of `outputs`, in that order.

        `inputs` are C-contiguous, little-endian, batch dimension first where the model has one; they may be read-only
        and, as views into a request's body, not aligned; they are the caller's again after the call. BYTES are `object`
        arrays of `bytes`, BF16 `uint16` bits, in both directions. Shapes are those of the request and of `dims`: the
        instance applies `reshape` on the way in and undoes it on the way out. The arrays returned belong to the caller
        and must not change later.

        Raises:
            JubakoError: what went wrong, for the requests of this batch only; any other exception becomes `Internal`.
        """

    def close(self) -> None:  # noqa: B027  (most instances have nothing to release)
        """Release what the instance holds. Called once, in its thread, after its last execution."""


class Backend(ABC):
    """A kind of model file. One object a server, made on first use; its methods run outside the loop's thread."""

    def __init__(self, options: BackendOptions) -> None:
        self.options = options

    def usable_gpus(self, gpus: Sequence[int]) -> Sequence[int]:
        """Return those of the machine's `gpus` that this backend, as installed, can compute on: all, or none.

        A CPU-only build of a framework has none, whatever the machine has; KIND_AUTO then means the CPU.
        """
        return gpus

    @abstractmethod
    def complete(self, config: ModelConfig, files: ModelFiles) -> ModelConfig:
        """Return `config` with inputs, outputs, max_batch_size and scheduler filled in from the model's file.

        Only what is missing is filled (repository.md section 4); `config` itself is left alone.

        Raises:
            JubakoError: the file cannot be read, or contradicts the configuration.
        """

    @abstractmethod
    def load(self, config: ModelConfig, files: ModelFiles, placement: Placement) -> Instance:
        """Return an instance on `placement`, ready to execute.

        Raises:
            JubakoError: the file cannot be loaded, or contradicts the configuration; Triton's words.
        """
