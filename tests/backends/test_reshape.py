import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.models import config
from jubako.backends.reshape import Reshape, inward, model_dims, outward
from jubako.errors import InvalidArgument

RESHAPED = [
    ((1,), (), False, (1,), ()),
    ((1,), (), True, (5, 1), (5,)),
    ((), (1,), True, (5,), (5, 1)),
    ((4, 4), (16,), True, (2, 4, 4), (2, 16)),
    ((4, 4), (16,), True, (0, 4, 4), (0, 16)),
    ((2, -1), (-1, 2), False, (2, 7), (7, 2)),
    ((-1, 1, -1), (-1, -1), False, (3, 1, 5), (3, 5)),
    ((-1, 2), (1, -1, 2), True, (9, 0, 2), (9, 1, 0, 2)),
]


@pytest.mark.parametrize(("source", "target", "batched", "given_shape", "expected"), RESHAPED)
def test_the_model_sees_the_shape_of_reshape(
    source: tuple[int, ...],
    target: tuple[int, ...],
    batched: bool,
    given_shape: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    array = np.arange(math.prod(given_shape), dtype=np.int32).reshape(given_shape)

    reshaped = Reshape("X", source, target, batched)(array)

    assert reshaped.shape == expected
    assert reshaped.ravel().tolist() == array.ravel().tolist()
    assert array.size == 0 or np.shares_memory(array, reshaped)


@pytest.mark.parametrize("shape", [(2, 4), (4,), (2, 4, 4, 1), (2, 4, 5)])
def test_another_shape_than_the_configured_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match=r"tensor 'X': cannot reshape from \[.*\], expected \[-1,4,4\]"):
        Reshape("X", (4, 4), (16,), batched=True).shape(shape)


@given(st.lists(st.integers(0, 4), max_size=3), st.integers(0, 3), st.booleans())
def test_out_undoes_in(sizes: list[int], rows: int, batched: bool) -> None:
    source, target = (-1,) * len(sizes), tuple(part for _ in sizes for part in (1, -1))
    shape = (rows, *sizes) if batched else tuple(sizes)

    there = Reshape("X", source, target, batched)
    back = Reshape("X", target, source, batched)

    assert back.shape(there.shape(shape)) == shape


def test_a_tensor_without_reshape_has_none() -> None:
    plain = config('input {name: "X" dims: 4} output {name: "Y" dims: 4}')
    reshaped = config('input {name: "X" dims: 4 reshape {shape: [2, 2]}} output {name: "Y" dims: 1 reshape {}}')

    assert inward(plain.input[0], batched=True) is None
    assert outward(plain.output[0], batched=True) is None
    assert model_dims(plain.input[0]) == (4,)
    assert inward(reshaped.input[0], batched=True) == Reshape("X", (4,), (2, 2), True)
    assert outward(reshaped.output[0], batched=True) == Reshape("Y", (), (1,), True)
    assert model_dims(reshaped.output[0]) == ()
