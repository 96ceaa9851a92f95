import json
import struct
from typing import Any

import numpy as np
import pytest

from jubako.errors import InvalidArgument
from jubako.protocols.classification import classify
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.plan import OutputPlan, ReplyPlan
from jubako.tensor import Array, Datatype

from .codec import an_answer, whole

FP32 = Datatype.FP32
LABELS = ["zero", "one", ""]


def scores(*values: Any, dtype: str = "<f4") -> Array:
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("array", "datatype", "count", "classes"),
    [
        (scores(0.1, 0.9, 0.5), FP32, 1, [b"0.900000:1:one"]),
        (scores(0.1, 0.9, 0.5), FP32, 2, [b"0.900000:1:one", b"0.500000:2"]),
        (scores(0.1, 0.9), FP32, 5, [b"0.900000:1:one", b"0.100000:0:zero"]),
        (scores(1, 1, 1, 1), FP32, 3, [b"1.000000:0:zero", b"1.000000:1:one", b"1.000000:2"]),
        (scores(1e20, -1e-9), FP32, 2, [b"100000002004087734272.000000:0:zero", b"-0.000000:1:one"]),
        (scores(1.5, dtype="<f8"), Datatype.FP64, 1, [b"1.500000:0:zero"]),
        (scores(-3, 7, dtype="<i8"), Datatype.INT64, 2, [b"7:1:one", b"-3:0:zero"]),
        (scores(2**64 - 1, 0, dtype="<u8"), Datatype.UINT64, 1, [b"18446744073709551615:0:zero"]),
        (scores(255, 1, dtype="u1"), Datatype.UINT8, 2, [b"255:0:zero", b"1:1:one"]),
        (scores([1, 2], [3, 4]), FP32, 2, [b"4.000000:3", b"3.000000:2"]),
        (scores(), FP32, 2, []),
    ],
)
def test_the_highest_come_first_with_their_labels(
    array: Array, datatype: Datatype, count: int, classes: list[bytes]
) -> None:
    assert classify(array, datatype, count, LABELS, batched=False).tolist() == classes


def test_each_row_of_a_batch_is_ranked_by_itself() -> None:
    ranked = classify(scores([1, 2], [4, 3]), FP32, 1, [], batched=True)

    assert ranked.tolist() == [[b"2.000000:1"], [b"4.000000:0"]]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_an_empty_batch_has_no_classes(shape: tuple[int, ...]) -> None:
    ranked = classify(np.empty(shape, "<f4"), FP32, 2, [], batched=True)

    assert (ranked.shape[0], ranked.size) == (shape[0], 0)


@pytest.mark.parametrize("datatype", [Datatype.BOOL, Datatype.FP16, Datatype.BF16, Datatype.BYTES])
def test_what_has_no_order_is_refused(datatype: Datatype) -> None:
    with pytest.raises(InvalidArgument) as raised:
        classify(np.zeros(3, datatype.dtype), datatype, 1, [], batched=False)

    assert str(raised.value) == f"class result not available for output due to unsupported type '{datatype.name}'"


def test_more_than_a_million_elements_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^classification output tensor too large$"):
        classify(np.zeros(1_000_001, "<f4"), FP32, 1, [], batched=False)


def test_classes_are_an_output_of_strings_in_each_form() -> None:
    answer = an_answer({"OUTPUT0": (FP32, scores([0.5, 2]))}, batched=True, labels={"OUTPUT0": LABELS})

    listed = encode(answer, ReplyPlan(default=OutputPlan(classification=1)))
    binary = encode(answer, ReplyPlan(default=OutputPlan(classification=1, binary=True)))

    tensor = json.loads(listed.json)["outputs"][0]
    assert tensor == {"name": "OUTPUT0", "datatype": "BYTES", "shape": [1, 1], "data": ["2.000000:1:one"]}
    assert json.loads(binary.json)["outputs"][0]["parameters"] == {"binary_data_size": 18}
    assert whole(binary).endswith(struct.pack("<I", 14) + b"2.000000:1:one")
