"""The classification extension: a tensor of scores becomes its top classes, as strings."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from jubako.errors import InvalidArgument
from jubako.tensor import Array, Datatype

MAX_ELEMENTS: Final = 1_000_000
RANKED: Final = frozenset(
    (
        Datatype.UINT8,
        Datatype.UINT16,
        Datatype.UINT32,
        Datatype.UINT64,
        Datatype.INT8,
        Datatype.INT16,
        Datatype.INT32,
        Datatype.INT64,
        Datatype.FP32,
        Datatype.FP64,
    )
)


def classify(array: Array, datatype: Datatype, count: int, labels: Sequence[str], batched: bool) -> Array:
    """Return the `count` highest of each batch item as `value:index[:label]`, in an object array of bytes.

    The shape is `[count]`, or `[batch, count]` where the model has a batch dimension; `count` is cut to what an item
    has. Ties keep the order of their indices.

    Raises:
        InvalidArgument: the datatype has no order here, or there are more than a million elements.
    """
    if datatype not in RANKED:
        raise InvalidArgument(f"class result not available for output due to unsupported type '{datatype.name}'")
    if array.size > MAX_ELEMENTS:
        raise InvalidArgument("classification output tensor too large")
    items = array.shape[0] if batched and array.ndim else 1
    rows = array.reshape(items, -1) if array.size else np.empty((items, 0), array.dtype)
    kept = min(count, rows.shape[1])
    classes = np.empty((items, kept), dtype=object)
    for i, row in enumerate(rows):
        for j, index in enumerate(_highest(row, kept)):
            classes[i, j] = _entry(row[index], int(index), labels)
    return classes if batched else classes[0]


def _highest(row: Array, count: int) -> Array:
    """Return the indices of the `count` highest values, descending; a stable sort of the reversed order."""
    ascending = np.argsort(row[::-1], kind="stable")[::-1][:count]
    highest: Array = row.shape[0] - 1 - ascending
    return highest


def _entry(value: np.generic, index: int, labels: Sequence[str]) -> bytes:
    number = f"{value:f}" if value.dtype.kind == "f" else str(value)
    label = labels[index] if index < len(labels) else ""
    return f"{number}:{index}:{label}".encode() if label else f"{number}:{index}".encode()
