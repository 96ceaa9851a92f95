"""How an ONNX session is set up: `optimization` and `parameters` of config.pbtxt read into plain values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends import parameters
from jubako.backends.placement import Device, Placement
from jubako.errors import InvalidArgument

SHRINKAGE: Final = "memory.enable_memory_arena_shrinkage"
ENTRY_PREFIX: Final = "session."
NO_SPINNING: Final[Mapping[str, str]] = {
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
}
"""Our default. A session's idle threads otherwise spin for a millisecond after each run, on the cores that the event
loop needs: a digits model with two threads cost 1,190 µs of CPU a run with it and 99 without, in the same time."""


class GraphLevel(Enum):
    """How far the graph is optimised, by `optimization.graph.level`; any other number is ALL, as in Triton."""

    BASIC = -1
    ALL = 0
    EXTENDED = 1
    NONE = 2


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """A session's options. None leaves ONNX Runtime's own default."""

    graph_level: GraphLevel
    intra_op_threads: int
    inter_op_threads: int
    """0: ONNX Runtime chooses. Only a parallel session has them."""
    parallel: bool
    memory_arena: bool | None
    memory_pattern: bool | None
    entries: Mapping[str, str]
    """Session configuration entries, `session.…`: `NO_SPINNING` and over it what the model's parameters say."""
    arena_shrinkage: str
    """Run option: arenas to shrink after each run (`cpu:0;gpu:0`); empty for none."""


def session_settings(config: ModelConfig, placement: Placement, cores: int) -> SessionSettings:
    """Return the settings of a session on `placement`, in a process that may use `cores` CPU cores.

    Where `intra_op_thread_count` is not given, Triton leaves every instance to take all the machine's cores, whatever
    its container's quota; n instances then run n threads on each. Here the cores are divided by the model's instances,
    at least one each, and threads do not spin. Give the parameters to choose otherwise.

    Raises:
        InvalidArgument: a parameter has an impossible value; Triton's words.
    """
    mode = parameters.integer(config, "execution_mode") or 0
    if mode not in (0, 1):
        raise InvalidArgument(
            f"Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got {mode} ."
        )
    levels = {level.value: level for level in GraphLevel}
    arena = parameters.boolean(config, "enable_mem_arena")
    return SessionSettings(
        graph_level=levels.get(config.optimization.graph.level, GraphLevel.ALL),
        intra_op_threads=_positive(config, "intra_op_thread_count") or max(cores // _instances(config), 1),
        inter_op_threads=_positive(config, "inter_op_thread_count"),
        parallel=mode == 1,
        memory_arena=arena,
        memory_pattern=parameters.boolean(config, "enable_mem_pattern"),
        entries={
            **NO_SPINNING,
            **{key: value.string_value for key, value in config.parameters.items() if key.startswith(ENTRY_PREFIX)},
        },
        arena_shrinkage=_shrinkage(config, placement, arena is not False),
    )


def _positive(config: ModelConfig, key: str) -> int:
    return max(parameters.integer(config, key) or 0, 0)


def _instances(config: ModelConfig) -> int:
    return sum(max(group.count, 1) * max(len(group.gpus), 1) for group in config.instance_group) or 1


def _shrinkage(config: ModelConfig, placement: Placement, has_cpu_arena: bool) -> str:
    """Return the arenas to shrink that the instance has: ONNX Runtime fails every run that names another."""
    named = (parameters.text(config, SHRINKAGE) or "").split(";")
    has_gpu = placement.device is Device.GPU
    return ";".join(
        arena
        for arena in map(str.strip, named)
        if (arena.startswith("cpu") and has_cpu_arena) or (arena.startswith("gpu") and has_gpu)
    )
