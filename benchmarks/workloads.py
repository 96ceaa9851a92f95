"""What is asked of the servers: models of `repository/`, bodies from a fixed seed, and the right answers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from benchmarks.exchange import HEADER_LENGTH, Exchange, SameBytes, SameOutputs, binary_body, json_body

REPOSITORY: Final = Path(__file__).parents[1] / "repository"
SEED: Final = 20
BODIES: Final = 32
"""Different bodies of one workload, so that an answer that belongs to another request is seen."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One line of the benchmark."""

    name: str
    model: str
    connections: int
    make: Callable[[], Sequence[Exchange]]


def simple_binary() -> list[Exchange]:
    """Return requests to `simple`, 16 + 16 integers as binary tensors."""
    return [
        _binary("simple", {"INPUT0": a, "INPUT1": b}, SameOutputs({"OUTPUT0": a + b, "OUTPUT1": a - b}))
        for a, b in integers()
    ]


def simple_json() -> list[Exchange]:
    """Return requests to `simple`, 16 + 16 integers as JSON, answered in JSON."""
    return [
        Exchange(
            "/v2/models/simple/infer",
            {"Content-Type": "application/json"},
            json_body({"INPUT0": a, "INPUT1": b}),
            SameOutputs({"OUTPUT0": a + b, "OUTPUT1": a - b}),
        )
        for a, b in integers()
    ]


def digits_binary() -> list[Exchange]:
    """Return requests to `digits`, one 8 × 8 image each; onnxruntime alone says what the answers are."""
    newest = max((REPOSITORY / "digits").glob("*/model.onnx"), key=lambda path: int(path.parent.name))
    session = onnxruntime.InferenceSession(newest, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(SEED)
    exchanges = []
    for _ in range(BODIES):
        image = random.uniform(0, 16, (1, 1, 8, 8)).round().astype(np.float32)
        (scores,) = session.run(["SCORES"], {"IMAGE": image})
        exchanges.append(_binary("digits", {"IMAGE": image}, SameOutputs({"SCORES": scores}, tolerance=1e-4)))
    return exchanges


WORKLOADS: Final[Sequence[Workload]] = (
    Workload("simple, binary", "simple", 1, simple_binary),
    Workload("simple, binary", "simple", 8, simple_binary),
    Workload("simple, binary", "simple", 32, simple_binary),
    Workload("simple, JSON", "simple", 8, simple_json),
    Workload("digits, binary", "digits", 32, digits_binary),
)


def echo_of(exchange: Exchange, answer_size: int) -> Exchange:
    """Return the same request to the echo server, which answers with `answer_size` bytes of it."""
    answer = exchange.body[:answer_size].ljust(answer_size)
    return Exchange(f"/echo/{answer_size}", exchange.headers, exchange.body, SameBytes(answer))


def integers() -> Iterator[tuple[np.ndarray[tuple[int, int], np.dtype[np.int32]], ...]]:
    """Yield the two inputs of each request to `simple`."""
    random = np.random.default_rng(SEED)
    for _ in range(BODIES):
        a, b = random.integers(-1000, 1000, (2, 1, 16), dtype=np.int32)
        yield a, b


def _binary(
    model: str, inputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]], check: SameOutputs
) -> Exchange:
    body, length = binary_body(inputs, list(check.outputs))
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(length)}
    return Exchange(f"/v2/models/{model}/infer", headers, body, check)
