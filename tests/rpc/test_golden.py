"""Jubako's answers beside those of the real Triton, case by case."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
import pytest
from fakes import FakeModel, identity, simple, tensors

from jubako.errors import Internal

from .cases import CASES, Case
from .record import Answer, ask
from .serving import Served, serving

GOLDEN: Final[Mapping[str, Answer]] = json.loads((Path(__file__).parent / "golden.json").read_text())


def refusal(status: str, details: str) -> Answer:
    return {"status": status, "details": details, "messages": []}


DIFFERENT: Final[Mapping[str, tuple[Answer, str]]] = {
    "ModelInfer/shape [1, -16]": (
        refusal(
            "INVALID_ARGUMENT",
            "[request id: <id_unknown>] All input dimensions should be specified for input 'INPUT0' for model "
            "'simple', got [1,-16]",
        ),
        "it says what is wrong, whichever number below zero it is",
    ),
    "ModelInfer/shape [8589934592, 8589934592]": (
        refusal(
            "INVALID_ARGUMENT",
            "invalid shape for input 'INPUT0': shape [8589934592,8589934592] causes total element count to exceed "
            "maximum size of 9223372036854775807",
        ),
        "as over HTTP, and before anything is computed from it",
    ),
    "ModelInfer/strings b'\\xff\\xff\\xff\\xff'": (
        refusal(
            "INVALID_ARGUMENT",
            "incomplete string data for inference input 'INPUT0', expecting string of length 4294967295 but only 0 "
            "bytes available",
        ),
        "Triton adds the length to four, in 32 bits",
    ),
    "Nonsense/": (refusal("UNIMPLEMENTED", "Method not found!"), "gRPC for Python says so"),
}
"""Where Jubako differs on purpose: its answer, and why."""

HASH_ORDER: Final = frozenset(
    {
        "ModelInfer/datatype ''",
        "ModelInfer/datatype 'FP16'",
        "ModelInfer/datatype 'FP32'",
        "ModelInfer/datatype 'STRING'",
        "ModelInfer/datatype 'int32'",
        "ModelInfer/shape [1, 16, 1]",
        "ModelInfer/shape [1, 8]",
        "ModelInfer/shape []",
        f"ModelInfer/shape {[1] * 30}",
        "ModelInfer/strings of another datatype",
        "ModelInfer/typed bytes 1",
        "ModelInfer/typed bytes 3",
        "ModelInfer/typed few",
        "ModelInfer/typed int as INT8",
        "ModelInfer/typed many",
        "ModelInfer/typed none",
        "ModelInfer/typed uint as UINT16",
    }
)
"""Where both inputs are wrong: Triton names the first in its hash table, Jubako the first in the request."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("models"), models()) as served:
        yield served


@pytest.fixture(scope="module")
def channel(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.url) as channel:
        yield channel


def models() -> dict[str, FakeModel]:
    strings = FakeModel(
        "max_batch_size: 8\n"
        + tensors("input", ("INPUT0", "STRING", "[ 2 ]"), ("INPUT1", "STRING", "[ 2 ]"))
        + tensors("output", ("OUTPUT0", "STRING", "[ 2 ]")),
        lambda inputs: [inputs["INPUT0"] + inputs["INPUT1"]],
    )
    scores = FakeModel(
        "max_batch_size: 4\n"
        + tensors("input", ("INPUT0", "FP32", "[ 3 ]"))
        + tensors("output", ("OUTPUT0", "FP32", '[ 3 ] label_filename: "labels.txt"')),
        lambda inputs: [inputs["INPUT0"].copy()],
        labels=("zero", "one"),
    )
    failing = identity("INT64", dims="[ 1 ]")

    def fail(_: Any) -> Any:
        raise Internal("indices element out of data bounds")

    failing.function = fail
    broken = identity("FP32", more="unknown_field: 1\n")
    return {
        "simple": simple(),
        "strings": strings,
        "scores": scores,
        "matrix": identity("FP32", dims="[ -1, -1 ]"),
        "failing": failing,
        "broken": broken,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_answered_as_the_real_triton_does(channel: Any, case: Case) -> None:
    expected = DIFFERENT[case.name][0] if case.name in DIFFERENT else GOLDEN[case.name]
    if case.name in HASH_ORDER:
        expected = {**expected, "details": expected["details"].replace("'INPUT1'", "'INPUT0'")}

    for _ in range(2):  # the second time by what is remembered of the first
        assert ask(channel, case) == expected


def test_every_difference_is_one() -> None:
    assert DIFFERENT.keys() <= GOLDEN.keys()
    assert all(GOLDEN[name] != answer for name, (answer, _) in DIFFERENT.items())
