"""On which device each instance of a model runs. Pure: what the machine has comes in as an argument."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from jubako.errors import InvalidArgument

MIN_COMPUTE_CAPABILITY: Final = "6.000000"
"""Triton's default, as it prints it."""


class Device(Enum):
    """A kind of device."""

    CPU = "cpu"
    GPU = "gpu"
    MODEL = "model"  # KIND_MODEL: the model places itself


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one instance runs. `gpu` is the device's index, None off GPU."""

    name: str
    device: Device = Device.CPU
    gpu: int | None = None
    passive: bool = False


def place(config: ModelConfig, gpus: Sequence[int], *, gpu_fallback: bool = False) -> tuple[list[Placement], list[str]]:
    """Return a placement for each instance that `config` asks for, and what to warn about.

    Groups come in their order; a KIND_GPU group has `count` instances on each of its GPUs. Instances are named
    `<group>_<i>`, with `i` from 0 and the same on every GPU, as in Triton. A normalised `config` is what to give, but
    one that is not works too: no group is one of KIND_AUTO named as the model, a count below 1 is 1.

    With `gpu_fallback`, a group whose GPUs do not exist is placed on the CPU (`count` instances in all) with a warning.

    Raises:
        InvalidArgument: a group asks for what this machine does not have; Triton's words.
    """
    placements: list[Placement] = []
    warnings: list[str] = []
    for group in config.instance_group or [ModelInstanceGroup(name=config.name)]:
        try:
            devices = _devices(group, gpus, f"instance group {group.name} of model {config.name}")
        except InvalidArgument as error:
            if not gpu_fallback or group.kind != ModelInstanceGroup.KIND_GPU:
                raise
            warnings.append(f"{error}; placed on the CPU instead (gpu_fallback=cpu)")
            devices = [(Device.CPU, None)]
        placements += [
            Placement(f"{group.name}_{i}", device, gpu, group.passive)
            for device, gpu in devices
            for i in range(max(group.count, 1))
        ]
    return placements, warnings


def _devices(group: ModelInstanceGroup, gpus: Sequence[int], who: str) -> list[tuple[Device, int | None]]:
    match group.kind:
        case ModelInstanceGroup.KIND_AUTO:
            if gpus and set(group.gpus) <= set(gpus):
                return [(Device.GPU, gpu) for gpu in group.gpus or gpus]
            return [(Device.CPU, None)]
        case ModelInstanceGroup.KIND_GPU:
            _check_gpus(group, gpus, who)
            return [(Device.GPU, gpu) for gpu in group.gpus or gpus]
        case ModelInstanceGroup.KIND_CPU | ModelInstanceGroup.KIND_MODEL:
            if group.gpus:
                kind = ModelInstanceGroup.Kind.Name(group.kind)
                raise InvalidArgument(f"{who} has kind {kind} but specifies one or more GPUs")
            return [(Device.CPU if group.kind == ModelInstanceGroup.KIND_CPU else Device.MODEL, None)]
    raise InvalidArgument(f"{who} has unexpected kind {group.kind}")


def _check_gpus(group: ModelInstanceGroup, gpus: Sequence[int], who: str) -> None:
    if not gpus:
        raise InvalidArgument(f"{who} has kind KIND_GPU but no GPUs are available")
    for gpu in group.gpus:
        if gpu not in gpus:
            raise InvalidArgument(
                f"{who} specifies invalid or unsupported gpu id {gpu}. GPUs with at least the minimum required CUDA "
                f"compute compatibility of {MIN_COMPUTE_CAPABILITY} are: {', '.join(map(str, gpus))}"
            )
