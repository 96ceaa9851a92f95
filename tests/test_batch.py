"""Joining requests and splitting their outputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jubako.batch import join, split
from jubako.errors import Internal
from jubako.request import InferRequest, Signature, TensorSpec
from jubako.tensor import Array, Datatype


def a_request(**arrays: Array) -> InferRequest:
    specs = tuple(TensorSpec(name, Datatype.INT32, array.shape) for name, array in arrays.items())
    return InferRequest("m", 1, Signature(specs), list(arrays.values()))


def ints(rows: int, start: int = 0) -> Array:
    return np.arange(start, start + rows * 2, dtype=np.int32).reshape(rows, 2)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_splitting_what_was_joined_gives_each_request_its_own_rows(rows: list[int]) -> None:
    requests = [a_request(x=ints(n, 100 * i)) for i, n in enumerate(rows)]

    shares = split([join(requests)["x"]], ["x"], rows)

    for request, (share,) in zip(requests, shares, strict=True):
        np.testing.assert_array_equal(share, request.arrays[0])


def test_a_lone_request_is_passed_through_without_a_copy() -> None:
    array = ints(3)

    assert join([a_request(x=array)])["x"] is array


def test_unaligned_views_are_copied_into_alignment() -> None:
    view = np.ndarray((2, 2), np.int32, bytes(range(17)), 1)
    assert not view.flags.aligned

    joined = join([a_request(x=view)])["x"]

    assert joined.flags.aligned
    np.testing.assert_array_equal(joined, view)


def test_inputs_are_matched_by_name_when_requests_list_them_in_different_orders() -> None:
    one = a_request(a=ints(1, 0), b=ints(1, 10))
    other = a_request(b=ints(1, 30), a=ints(1, 20))

    joined = join([one, other])

    np.testing.assert_array_equal(joined["a"], [[0, 1], [20, 21]])
    np.testing.assert_array_equal(joined["b"], [[10, 11], [30, 31]])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (ints(4), "output 'y' has 4 rows for a batch of 3"),
        (np.array(1, np.int32), "output 'y' has no rows for a batch of 3"),
    ],
)
def test_an_output_without_a_row_for_each_row_in_is_the_models_fault(output: Array, message: str) -> None:
    with pytest.raises(Internal, match=message):
        split([output], ["y"], [1, 2])
