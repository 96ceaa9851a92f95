"""GPU memory of other processes, through the driver's own library: no CUDA toolkit is needed, only a driver.

A client exports its memory with `cudaIpcGetMemHandle` (or `cuIpcGetMemHandle`, the same 64 bytes). Tensors pass through
the host: copied from the GPU when a request is read, to it before its answer.
"""

import ctypes
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from jubako.protocols.shared_memory.memory import Device
from jubako.tensor import Array

log = logging.getLogger("jubako.shared_memory")

LIBRARY: Final = "libcuda.so.1"
HANDLE_SIZE: Final = 64
LAZY_ENABLE_PEER_ACCESS: Final = ctypes.c_uint(1)
DEFAULT_STREAM: Final = ctypes.c_void_p(0)


class IpcHandle(ctypes.Structure):
    """`CUipcMemHandle`: it is passed by value."""

    _fields_ = (("reserved", ctypes.c_char * HANDLE_SIZE),)


def find_device() -> Device | None:
    """Return what opens GPU memory; None on a machine without a GPU or its driver. May take a second."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    count = ctypes.c_int()
    if library.cuInit(ctypes.c_uint(0)) or library.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    return CudaDriver(library)


class CudaDriver:
    """The driver's library, with the primary context of each GPU that was asked for: the frameworks' own."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._contexts: dict[int, ctypes.c_void_p] = {}
        self._lock = threading.Lock()

    def open(self, handle: bytes, device_id: int) -> "CudaMemory":
        """Return the memory behind `handle`.

        Raises:
            OSError: no such GPU, or the handle is none of its.
        """
        # ctypes would end a char array at its first NUL: the bytes are copied in as they are
        exported = IpcHandle.from_buffer_copy(handle)
        context = self._context(device_id)
        pointer, base, size = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_size_t()
        with self.within(context):
            self.call("cuIpcOpenMemHandle_v2", ctypes.byref(pointer), exported, LAZY_ENABLE_PEER_ACCESS)
            memory = CudaMemory(self, context, pointer)
            self.call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), pointer)
        memory.size = base.value + size.value - pointer.value
        return memory

    def _context(self, device_id: int) -> ctypes.c_void_p:
        with self._lock:
            context = self._contexts.get(device_id)
            if context is None:
                device, context = ctypes.c_int(), ctypes.c_void_p()
                if not 0 <= device_id < 2**31:  # ctypes would cut it to something else
                    raise OSError("no such GPU")
                self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(device_id))
                self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
                self._contexts[device_id] = context
            return context

    @contextmanager
    def within(self, context: ctypes.c_void_p) -> Iterator[None]:
        """Make `context` this thread's for a while."""
        self.call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self._library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises:
            OSError: it says no.
        """
        if status := getattr(self._library, name)(*arguments):
            raise OSError(f"{name} answered {status}")

    def close(self, context: ctypes.c_void_p, pointer: ctypes.c_uint64) -> None:
        """Let memory go."""
        try:
            with self.within(context):
                self.call("cuIpcCloseMemHandle", pointer)
        except OSError as error:
            log.warning("GPU memory of a client could not be let go: %s", error)


class CudaMemory:
    """Another process's GPU memory. Let go when the last reference is dropped."""

    def __init__(self, driver: CudaDriver, context: ctypes.c_void_p, pointer: ctypes.c_uint64) -> None:
        self._driver = driver
        self._context = context
        self._pointer = pointer
        self.size = 0
        weakref.finalize(self, driver.close, context, pointer).atexit = False

    def read(self, offset: int, size: int) -> Array:
        """Return a copy of `size` bytes, or of those there are."""
        data = np.empty(max(0, min(size, self.size - offset)), np.uint8)
        with self._driver.within(self._context):
            self._driver.call("cuMemcpyDtoH_v2", _pointer(data), self._at(offset), ctypes.c_size_t(data.nbytes))
        return data

    def write(self, offset: int, data: memoryview) -> None:
        """Write `data`, and wait until it has arrived: a copy to the GPU may return before."""
        array = np.frombuffer(data, np.uint8)
        with self._driver.within(self._context):
            self._driver.call("cuMemcpyHtoD_v2", self._at(offset), _pointer(array), ctypes.c_size_t(array.nbytes))
            self._driver.call("cuStreamSynchronize", DEFAULT_STREAM)

    def _at(self, offset: int) -> ctypes.c_uint64:
        return ctypes.c_uint64(self._pointer.value + offset)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
