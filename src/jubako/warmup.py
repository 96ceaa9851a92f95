"""Executions before a version is ready: the samples of `model_warmup`.

`read_samples` makes them from the configuration and the files in `warmup/`; `warm_up` runs them on every instance, past
the scheduler. A sample is one batch of `batch_size` equal requests of one row. Texts and their order are Triton's.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelWarmup

from jubako.config.interface import Interface, interface_of
from jubako.errors import Internal, InvalidArgument, Unsupported
from jubako.instances import Execution, InstanceThread
from jubako.request import InferRequest, Signature, TensorSpec, label
from jubako.statistics import ModelStatistics
from jubako.tensor import BY_CONFIG_NUMBER, Array, Datatype, decode_bytes, element_count

log = logging.getLogger("jubako.warmup")

FOLDER: Final = "warmup"
SEED: Final = 0
"""Random data is the same at each load, so that a failure comes again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch, and how often it runs."""

    name: str
    request: InferRequest
    """Of one row."""
    batch_size: int
    count: int

    def execution(self, interface: Interface) -> Execution:
        """Return the batch, to be run once."""
        requests, rows = [self.request] * self.batch_size, [1] * self.batch_size
        return Execution(requests, rows, tuple(interface.outputs), interface.batched)


def read_samples(config: ModelConfig, root: Path) -> list[Sample]:
    """Return the samples of a completed configuration; `root` is the model's folder. Reads files.

    Raises:
        JubakoError: a sample does not fit the model, or its data is not there.
    """
    interface = interface_of(config)
    return [_read(sample, interface, root) for sample in config.model_warmup if sample.batch_size]


def _read(sample: ModelWarmup, interface: Interface, root: Path) -> Sample:
    allowed = interface.max_batch_size
    if sample.batch_size > max(1, allowed):  # before memory is taken for so many
        raise _failed(sample.name, f"batch size {sample.batch_size} for '{interface.model}', max allowed is {allowed}")
    specs: list[TensorSpec] = []
    arrays: list[Array] = []
    for name, given in sorted(sample.inputs.items()):
        if any(size < 0 for size in given.dims):
            raise InvalidArgument(
                f"warmup setting expects all variable-size dimensions are specified for input '{name}'"
            )
        spec = TensorSpec(name, _datatype(name, given, interface), _shape(given, interface))
        specs.append(spec)
        arrays.append(_data(spec, given, interface.model, root))
    signature = Signature(tuple(specs))
    interface.admit(signature)
    return Sample(
        sample.name, InferRequest(interface.model, -1, signature, arrays), sample.batch_size, max(1, sample.count)
    )


def _datatype(name: str, given: ModelWarmup.Input, interface: Interface) -> Datatype:
    datatype = BY_CONFIG_NUMBER.get(given.data_type)
    if datatype is None:
        known = interface.inputs.get(name)
        expected = f"expects '{known.datatype.name}'" if known is not None else "has no such input"
        raise InvalidArgument(
            f"{label('')}inference input '{name}' data-type is '<invalid>', but model '{interface.model}' {expected}"
        )
    return datatype


def _shape(given: ModelWarmup.Input, interface: Interface) -> tuple[int, ...]:
    return (1, *given.dims) if interface.batched else tuple(given.dims)


def _data(spec: TensorSpec, given: ModelWarmup.Input, model: str, root: Path) -> Array:
    match given.WhichOneof("input_data_type"):
        case "zero_data":
            return zeros(spec)
        case "random_data":
            return randoms(spec)
        case "input_data_file":
            return _from_file(spec, given.input_data_file, model, root)
        case _:
            raise InvalidArgument(f"{label('')}warmup setting expects input '{spec.name}' to have input_data_type set")


def zeros(spec: TensorSpec) -> Array:
    """Return a tensor of zeros, or of empty strings."""
    element_count(spec.shape, spec.name)
    fill = b"" if spec.datatype is Datatype.BYTES else 0
    return np.full(spec.shape, fill, spec.datatype.dtype)


def randoms(spec: TensorSpec) -> Array:
    """Return a tensor of any integers, of fractions from 0 to 1, or, as Triton's, of empty strings."""
    count = element_count(spec.shape, spec.name)
    random = np.random.default_rng(SEED)
    flat: Array
    match spec.datatype:
        case Datatype.BYTES:
            return zeros(spec)
        case Datatype.BOOL:
            flat = random.integers(0, 2, count).astype(bool)
        case Datatype.BF16:
            flat = (random.random(count, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        case Datatype.FP16 | Datatype.FP32 | Datatype.FP64:
            flat = random.random(count).astype(spec.datatype.dtype)
        case _:
            flat = np.frombuffer(random.bytes(count * spec.datatype.dtype.itemsize), spec.datatype.dtype)
    return flat.reshape(spec.shape)


def _from_file(spec: TensorSpec, file: str, model: str, root: Path) -> Array:
    data = _read_file(file, model, root)
    if spec.datatype is Datatype.BYTES:
        return decode_bytes(data, spec.shape, spec.name, model)
    size = element_count(spec.shape, spec.name) * spec.datatype.dtype.itemsize
    if len(data) < size:
        raise InvalidArgument(  # without a space, as Triton has it
            f"{label('')}warmup setting expects {size} bytes, but the data provided from {file}only has "
            f"{len(data)} bytes"
        )
    return np.frombuffer(data[:size], spec.datatype.dtype).reshape(spec.shape)


def _read_file(file: str, model: str, root: Path) -> bytes:
    path = root / FOLDER / file
    if not path.resolve().is_relative_to((root / FOLDER).resolve()):
        raise Unsupported(f"warmup file '{file}' of model '{model}' is outside its folder {FOLDER}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Internal(f"failed to open text file for read {model}/{FOLDER}/{file}: {error.strerror}") from error


async def warm_up(
    instances: Iterable[InstanceThread],
    samples: Sequence[Sample],
    interface: Interface,
    statistics: ModelStatistics,
) -> None:
    """Run each of `samples` on each of `instances` that is not passive, side by side; count the executions.

    Raises:
        InvalidArgument: one failed. Others may still be running then: close the instances, which waits for them.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            for instance in instances:
                if not instance.placement.passive:
                    tasks.create_task(_warm_up_one(instance, samples, interface, statistics))
    except* InvalidArgument as failures:
        first = failures.exceptions[0]
    else:
        return
    raise first


async def _warm_up_one(
    instance: InstanceThread, samples: Sequence[Sample], interface: Interface, statistics: ModelStatistics
) -> None:
    for sample in samples:
        log.debug("instance '%s' runs warmup sample '%s'", instance.placement.name, sample.name)
        for _ in range(sample.count):
            execution = sample.execution(interface)
            await _run(instance, execution)
            if execution.error is not None:
                raise _failed(sample.name, str(execution.error))
            _count(execution, sample.batch_size, instance.placement.gpu, statistics)


async def _run(instance: InstanceThread, execution: Execution) -> None:
    over = asyncio.get_running_loop().create_future()

    def done(_: Execution) -> None:
        if not over.done():  # else nobody waits any more
            over.set_result(None)

    instance.run(execution, done)
    await over


def _count(execution: Execution, rows: int, gpu: int | None, statistics: ModelStatistics) -> None:
    """Count an execution and no request: none was sent."""
    now_ms = time.time_ns() // 1_000_000
    input_ns = execution.input_end_ns - execution.start_ns
    infer_ns = execution.infer_end_ns - execution.input_end_ns
    output_ns = execution.stop_ns - execution.infer_end_ns
    for share in (statistics,) if gpu is None else (statistics, statistics.on_gpu(gpu)):
        share.executed(rows, input_ns, infer_ns, output_ns, now_ms)


def _failed(sample: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"failed to run warmup sample '{sample}': {reason}; ")
