"""Which GPUs a process may use, found without loading a framework: `import torch` costs seconds and 200 MiB.

`find_gpus` and `find_uuids` ask the machine; `visible_gpus` and `visible_uuids` decide, and are pure.
"""

import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc/driver/nvidia/gpus")
NVML_NAMES: Final = ("libnvidia-ml.so.1", "nvml.dll")
NVML_UUID_SIZE: Final = 96
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


def find_gpus(environ: Mapping[str, str]) -> list[int]:
    """Return the ids of the NVIDIA GPUs that CUDA would show this process, counted from 0 as CUDA counts them."""
    return list(range(len(find_uuids(environ))))


def find_uuids(environ: Mapping[str, str]) -> list[str]:
    """Return the UUIDs of those GPUs: an id is a place in this list."""
    return visible_uuids(_uuids_by_nvml() or _uuids_by_proc(PROC), environ.get(VISIBLE))


def visible_gpus(uuids: Sequence[str], visible: str | None) -> list[int]:
    """Return the ids that CUDA gives to the machine's GPUs `uuids` under CUDA_VISIBLE_DEVICES `visible`.

    `visible` lists indices or prefixes of UUIDs; None shows all. As in CUDA, the list ends at its first entry that is
    not a GPU of this machine (`-1`, by custom, hides all), a repeated one hides all, and what is left is renumbered
    from 0. A `MIG-` slice is believed: it cannot be told from the UUIDs of whole GPUs.
    """
    return list(range(len(visible_uuids(uuids, visible))))


def visible_uuids(uuids: Sequence[str], visible: str | None) -> list[str]:
    """Return those of `uuids` that CUDA shows under CUDA_VISIBLE_DEVICES `visible`, by id."""
    if visible is None:
        return list(uuids)
    shown: list[str] = []
    for entry in visible.split(","):
        uuid = _resolve(entry.strip(), uuids)
        if uuid is None:
            break
        if uuid in shown:
            return []
        shown.append(uuid)
    return shown


def _resolve(entry: str, uuids: Sequence[str]) -> str | None:
    if entry.isdigit():
        return uuids[int(entry)] if int(entry) < len(uuids) else None
    if entry.startswith("MIG-"):
        return entry if uuids else None
    if entry.startswith("GPU-"):
        matching = [uuid for uuid in uuids if uuid.startswith(entry)]
        return matching[0] if len(matching) == 1 else None
    return None


def _uuids_by_nvml() -> list[str]:
    """Ask the driver's own library. Empty where there is none, or where it does not answer."""
    library = None
    for name in NVML_NAMES:
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    if library is None or library.nvmlInit_v2() != 0:
        return []
    try:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        uuids = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            uuid = ctypes.create_string_buffer(NVML_UUID_SIZE)
            if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != 0:
                continue
            if library.nvmlDeviceGetUUID(handle, uuid, ctypes.c_uint(NVML_UUID_SIZE)) == 0:
                uuids.append(uuid.value.decode())
        return uuids
    finally:
        library.nvmlShutdown()


def _uuids_by_proc(folder: Path) -> list[str]:
    """Read what the kernel's driver tells: a folder for each GPU."""
    uuids = []
    for gpu in sorted(folder.glob("*/information")):
        found = re.search(r"^GPU UUID:\s*(\S+)", gpu.read_text(), re.MULTILINE)
        uuids.append(found[1] if found else gpu.parent.name)
    return uuids
