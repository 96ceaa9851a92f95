"""BentoML's own API: nested lists to arrays and back."""

import numpy as np
import pytest

from jubako.bundle.api import to_array, to_lists
from jubako.errors import InvalidArgument
from jubako.request import InferRequest, InferResponse, ResponseSignature, Signature, TensorSpec
from jubako.tensor import Array, Datatype

REQUEST = InferRequest("m", 1, Signature(()), ())
NUMBERS = [datatype for datatype in Datatype if datatype not in {Datatype.BYTES, Datatype.BF16, Datatype.BOOL}]


def response(datatype: Datatype, array: Array) -> InferResponse:
    """A response with one output `Y`."""
    return InferResponse(REQUEST, ResponseSignature("m", 1, (TensorSpec("Y", datatype, array.shape),)), [array])


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_become_the_models_datatype_and_come_back(datatype: Datatype) -> None:
    found, array = to_array("X", [[1, 2], [3, 4]], datatype)

    assert (found, array.dtype, array.shape) == (datatype, datatype.dtype, (2, 2))
    assert to_lists(response(found, array)) == {"Y": [[1, 2], [3, 4]]}


def test_booleans_are_no_numbers() -> None:
    assert to_array("X", [True, False], Datatype.BOOL)[1].tolist() == [True, False]
    with pytest.raises(InvalidArgument, match="not of datatype BOOL"):
        to_array("X", [1, 0], Datatype.BOOL)


def test_text_becomes_bytes_and_comes_back() -> None:
    datatype, array = to_array("X", [["grüß", ""]], Datatype.BYTES)

    assert array.tolist() == [["grüß".encode(), b""]]
    assert to_lists(response(datatype, array)) == {"Y": [["grüß", ""]]}


@pytest.mark.parametrize(
    ("value", "datatype"),
    [([1, 2], Datatype.INT64), ([1.5], Datatype.FP32), ([True], Datatype.BOOL), (["a"], Datatype.BYTES)],
)
def test_an_input_that_the_model_does_not_know_gets_the_datatype_that_fits(value: object, datatype: Datatype) -> None:
    assert to_array("X", value, None)[0] is datatype


def test_an_empty_input_is_of_the_models_datatype() -> None:
    assert to_array("X", [[]], Datatype.INT8)[1].shape == (1, 0)


@pytest.mark.parametrize(
    ("value", "datatype", "message"),
    [
        ([1.5], Datatype.INT32, "not of datatype INT32"),
        ([300], Datatype.INT8, "out of the range of INT8"),
        ([-1], Datatype.UINT64, "out of the range of UINT64"),
        ([2**70], Datatype.INT64, "INT64|one datatype"),
        ([[1], [1, 2]], Datatype.FP32, "not a full array"),
        (["a"], Datatype.FP32, "not of datatype FP32"),
        ([1], Datatype.BYTES, "not a full array"),
        ([None], Datatype.FP32, "not of datatype FP32"),
        ([1.0], Datatype.BF16, "BF16 has no JSON form"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_never_bent(value: object, datatype: Datatype, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        to_array("X", value, datatype)


def test_bytes_that_are_no_text_have_no_form_here() -> None:
    array = np.empty(1, dtype=object)
    array[0] = b"\xff"

    with pytest.raises(InvalidArgument, match="no UTF-8"):
        to_lists(response(Datatype.BYTES, array))
