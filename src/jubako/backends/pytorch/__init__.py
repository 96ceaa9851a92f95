"""The pytorch backend: TorchScript files. The only module tree that imports torch."""

import logging
import threading
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import torch
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.artefact import artefact, without_paths
from jubako.backends.base import Backend, BackendOptions, Instance, ModelFiles
from jubako.backends.cores import usable_cores
from jubako.backends.placement import Device, Placement
from jubako.backends.pytorch.forward import arguments_of, check_listed, forward
from jubako.backends.pytorch.instance import TorchInstance
from jubako.backends.pytorch.script import open_script
from jubako.backends.pytorch.settings import TorchSettings, torch_settings
from jubako.errors import Internal, InvalidArgument

log = logging.getLogger("jubako.backends.pytorch")

DEFAULT_FILENAME: Final = "model.pt"


class PyTorch(Backend):
    """Serves TorchScript files, `model.pt`."""

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options)
        self._lock = threading.Lock()
        self._shared: WeakValueDictionary[tuple[str, int, str | None], Any] = WeakValueDictionary()
        self._intra_op_threads = 0
        self._inter_op_threads = 0

    def usable_gpus(self, gpus: Sequence[int]) -> Sequence[int]:
        """None for a build of torch without CUDA, or one that does not fit the driver."""
        return gpus if torch.cuda.is_available() else ()

    def complete(self, config: ModelConfig, files: ModelFiles) -> ModelConfig:
        """Fill in backend, platform and file name. Inputs and outputs must be listed, as in Triton.

        A saved TorchScript module, traced ones too, keeps the names of `forward`'s arguments but no datatype and no
        shape: there is nothing to complete a configuration from. What is known is said in the error.
        """
        filled = ModelConfig()
        filled.CopyFrom(config)
        filled.backend = config.backend or "pytorch"
        filled.platform = config.platform or "pytorch_libtorch"
        filled.default_model_filename = config.default_model_filename or DEFAULT_FILENAME
        try:
            check_listed(filled)
        except Internal as error:
            path = artefact(files, filled.default_model_filename)
            takes = ", ".join(
                f"{known.name}: {known.type}" for known in arguments_of(open_script(config.name, path, "cpu"))
            )
            raise Internal(
                f"{error} A TorchScript file holds neither datatypes nor shapes to complete it from; forward takes "
                f"({takes})"
            ) from None
        log.info("skipping model configuration auto-complete for '%s': not supported for pytorch backend", config.name)
        return filled

    def load(self, config: ModelConfig, files: ModelFiles, placement: Placement) -> Instance:
        """See `Backend.load`. Thread counts are the process's: the first model that gives one decides."""
        settings = torch_settings(config)
        device = _device(config, placement)
        check_listed(config)
        self._set_up_process(settings)
        module = self._module(config, files, device, settings)
        return TorchInstance(module, forward(module, config), config, settings, device)

    def _module(self, config: ModelConfig, files: ModelFiles, device: str | None, settings: TorchSettings) -> Any:
        path = artefact(files, config.default_model_filename or DEFAULT_FILENAME)
        key = (str(path), path.stat().st_mtime_ns, device)
        with self._lock:
            module = self._shared.get(key) if settings.weight_sharing else None
            if module is None:
                try:
                    module = open_script(config.name, path, device)
                except Internal as error:
                    raise Internal(without_paths(str(error), files)) from error.__cause__
                if settings.weight_sharing:
                    self._shared[key] = module
        return module

    def _set_up_process(self, settings: TorchSettings) -> None:
        with self._lock:
            self._set_threads(settings)
            if settings.tensor_fuser is not None:
                torch._C._jit_set_texpr_fuser_enabled(settings.tensor_fuser)
            if settings.jit_profiling is not None:
                torch._C._jit_set_profiling_mode(settings.jit_profiling)
            if settings.jit_executor is not None:
                torch._C._jit_set_profiling_executor(settings.jit_executor)

    def _set_threads(self, settings: TorchSettings) -> None:
        if settings.intra_op_threads and not self._intra_op_threads:
            self._intra_op_threads = settings.intra_op_threads
            torch.set_num_threads(settings.intra_op_threads)
        elif not self._intra_op_threads and torch.get_num_threads() > usable_cores():
            torch.set_num_threads(usable_cores())  # torch counts the machine's cores, not the container's
        if settings.inter_op_threads and not self._inter_op_threads:
            self._inter_op_threads = settings.inter_op_threads
            try:
                torch.set_num_interop_threads(settings.inter_op_threads)
            except RuntimeError:
                log.warning("INTER_OP_THREAD_COUNT comes too late: torch has already started its threads")


BACKEND: Final = PyTorch


def _device(config: ModelConfig, placement: Placement) -> str | None:
    """Return torch's name for the device of `placement`, None where the module keeps its own."""
    if placement.device is Device.CPU:
        return "cpu"
    if placement.device is Device.MODEL:
        return None
    if not torch.cuda.is_available():
        group = placement.name.rpartition("_")[0]
        raise InvalidArgument(
            f"instance group {group} of model {config.name} has kind KIND_GPU but server does not support GPUs"
        )
    return f"cuda:{placement.gpu or 0}"
