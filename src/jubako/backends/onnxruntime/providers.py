"""Which execution providers a session gets, and with what options. Pure: what is installed comes in as an argument."""

from collections.abc import Collection, Mapping
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends import parameters
from jubako.backends.placement import Device, Placement
from jubako.errors import InvalidArgument

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
OPENVINO: Final = "OpenVINOExecutionProvider"

Provider = tuple[str, Mapping[str, str]]

PRECISIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
TENSORRT_RENAMED: Final[Mapping[str, str]] = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
TENSORRT_BY_NAME: Final = frozenset(
    {
        "trt_max_partition_iterations",
        "trt_min_subgraph_size",
        "trt_dla_enable",
        "trt_dla_core",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_engine_cache_prefix",
        "trt_dump_subgraphs",
        "trt_force_sequential_engine_build",
        "trt_context_memory_sharing_enable",
        "trt_layer_norm_fp32_fallback",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
        "trt_force_timing_cache",
        "trt_detailed_build_log",
        "trt_build_heuristics_enable",
        "trt_sparsity_enable",
        "trt_builder_optimization_level",
        "trt_auxiliary_streams",
        "trt_tactic_sources",
        "trt_extra_plugin_lib_paths",
        "trt_profile_min_shapes",
        "trt_profile_max_shapes",
        "trt_profile_opt_shapes",
        "trt_cuda_graph_enable",
        "trt_dump_ep_context_model",
        "trt_ep_context_file_path",
        "trt_ep_context_embed_mode",
    }
)
CUDA_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}
"""Model parameters that are numbers in config.pbtxt and words in ONNX Runtime."""
CUDA_BY_NAME: Final = ("gpu_mem_limit", "do_copy_in_default_stream")


def providers(config: ModelConfig, placement: Placement, available: Collection[str]) -> list[Provider]:
    """Return the providers to try for a session on `placement`, the first choice first, with their options.

    `available` are those that the installed ONNX Runtime was built with. A GPU instance gets TensorRT where
    `execution_accelerators` ask for it, then CUDA in any case; every instance ends with the CPU. Accelerators for GPUs
    are passed over on a CPU instance.

    Raises:
        InvalidArgument: an accelerator or one of its parameters is unknown or not available; Triton's words.
    """
    chosen: list[Provider] = []
    if placement.device is Device.GPU:
        chosen += _gpu_providers(config, placement, available)
    for accelerator in config.optimization.execution_accelerators.cpu_execution_accelerator:
        if accelerator.name != "openvino" or OPENVINO not in available:
            raise InvalidArgument(f"unknown Execution Accelerator '{accelerator.name}' is requested")
        chosen.append((OPENVINO, {"device_type": "CPU"}))
    return [*chosen, (CPU, {})]


def _gpu_providers(config: ModelConfig, placement: Placement, available: Collection[str]) -> list[Provider]:
    if CUDA not in available:
        group = placement.name.rpartition("_")[0]
        raise InvalidArgument(
            f"instance group {group} of model {config.name} has kind KIND_GPU but server does not support GPUs"
        )
    device = {"device_id": str(placement.gpu or 0)}
    chosen: list[Provider] = []
    cuda: dict[str, str] = {}
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        if accelerator.name == "tensorrt" and TENSORRT in available:
            chosen.append((TENSORRT, {**_tensorrt_options(accelerator.parameters), **device}))
        elif accelerator.name == "cuda":
            cuda.update(accelerator.parameters)
        else:
            raise InvalidArgument(f"unknown Execution Accelerator '{accelerator.name}' is requested")
    return [*chosen, (CUDA, {**cuda, **_cuda_options(config), **device})]


def _tensorrt_options(requested: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in requested.items():
        if key == "precision_mode":
            if value not in PRECISIONS:
                raise InvalidArgument(f"unsupported precision mode '{value}' is requested")
            options.update(PRECISIONS[value])
        elif key in TENSORRT_RENAMED:
            options[TENSORRT_RENAMED[key]] = value
        elif key in TENSORRT_BY_NAME:
            options[key] = value
        else:
            raise InvalidArgument(f"unknown parameter '{key}' is provided for TensorRT Execution Accelerator")
    return options


def _cuda_options(config: ModelConfig) -> dict[str, str]:
    """Read the model parameters that configured CUDA before there was an accelerator of that name."""
    options: dict[str, str] = {}
    for key, choices in CUDA_CHOICES.items():
        number = parameters.integer(config, key)
        if number is None:
            continue
        if not 0 <= number < len(choices):
            raise InvalidArgument(f"unsupported {key} value '{number}' is requested")
        options[key] = choices[number]
    for key in CUDA_BY_NAME:
        value = parameters.text(config, key)
        if value is not None:
            options[key] = value
    return options
