"""The onnxruntime backend: ONNX files, on the CPU and on NVIDIA GPUs."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnxruntime
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.artefact import artefact, without_paths
from jubako.backends.base import Backend, Instance, ModelFiles
from jubako.backends.cores import usable_cores
from jubako.backends.onnxruntime.checks import check
from jubako.backends.onnxruntime.complete import completed, is_complete
from jubako.backends.onnxruntime.external_data import check_external_data
from jubako.backends.onnxruntime.instance import execution_error, instance
from jubako.backends.onnxruntime.providers import CPU, CUDA, Provider, providers
from jubako.backends.onnxruntime.settings import SHRINKAGE, GraphLevel, SessionSettings, session_settings
from jubako.backends.onnxruntime.signature import Signature, signature
from jubako.backends.placement import Device, Placement
from jubako.errors import Internal

log = logging.getLogger("jubako.backends.onnxruntime")

DEFAULT_FILENAME: Final = "model.onnx"
FATAL_ONLY: Final = 4
"""Severity of ONNX Runtime's own log, which goes to stderr past ours; its errors reach us as exceptions too."""
LEVELS: Final = {
    GraphLevel.BASIC: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    GraphLevel.ALL: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    GraphLevel.EXTENDED: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    GraphLevel.NONE: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class OnnxRuntime(Backend):
    """Serves ONNX files: `model.onnx`, or a folder of that name that holds one with its external data."""

    _cuda_libraries = threading.Lock()

    def usable_gpus(self, gpus: Sequence[int]) -> Sequence[int]:
        """None for a build of ONNX Runtime without CUDA."""
        return gpus if CUDA in onnxruntime.get_available_providers() else ()

    def complete(self, config: ModelConfig, files: ModelFiles) -> ModelConfig:
        """See `Backend.complete`. Reads the model on the CPU, unoptimised, and runs nothing."""
        if is_complete(config):
            return completed(config, Signature({}, {}, {}), 0)
        path = _model_path(config, files)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = FATAL_ONLY
        session = _session(path, files, options, [(CPU, {})])
        return completed(config, signature(session), self.options.default_max_batch_size)

    def load(self, config: ModelConfig, files: ModelFiles, placement: Placement) -> Instance:
        """See `Backend.load`. Each instance has a session of its own, as in Triton."""
        settings = session_settings(config, placement, usable_cores())
        chosen = providers(config, placement, onnxruntime.get_available_providers())
        path = _model_path(config, files)
        if placement.device is Device.GPU:
            self._load_cuda_libraries()
        session = _session(path, files, _session_options(settings), chosen)
        _check_providers(session, chosen, config, placement)
        model = signature(session)
        check(config, model)
        return instance(session, config, model, _run_options(settings))

    def _load_cuda_libraries(self) -> None:
        # Those that pip installed lie where the dynamic linker does not look.
        with self._cuda_libraries:
            if hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()


BACKEND: Final = OnnxRuntime


def _model_path(config: ModelConfig, files: ModelFiles) -> Path:
    path = artefact(files, config.default_model_filename or DEFAULT_FILENAME, inside=DEFAULT_FILENAME)
    check_external_data(path)
    return path


def _session(
    path: Path, files: ModelFiles, options: onnxruntime.SessionOptions, chosen: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    names = [name for name, _ in chosen]
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=names, provider_options=[dict(settings) for _, settings in chosen]
        )
    except Exception as error:  # ONNX Runtime has a dozen kinds, none with a common base
        raise Internal(without_paths(str(execution_error(error)), files)) from error
    session.disable_fallback()
    return session


def _check_providers(
    session: onnxruntime.InferenceSession, chosen: Sequence[Provider], config: ModelConfig, placement: Placement
) -> None:
    """Refuse a session that ONNX Runtime quietly put on the CPU because a GPU's libraries did not load."""
    missing = [name for name, _ in chosen if name not in session.get_providers()]
    if missing:
        raise Internal(
            f"unable to load model '{config.name}': {', '.join(missing)} could not be started for instance "
            f"'{placement.name}'; its libraries are missing or do not fit the driver (see the log)"
        )


def _session_options(settings: SessionSettings) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.graph_optimization_level = LEVELS[settings.graph_level]
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = settings.inter_op_threads
    if settings.parallel:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if settings.memory_arena is not None:
        options.enable_cpu_mem_arena = settings.memory_arena
    if settings.memory_pattern is not None:
        options.enable_mem_pattern = settings.memory_pattern
    for key, value in settings.entries.items():
        options.add_session_config_entry(key, value)
    return options


def _run_options(settings: SessionSettings) -> onnxruntime.RunOptions | None:
    if not settings.arena_shrinkage:
        return None
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(SHRINKAGE, settings.arena_shrinkage)
    return options
