"""A loaded TorchScript module, as an instance."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final

import numpy as np
import torch
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.base import Instance
from jubako.backends.pytorch.forward import Forward, Tensors
from jubako.backends.pytorch.script import Memory, held_memory, last_line, memory, writes_to_tensors
from jubako.backends.pytorch.settings import TorchSettings
from jubako.backends.reshape import Reshape, inward, outward
from jubako.errors import Internal, InvalidArgument, JubakoError
from jubako.tensor import BY_CONFIG_NUMBER, Array, Datatype

BY_TORCH_TYPE: Final[Mapping[torch.dtype, Datatype]] = {
    torch.bool: Datatype.BOOL,
    torch.uint8: Datatype.UINT8,
    torch.uint16: Datatype.UINT16,
    torch.uint32: Datatype.UINT32,
    torch.uint64: Datatype.UINT64,
    torch.int8: Datatype.INT8,
    torch.int16: Datatype.INT16,
    torch.int32: Datatype.INT32,
    torch.int64: Datatype.INT64,
    torch.float16: Datatype.FP16,
    torch.float32: Datatype.FP32,
    torch.float64: Datatype.FP64,
    torch.bfloat16: Datatype.BF16,
}


def _spend_read_only_warning() -> None:
    """Let torch give its warning about read-only arrays now, unheard: it gives it once a process.

    Requests are read-only views of what was received. We never write to them: a module with an operator that works in
    place gets copies.
    """
    array = np.zeros(1, dtype=np.float32)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.from_numpy(array)


_spend_read_only_warning()


class TorchInstance(Instance):
    """Runs a TorchScript module on one device."""

    def __init__(
        self, module: Any, forward: Forward, config: ModelConfig, settings: TorchSettings, device: str | None
    ) -> None:
        batched = config.max_batch_size > 0
        self._forward: Forward | None = forward
        self._module = module  # instances that share weights find it by a weak reference
        self._device = None if device == "cpu" else device
        self._optimised = settings.optimized_execution
        # Making one costs more than entering it, and an instance enters it in one thread only.
        self._mode = torch.inference_mode() if settings.inference_mode else torch.no_grad()
        self._copies = writes_to_tensors(module)
        self._held = held_memory(module)
        self._strings = frozenset(tensor.name for tensor in config.input if tensor.data_type == _number(Datatype.BYTES))
        self._bf16 = frozenset(tensor.name for tensor in config.input if tensor.data_type == _number(Datatype.BF16))
        self._before = _present({tensor.name: inward(tensor, batched) for tensor in config.input})
        self._after = _present({tensor.name: outward(tensor, batched) for tensor in config.output})
        self._datatypes = {tensor.name: BY_CONFIG_NUMBER[tensor.data_type] for tensor in config.output}

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """See `Instance.execute`."""
        forward = self._forward
        assert forward is not None, "closed"
        tensors = {name: self._tensor(name, array) for name, array in inputs.items()}
        try:
            with self._mode if self._optimised else self._unoptimised():
                results = forward(tensors)
        except JubakoError:
            raise
        except Exception as error:
            raise Internal(f"PyTorch execute failure: {last_line(error)}") from error
        occupied = self._held + [memory(tensor) for tensor in tensors.values() if isinstance(tensor, torch.Tensor)]
        return [self._array(name, results, forward.results[name], occupied) for name in outputs]

    def close(self) -> None:
        """Free the module, and with it the model's memory."""
        self._forward = self._module = None

    def _unoptimised(self) -> AbstractContextManager[Any]:
        modes = ExitStack()
        modes.enter_context(self._mode)
        modes.enter_context(torch.jit.optimized_execution(False))  # type: ignore[attr-defined]
        return modes

    def _tensor(self, name: str, array: Array) -> Tensors:
        if name in self._before:
            array = self._before[name](array)
        if name in self._strings:
            return _strings(name, array)
        tensor = torch.from_numpy(array.copy() if self._copies else array)
        if name in self._bf16:
            tensor = tensor.view(torch.bfloat16)
        return tensor if self._device is None else tensor.to(self._device)

    def _array(self, name: str, results: Sequence[Any], position: int, occupied: Sequence[Memory]) -> Array:
        """Return the result at `position` as the array of output `name`, copied only if it is someone else's memory."""
        if position >= len(results):
            raise Internal(f"output tensor '{name}' is not found")
        result, expected = results[position], self._datatypes[name]
        if isinstance(result, torch.Tensor):
            found = BY_TORCH_TYPE.get(result.dtype)
        elif isinstance(result, list) and all(isinstance(element, str) for element in result):
            found = Datatype.BYTES
        else:
            raise InvalidArgument(f"output '{name}' must be of type Tensor or List[str].")
        if found is not expected:
            raise InvalidArgument(
                f"configuration expects datatype TYPE_{expected.name} for output '{name}', model provides "
                f"TYPE_{found.name if found else '<invalid>'}"
            )
        array = _bytes(result) if found is Datatype.BYTES else _own(result, occupied)
        return self._after[name](array) if name in self._after else array


def _own(tensor: torch.Tensor, occupied: Sequence[Memory]) -> Array:
    """Return the array of `tensor`, in memory that nobody else will write to: copied if it lies in `occupied`."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if not (tensor.is_cpu and tensor.is_contiguous()):
        tensor = tensor.cpu().contiguous()
    address = tensor.data_ptr()
    for start, stop in occupied:
        if start <= address < stop:
            tensor = tensor.clone()
            break
    array: Array = (tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array


def _number(datatype: Datatype) -> int:
    return datatype.config_number


def _present(reshapes: Mapping[str, Reshape | None]) -> dict[str, Reshape]:
    return {name: reshape for name, reshape in reshapes.items() if reshape is not None}


def _strings(name: str, array: Array) -> list[str]:
    try:
        return [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"input '{name}' has a string that is not valid UTF-8 ({error.reason} at byte {error.start}); the pytorch "
            "backend takes UTF-8 strings only"
        ) from error


def _bytes(strings: list[str]) -> Array:
    array = np.empty(len(strings), dtype=object)
    array[:] = [element.encode() for element in strings]
    return array
