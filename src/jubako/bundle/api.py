"""BentoML's own way to ask for an inference: a model's name, and named arrays as plain nested lists.

Strings are text here: bytes that are no UTF-8, and BF16, which has no JSON form, need the v2 protocol.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from starlette.responses import Response

from jubako.errors import InvalidArgument, JubakoError
from jubako.protocols.rest.status import error_body, status_of
from jubako.request import InferRequest, InferResponse, Signature, TensorSpec
from jubako.server import InferenceServer, parse_version
from jubako.tensor import BY_NAME, Array, Datatype

EXACT: Final = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}
"""For each kind of array wanted, the kinds of value that may be given: a fraction is never cut to an integer."""


def error_response(error: JubakoError) -> Response:
    """Return the answer to a request that failed, as v2 gives it.

    An exception would be answered too, but BentoML logs a traceback for each: a client could fill the log with them.
    """
    return Response(error_body(str(error)), status_of(error), media_type="application/json")


async def infer_lists(
    server: InferenceServer,
    model: str,
    inputs: Mapping[str, Any],
    version: int | str | None,
    datatypes: Mapping[str, str],
    outputs: Sequence[str],
) -> dict[str, Any]:
    """Return each output of `model` as nested lists.

    `datatypes` names the datatype of an input where the model's own is not the one that is meant.

    Raises:
        JubakoError: whatever kept the request from its answer.
    """
    number = parse_version("" if version is None else str(version))
    expected = {spec.name: spec.datatype for spec in server.model_metadata(model, number).inputs}
    arrays = {
        name: to_array(name, value, _datatype(name, datatypes.get(name), expected)) for name, value in inputs.items()
    }
    specs = tuple(TensorSpec(name, datatype, array.shape) for name, (datatype, array) in arrays.items())
    signature = Signature(specs, outputs=tuple(dict.fromkeys(outputs)), byte_sizes=(None,) * len(specs))
    return to_lists(await server.infer(InferRequest(model, number, signature, [a for _, a in arrays.values()])))


def _datatype(name: str, given: str | None, expected: Mapping[str, Datatype]) -> Datatype | None:
    if given is None:
        return expected.get(name)
    if given not in BY_NAME:
        raise InvalidArgument(f"input '{name}': there is no datatype '{given}'")
    return BY_NAME[given]


def to_array(name: str, value: Any, datatype: Datatype | None) -> tuple[Datatype, Array]:
    """Return `value` as an array of `datatype`; of what fits it best where the model knows no such input.

    Raises:
        InvalidArgument: the lists are ragged, or their values are not of that datatype.
    """
    if datatype is Datatype.BF16:
        raise InvalidArgument(f"input '{name}': BF16 has no JSON form; send it as binary data over /v2")
    try:
        if datatype is Datatype.BYTES:
            return datatype, _texts(value)
        array = np.asarray(value)
        if datatype is None:
            return (Datatype.BYTES, _texts(value)) if array.dtype.kind in "UO" else _as(array, _natural(array), name)
        return _as(array, datatype, name)
    except (ValueError, OverflowError, TypeError):
        raise InvalidArgument(f"input '{name}': the values are not a full array of one datatype") from None


def _texts(value: Any) -> Array:
    array = np.asarray(value, dtype=object)
    flat = [element.encode() if isinstance(element, str) else element for element in array.ravel()]
    if not all(isinstance(element, bytes) for element in flat):
        raise TypeError("not text")
    encoded = np.empty(len(flat), dtype=object)
    encoded[:] = flat
    return encoded.reshape(array.shape)


def _natural(array: Array) -> Datatype:
    return {"b": Datatype.BOOL, "i": Datatype.INT64, "u": Datatype.UINT64}.get(array.dtype.kind, Datatype.FP32)


def _as(array: Array, datatype: Datatype, name: str) -> tuple[Datatype, Array]:
    if array.size and array.dtype.kind not in EXACT[datatype.dtype.kind]:
        raise InvalidArgument(f"input '{name}': the values are not of datatype {datatype.name}")
    if datatype.dtype.kind in "iu" and array.size:
        bounds = np.iinfo(datatype.dtype)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise InvalidArgument(f"input '{name}': a value is out of the range of {datatype.name}")
    return datatype, np.ascontiguousarray(array, dtype=datatype.dtype)


def to_lists(response: InferResponse) -> dict[str, Any]:
    """Return the outputs as nested lists, strings as text.

    Raises:
        InvalidArgument: an output has no JSON form.
    """
    assert response.signature is not None
    lists: dict[str, Any] = {}
    for spec, array in zip(response.signature.outputs, response.arrays, strict=True):
        if spec.datatype is Datatype.BF16:
            raise InvalidArgument(f"output '{spec.name}': BF16 has no JSON form; ask for it as binary data over /v2")
        if spec.datatype is Datatype.BYTES:
            array = _decoded(spec.name, array)
        lists[spec.name] = array.reshape(spec.shape).tolist()
    return lists


def _decoded(name: str, array: Array) -> Array:
    try:
        texts = [element.decode() if isinstance(element, bytes) else element for element in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidArgument(
            f"output '{name}' holds bytes that are no UTF-8; ask for it as binary data over /v2"
        ) from None
    decoded = np.empty(len(texts), dtype=object)
    decoded[:] = texts
    return decoded.reshape(array.shape)
