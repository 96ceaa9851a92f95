"""The defaults that Triton writes into every configuration before it serves it. Pure."""

from collections.abc import Collection
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

SEQUENCE_IDLE_US: Final = 1_000_000
TWO_ON_CPU: Final = frozenset({"onnxruntime", "tensorflow"})
"""Backends of which an uncounted KIND_CPU group gets two instances; any other gets one."""


def normalise(config: ModelConfig, gpus: Collection[int]) -> ModelConfig:
    """Return a copy of `config` with what it leaves open filled in, as the config route shows it.

    `gpus` are the ids of the GPUs that can be used here: they decide KIND_AUTO, and are what a KIND_GPU group that
    lists none gets. A KIND_GPU group stays one even without any GPU: whether that is an error, placement says.
    Normalising twice changes nothing.
    """
    filled = ModelConfig()
    filled.CopyFrom(config)
    if not filled.HasField("version_policy"):
        filled.version_policy.latest.num_versions = 1
    _fill_scheduler(filled)
    if not filled.HasField("ensemble_scheduling"):
        _fill_pinned_memory(filled)
        _fill_instance_groups(filled, sorted(gpus))
    return filled


def _fill_scheduler(config: ModelConfig) -> None:
    largest = [config.max_batch_size] if config.max_batch_size > 0 else []
    match config.WhichOneof("scheduling_choice"):
        case "dynamic_batching":
            dynamic = config.dynamic_batching
            dynamic.preferred_batch_size[:] = dynamic.preferred_batch_size or largest
        case "sequence_batching":
            sequence = config.sequence_batching
            sequence.max_sequence_idle_microseconds = sequence.max_sequence_idle_microseconds or SEQUENCE_IDLE_US
            if sequence.HasField("oldest"):
                sequence.oldest.preferred_batch_size[:] = sequence.oldest.preferred_batch_size or largest


def _fill_pinned_memory(config: ModelConfig) -> None:
    for field in ("input_pinned_memory", "output_pinned_memory"):
        if not config.optimization.HasField(field):
            getattr(config.optimization, field).enable = True


def _fill_instance_groups(config: ModelConfig, gpus: list[int]) -> None:
    if not config.instance_group:
        config.instance_group.add(name=config.name)
    for index, group in enumerate(config.instance_group):
        group.name = group.name or f"{config.name}_{index}"
        if group.kind == ModelInstanceGroup.KIND_AUTO:
            on_gpu = bool(gpus) and set(group.gpus) <= set(gpus)
            group.kind = ModelInstanceGroup.KIND_GPU if on_gpu else ModelInstanceGroup.KIND_CPU
        if group.count < 1:
            on_cpu = group.kind == ModelInstanceGroup.KIND_CPU
            group.count = 2 if on_cpu and config.backend in TWO_ON_CPU else 1
        if group.kind == ModelInstanceGroup.KIND_GPU:
            group.gpus[:] = group.gpus or gpus
