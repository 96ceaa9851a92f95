"""On which device each instance of a model runs. Pure: what the machine has comes in as an argument."""

from dataclasses import dataclass
from enum import Enum


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
