"""A trace as entries of Triton's trace file (observability.md 3.3). Pure."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from jubako.request import TensorSpec
from jubako.tensor import Array, Datatype
from jubako.tracing.settings import Level
from jubako.tracing.trace import Trace

MAX_TENSOR_BYTES: Final = 1 << 16
"""The values of a larger tensor are left out: to write 16,384 floats holds the loop up for some milliseconds."""
WITHOUT_VALUES: Final = frozenset((Datatype.FP16, Datatype.BF16))
"""Datatypes whose values Triton leaves out."""


def written(trace: Trace) -> str:
    """Return a trace as entries of the file's JSON array, without its brackets."""
    return ",".join(json.dumps(entry, separators=(",", ":")) for entry in _entries(trace))


def _entries(trace: Trace) -> Iterator[dict[str, Any]]:
    level = trace.setting.values.level
    stamps = Level.TIMESTAMPS in level
    front = list(trace.front_events())
    reading, sending = front[:2], front[2:]
    if trace.request is None:  # it came to no request: what is known is the protocol's
        yield from _stamps(trace, front if stamps else ())
        return
    if stamps:
        yield from _stamps(trace, reading)
    yield _head(trace)
    *before, end = trace.model_events()
    if stamps:
        yield from _stamps(trace, before)
    if Level.TENSORS in level:
        yield from _tensors(trace)
    if stamps:
        yield from _stamps(trace, [*trace.compute_events(), *trace.response_events(), end, *sending])


def _head(trace: Trace) -> dict[str, Any]:
    assert trace.request is not None
    head: dict[str, Any] = {"id": trace.id, "model_name": trace.model, "model_version": trace.request.model_version}
    if trace.request.id:
        head["request_id"] = trace.request.id
    if trace.parent_id:
        head["parent_id"] = trace.parent_id
    return head


def _stamps(trace: Trace, events: Iterable[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    for name, ns in events:
        yield {"id": trace.id, "timestamps": [{"name": name, "ns": ns}]}


def _tensors(trace: Trace) -> Iterator[dict[str, Any]]:
    request, response = trace.request, trace.response
    assert request is not None
    for spec, array in zip(request.signature.inputs, request.arrays, strict=True):
        yield _tensor(trace, "TENSOR_QUEUE_INPUT", spec, array)
    if response is not None and response.signature is not None:
        for spec, array in zip(response.signature.outputs, response.arrays, strict=True):
            yield _tensor(trace, "TENSOR_BACKEND_OUTPUT", spec, array)


def _tensor(trace: Trace, activity: str, spec: TensorSpec, array: Array) -> dict[str, Any]:
    shape = ",".join(map(str, spec.shape))
    tensor = {"name": spec.name, "data": data_text(spec.datatype, array), "shape": shape, "dtype": spec.datatype.name}
    return {"id": trace.id, "activity": activity, "tensor": tensor}


def data_text(datatype: Datatype, array: Array) -> str:
    """Return a tensor's values joined by commas, strings in quotes; nothing for one that is too large to show."""
    if datatype in WITHOUT_VALUES:
        return ""
    if datatype is Datatype.BYTES:
        if array.size > MAX_TENSOR_BYTES or sum(map(len, array.flat)) > MAX_TENSOR_BYTES:
            return ""
        return ",".join(f'"{_text(value)}"' for value in array.flat)
    if array.nbytes > MAX_TENSOR_BYTES:
        return ""
    if datatype is Datatype.BOOL:
        return ",".join("1" if value else "0" for value in array.flat)
    if array.dtype.kind == "f":
        return ",".join(f"{value:g}" for value in array.astype(np.float64).flat)
    return ",".join(map(str, array.reshape(-1).tolist()))


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
