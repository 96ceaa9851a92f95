"""The machine's gauges, from readings and from a library that is not there."""

from typing import Any

from jubako.metrics.cpu import CpuReading, cpu_families, read_cpu, utilization
from jubako.metrics.gpu import GpuGauges, GpuReading, Nvml, gpu_families
from jubako.metrics.text import render

from .page import Page, faults

NOT_SUPPORTED = 3


class FakeNvml:
    """NVML of a machine with one GPU, `GPU-a`; `missing` are functions that the driver does not have for it."""

    def __init__(self, missing: tuple[str, ...] = (), starts: bool = True) -> None:
        self.missing = missing
        self.starts = starts
        self.energy_mj = 1_000_000
        self.handles: list[bytes] = []

    def nvmlInit_v2(self) -> int:
        return 0 if self.starts else 9

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:
        if uuid != b"GPU-a":
            return 6
        self.handles.append(uuid)
        return 0

    def nvmlDeviceGetUtilizationRates(self, _: Any, answer: Any) -> int:
        answer._obj.gpu = 37
        return self._status("nvmlDeviceGetUtilizationRates")

    def nvmlDeviceGetMemoryInfo(self, _: Any, answer: Any) -> int:
        answer._obj.total, answer._obj.used = 80 << 30, 3 << 30
        return self._status("nvmlDeviceGetMemoryInfo")

    def nvmlDeviceGetPowerUsage(self, _: Any, answer: Any) -> int:
        answer._obj.value = 71_500
        return self._status("nvmlDeviceGetPowerUsage")

    def nvmlDeviceGetPowerManagementLimit(self, _: Any, answer: Any) -> int:
        answer._obj.value = 700_000
        return self._status("nvmlDeviceGetPowerManagementLimit")

    def nvmlDeviceGetTotalEnergyConsumption(self, _: Any, answer: Any) -> int:
        answer._obj.value = self.energy_mj
        return self._status("nvmlDeviceGetTotalEnergyConsumption")

    def _status(self, name: str) -> int:
        return NOT_SUPPORTED if name in self.missing else 0


def test_what_the_driver_says_becomes_triton_s_units() -> None:
    library = FakeNvml()
    gauges = GpuGauges(Nvml(library, ["GPU-a"]).read)
    library.energy_mj += 2_500

    text = render(gauges.families())

    assert text.splitlines()[2::3] == [
        'nv_gpu_utilization{gpu_uuid="GPU-a"} 0.37',
        f'nv_gpu_memory_total_bytes{{gpu_uuid="GPU-a"}} {80 << 30}',
        f'nv_gpu_memory_used_bytes{{gpu_uuid="GPU-a"}} {3 << 30}',
        'nv_gpu_power_usage{gpu_uuid="GPU-a"} 71.5',
        'nv_gpu_power_limit{gpu_uuid="GPU-a"} 700',
        'nv_energy_consumption{gpu_uuid="GPU-a"} 2.5',
    ]
    assert faults(text) == []


def test_what_a_gpu_does_not_answer_has_no_sample() -> None:
    library = FakeNvml(missing=("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption"))

    page = Page(render(GpuGauges(Nvml(library, ["GPU-a"]).read).families()))

    assert page.named("nv_gpu_power_usage") == page.named("nv_energy_consumption") == []
    assert page.value("nv_gpu_power_limit") == 700


def test_a_library_that_does_not_start_has_nothing_to_say() -> None:
    assert Nvml(FakeNvml(starts=False), ["GPU-a"]).read() == []


def test_a_gpu_that_the_driver_does_not_know_is_left_out() -> None:
    assert [reading.uuid for reading in Nvml(FakeNvml(), ["GPU-z", "GPU-a"]).read()] == ["GPU-a"]


def test_energy_never_runs_backwards() -> None:
    page = Page(render(gpu_families([GpuReading("GPU-a", energy_j=3.0)], {"GPU-a": 5.0})))

    assert page.value("nv_energy_consumption", gpu_uuid="GPU-a") == 0


def test_utilization_is_the_busy_part_of_the_time_between_two_readings() -> None:
    assert utilization(CpuReading(10, 100, 1, 1), CpuReading(13, 104, 1, 1)) == 0.75
    assert utilization(CpuReading(10, 100, 1, 1), CpuReading(10, 100, 1, 1)) == 0


def test_the_families_of_the_processors_are_triton_s() -> None:
    text = render(cpu_families(CpuReading(0, 0, 0, 0), CpuReading(1, 4, 1 << 34, 1 << 30)))

    assert text.splitlines()[2::3] == [
        "nv_cpu_utilization 0.25",
        f"nv_cpu_memory_total_bytes {1 << 34}",
        f"nv_cpu_memory_used_bytes {1 << 30}",
    ]


def test_this_machine_has_processors_and_memory() -> None:
    reading = read_cpu()

    assert 0 < reading.busy_s <= reading.total_s
    assert 0 < reading.memory_used_bytes < reading.memory_total_bytes
