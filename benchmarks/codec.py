"""What it costs to read a request and to write an answer, without a socket."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from benchmarks.exchange import DATATYPES, Array, binary_body, json_body
from benchmarks.timing import Timing, measure
from jubako.protocols.rest.decode import decode
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.limits import Limits
from jubako.request import InferResponse, ResponseSignature, TensorSpec
from jubako.runner import Runner, RunnerOptions
from jubako.tensor import BY_NAME


@dataclass(frozen=True, slots=True)
class Case:
    """A request that is read, and whose inputs are then written as the answer."""

    name: str
    inputs: Mapping[str, Array]
    binary: bool


def cases() -> Sequence[Case]:
    """Return what is measured."""
    random = np.random.default_rng(20)
    integers = random.integers(-1000, 1000, (2, 1, 16), dtype=np.int32)
    simple = {"INPUT0": integers[0], "INPUT1": integers[1]}
    return (
        Case("simple, binary", simple, binary=True),
        Case("simple, JSON", simple, binary=False),
        Case("12,288 floats, JSON", {"X": random.random((1, 12288), np.float32)}, binary=False),
        Case("1 MB of floats, binary", {"X": random.random((1, 262144), np.float32)}, binary=True),
    )


async def run(seconds: float) -> list[Timing]:
    """Measure each case for about `seconds`, both ways. A coroutine, because a runner lives in a loop."""
    return [timing for case in cases() for timing in _measure(case, seconds)]


def _measure(case: Case, seconds: float) -> list[Timing]:
    runner = Runner(_config(case.inputs), 1, {}, (), RunnerOptions())
    limits = Limits()
    if case.binary:
        body, length = binary_body(case.inputs, list(case.inputs))
    else:
        body = json_body(case.inputs)
        length = len(body)
    request, plan = decode(body, length, runner, limits, time.monotonic_ns())
    for array, sent in zip(request.arrays, case.inputs.values(), strict=True):
        np.testing.assert_array_equal(array, sent)
    specs = tuple(TensorSpec(name, BY_NAME[_datatype(array)], array.shape) for name, array in case.inputs.items())
    response = InferResponse(request, ResponseSignature("echo", 1, specs), list(case.inputs.values()))

    def write() -> object:
        answer = encode(response, plan)
        parts: list[Any] = [answer.json, *answer.tensors]
        return b"".join(parts)  # as the lane does: one write

    return [
        measure(f"decode {case.name}", lambda: decode(body, length, runner, limits, 0), seconds),
        measure(f"encode {case.name}", write, seconds),
    ]


def _config(inputs: Mapping[str, Array]) -> ModelConfig:
    tensors = [
        f'{side} {{ name: "{name}" data_type: TYPE_{_datatype(array)} dims: {list(array.shape[1:])} }}'
        for side in ("input", "output")
        for name, array in inputs.items()
    ]
    return text_format.Parse(f'name: "echo" max_batch_size: 8 {" ".join(tensors)}', ModelConfig())


def _datatype(array: Array) -> str:
    return next(name for name, code in DATATYPES.items() if np.dtype(code) == array.dtype)


def main(seconds: float) -> list[Timing]:
    """Run in a loop of its own."""
    return asyncio.run(run(seconds))
