"""The `parameters` of a TorchScript model, read into plain values. Pure."""

from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends import parameters


@dataclass(frozen=True, slots=True)
class TorchSettings:
    """How a module runs. None leaves the library's own default; the last five are the whole process's."""

    inference_mode: bool
    """Run in torch's inference mode, else merely without gradients."""
    optimized_execution: bool
    weight_sharing: bool
    """Instances on one device share one module."""
    tensor_fuser: bool | None
    jit_profiling: bool | None
    jit_executor: bool | None
    intra_op_threads: int
    """0: not said. So for the next."""
    inter_op_threads: int


def torch_settings(config: ModelConfig) -> TorchSettings:
    """Return what `config` asks for. Unknown parameters are ignored, as in Triton.

    Raises:
        InvalidArgument: a value is no boolean or no integer; names key and value.
    """
    return TorchSettings(
        inference_mode=parameters.boolean(config, "INFERENCE_MODE") is not False,
        optimized_execution=not parameters.boolean(config, "DISABLE_OPTIMIZED_EXECUTION"),
        weight_sharing=bool(parameters.boolean(config, "ENABLE_WEIGHT_SHARING")),
        tensor_fuser=parameters.boolean(config, "ENABLE_TENSOR_FUSER"),
        jit_profiling=parameters.boolean(config, "ENABLE_JIT_PROFILING"),
        jit_executor=parameters.boolean(config, "ENABLE_JIT_EXECUTOR"),
        intra_op_threads=max(parameters.integer(config, "INTRA_OP_THREAD_COUNT") or 0, 0),
        inter_op_threads=max(parameters.integer(config, "INTER_OP_THREAD_COUNT") or 0, 0),
    )
