"""What hypothesis draws: tensors, and requests that are almost right."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jubako.tensor import Array, Datatype

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)

_ELEMENTS: Mapping[str, st.SearchStrategy[Any]] = {"O": st.binary(max_size=12)}


@st.composite
def arrays(draw: st.DrawFn, datatype: Datatype) -> Array:
    """Return an array of `datatype`, of any small shape, NaN and infinities among its floats."""
    shape = draw(SHAPES)
    if datatype is Datatype.BYTES:
        count = int(np.prod(shape))
        array = np.empty(count, dtype=object)
        array[:] = draw(st.lists(_ELEMENTS["O"], min_size=count, max_size=count))
        return array.reshape(shape)
    return draw(npst.arrays(datatype.dtype, shape))


def json_values() -> st.SearchStrategy[Any]:
    """Return any JSON value, small."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )


def _mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 5).flatmap(lambda die: usual if die else json_values())


def _object(members: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Return an object of some of `members`, each of them now and then of another kind."""
    return _mostly(st.fixed_dictionaries({}, optional={key: _mostly(value) for key, value in members.items()}))


def almost_requests() -> st.SearchStrategy[Any]:
    """Return documents that look like inference requests, and are wrong in a place or two."""
    names = st.sampled_from(["INPUT0", "INPUT1", "OUTPUT0", ""])
    inputs = _object(
        {
            "name": names,
            "shape": st.lists(st.integers(0, 4) | st.integers(0, 2**64), max_size=4),
            "datatype": st.sampled_from([datatype.name for datatype in Datatype]),
            "data": st.lists(json_values(), max_size=4),
            "parameters": _object(
                {"binary_data_size": st.integers(0, 40), "shared_memory_region": st.text(max_size=3)}
            ),
        }
    )
    outputs = _object(
        {
            "name": names,
            "parameters": _object(
                {"binary_data": st.booleans(), "classification": st.integers(0, 3), "shared_memory_region": names}
            ),
        }
    )
    reserved = (
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "binary_data_output",
        "triton_x",
    )
    parameters = st.dictionaries(st.sampled_from(reserved) | st.text(max_size=3), json_values(), max_size=4)
    return _object(
        {
            "id": st.text(max_size=5),
            "inputs": st.lists(inputs, max_size=3),
            "outputs": st.lists(outputs, max_size=3),
            "parameters": parameters,
        }
    )
