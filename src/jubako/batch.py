"""Many requests to one set of arrays, and back. Pure: no clock, no queue, no backend."""

from collections.abc import Sequence

import numpy as np

from jubako.errors import Internal
from jubako.request import InferRequest
from jubako.tensor import Array


def join(requests: Sequence[InferRequest]) -> dict[str, Array]:
    """Return each input of `requests` concatenated along its first dimension, in the order of `requests`.

    A lone request is passed through without a copy unless its bytes are unaligned, as views of a received body often
    are and native kernels may not stand. All requests must carry the same inputs (their queue saw to that).
    """
    first = requests[0].signature
    if len(requests) == 1:
        arrays = requests[0].arrays
        return {
            spec.name: array if array.flags.aligned else array.copy()
            for spec, array in zip(first.inputs, arrays, strict=True)
        }
    if all(request.signature is first for request in requests):
        return {
            spec.name: np.concatenate([request.arrays[i] for request in requests])
            for i, spec in enumerate(first.inputs)
        }
    columns = [_by_name(request) for request in requests]
    return {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}


def _by_name(request: InferRequest) -> dict[str, Array]:
    return {spec.name: array for spec, array in zip(request.signature.inputs, request.arrays, strict=True)}


def split(outputs: Sequence[Array], names: Sequence[str], rows: Sequence[int]) -> list[tuple[Array, ...]]:
    """Return each request's share of `outputs`: views along the first dimension, `rows[i]` of them for request i.

    Raises:
        Internal: an output does not have one row for each row that went in.
    """
    total = sum(rows)
    for name, array in zip(names, outputs, strict=True):
        if array.ndim == 0 or array.shape[0] != total:
            got = array.shape[0] if array.ndim else "no"
            raise Internal(f"output '{name}' has {got} rows for a batch of {total}")
    if len(rows) == 1:
        return [tuple(outputs)]
    shares: list[tuple[Array, ...]] = []
    start = 0
    for count in rows:
        end = start + count
        shares.append(tuple([array[start:end] for array in outputs]))
        start = end
    return shares
