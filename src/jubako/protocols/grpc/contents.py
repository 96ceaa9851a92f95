"""Tensors as typed lists inside a message (`InferTensorContents`), which is how small clients write them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from jubako.errors import InvalidArgument
from jubako.tensor import Datatype, encode_bytes

_LISTS: Final[Mapping[str, tuple[str, np.dtype[Any] | None, Sequence[Datatype]]]] = {
    "bool_contents": ("BOOL", np.dtype("?"), (Datatype.BOOL,)),
    "int_contents": ("INT32", np.dtype("<i4"), (Datatype.INT8, Datatype.INT16, Datatype.INT32)),
    "int64_contents": ("INT64", np.dtype("<i8"), (Datatype.INT64,)),
    "uint_contents": ("UINT32", np.dtype("<u4"), (Datatype.UINT8, Datatype.UINT16, Datatype.UINT32)),
    "uint64_contents": ("UINT64", np.dtype("<u8"), (Datatype.UINT64,)),
    "fp32_contents": ("FP32", np.dtype("<f4"), (Datatype.FP32,)),
    "fp64_contents": ("FP64", np.dtype("<f8"), (Datatype.FP64,)),
    "bytes_contents": ("BYTES", None, (Datatype.BYTES,)),
}
"""In the order in which Triton looks: what it calls a list, how its elements come, and what they may be meant for."""


def raw_form(contents: pb.InferTensorContents, datatype: Datatype | None, name: str, model: str) -> bytes:
    """Return the list in `contents` as it would stand in `raw_input_contents`; nothing if all lists are empty.

    Elements of 8 and 16 bits keep their low bits.

    Raises:
        InvalidArgument: a list of another datatype, or two lists.
    """
    where = f"unexpected explicit tensor data for input tensor '{name}' for model '{model}'"
    raw: bytes | None = None
    for list_name, (called, dtype, fits) in _LISTS.items():
        elements = getattr(contents, list_name)
        if not elements:
            continue
        if raw is not None:
            raise InvalidArgument(f"{where}, binary data was already supplied.")
        if datatype is None or datatype not in fits:
            expected = datatype.name if datatype else "<invalid>"
            raise InvalidArgument(f"{where} of type '{called}', expected datatype '{expected}'")
        raw = _strings(elements) if dtype is None else _numbers(elements, dtype, datatype)
    return raw or b""


def _strings(elements: Iterable[bytes]) -> bytes:
    listed = list(elements)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return encode_bytes(array)


def _numbers(elements: Sequence[Any], dtype: np.dtype[Any], datatype: Datatype) -> bytes:
    return np.fromiter(elements, dtype, len(elements)).astype(datatype.dtype).tobytes()
