"""The GPUs as gauges: what NVML, the driver's own library, says of each.

`gpu_families` is pure; `Nvml` asks the library. What a GPU does not answer has no sample.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jubako.metrics.text import Family, Kind

LIBRARIES: Final = ("libnvidia-ml.so.1", "nvml.dll")


@dataclass(frozen=True, slots=True)
class GpuReading:
    """What one GPU said at one time; None where it did not."""

    uuid: str
    utilization: float | None = None
    """0 to 1."""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    """Since some time before the server's start."""


Get = Callable[[GpuReading], float | None]
GAUGES: Final[Sequence[tuple[str, str, Get]]] = (
    ("nv_gpu_utilization", "Part of the time in which the GPU ran something, 0 to 1", lambda gpu: gpu.utilization),
    ("nv_gpu_memory_total_bytes", "The GPU's memory", lambda gpu: gpu.memory_total_bytes),
    ("nv_gpu_memory_used_bytes", "The GPU's memory in use", lambda gpu: gpu.memory_used_bytes),
    ("nv_gpu_power_usage", "Watts that the GPU draws", lambda gpu: gpu.power_w),
    ("nv_gpu_power_limit", "Watts that the GPU may draw", lambda gpu: gpu.power_limit_w),
)


def gpu_families(readings: Sequence[GpuReading], first_energy_j: Mapping[str, float]) -> list[Family]:
    """Return the families; energy counts from `first_energy_j`, by UUID."""
    families = []
    for name, help_, get in GAUGES:
        family = Family(name, Kind.GAUGE, help_)
        for reading in readings:
            if (value := get(reading)) is not None:
                family.add({"gpu_uuid": reading.uuid}, value)
        families.append(family)
    energy = Family("nv_energy_consumption", Kind.COUNTER, "Joules that the GPU has used since the server's start")
    for reading in readings:
        if reading.energy_j is not None:
            used = reading.energy_j - first_energy_j.get(reading.uuid, reading.energy_j)
            energy.add({"gpu_uuid": reading.uuid}, round(max(used, 0.0), 3))
    return [*families, energy]


class GpuGauges:
    """The families of the GPUs, read anew each time."""

    def __init__(self, read: Callable[[], Sequence[GpuReading]]) -> None:
        self._read = read
        self._first_energy_j = {gpu.uuid: gpu.energy_j for gpu in read() if gpu.energy_j is not None}

    def families(self) -> list[Family]:
        """Read and return the families."""
        return gpu_families(self._read(), self._first_energy_j)


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def find_nvml() -> Any | None:
    """Return the driver's library; None where there is none."""
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


class Nvml:
    """Readings of the GPUs `uuids`. `library` has NVML's functions; it is told to start here, and never to stop."""

    def __init__(self, library: Any, uuids: Sequence[str]) -> None:
        self._library = library
        self._handles: dict[str, ctypes.c_void_p] = {}
        if library.nvmlInit_v2() != 0:
            return
        for uuid in uuids:
            handle = ctypes.c_void_p()
            if library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) == 0:
                self._handles[uuid] = handle

    def read(self) -> list[GpuReading]:
        """Ask each GPU. Takes milliseconds: call it off the loop."""
        return [self._read_one(uuid, handle) for uuid, handle in self._handles.items()]

    def _read_one(self, uuid: str, handle: ctypes.c_void_p) -> GpuReading:
        busy = self._ask("nvmlDeviceGetUtilizationRates", handle, _Utilization())
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle, _Memory())
        power = self._ask("nvmlDeviceGetPowerUsage", handle, ctypes.c_uint())
        limit = self._ask("nvmlDeviceGetPowerManagementLimit", handle, ctypes.c_uint())
        energy = self._ask("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.c_ulonglong())
        return GpuReading(
            uuid,
            utilization=None if busy is None else busy.gpu / 100,
            memory_total_bytes=None if memory is None else memory.total,
            memory_used_bytes=None if memory is None else memory.used,
            power_w=None if power is None else power.value / 1000,
            power_limit_w=None if limit is None else limit.value / 1000,
            energy_j=None if energy is None else energy.value / 1000,
        )

    def _ask(self, name: str, handle: ctypes.c_void_p, answer: Any) -> Any:
        """Return `answer`, filled in; None where the driver does not have it, or does not know the function."""
        function = getattr(self._library, name, None)
        return answer if function is not None and function(handle, ctypes.byref(answer)) == 0 else None
