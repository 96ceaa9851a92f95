"""Datatypes of the v2 protocol, and the coding of BYTES tensors.

Knows names, numpy dtypes and sizes. Refuses to know where a tensor came from or which model it is for.
"""

import math
import struct
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from jubako.errors import InvalidArgument

Array = NDArray[Any]

MAX_ELEMENTS: Final = 2**63 - 1
"""Triton refuses shapes whose element count passes INT64_MAX (http.md section 4.1)."""


class Datatype(Enum):
    """A v2 datatype: its protocol name, the numpy dtype that carries it, its enum number in `ModelConfig`.

    BYTES is carried as `object` arrays of `bytes`. BF16 is carried as `uint16`, its raw bits, because numpy has no such
    type: a backend that computes in BF16 views the bits as its own.
    """

    BOOL = ("BOOL", "?", 1)
    UINT8 = ("UINT8", "u1", 2)
    UINT16 = ("UINT16", "<u2", 3)
    UINT32 = ("UINT32", "<u4", 4)
    UINT64 = ("UINT64", "<u8", 5)
    INT8 = ("INT8", "i1", 6)
    INT16 = ("INT16", "<i2", 7)
    INT32 = ("INT32", "<i4", 8)
    INT64 = ("INT64", "<i8", 9)
    FP16 = ("FP16", "<f2", 10)
    FP32 = ("FP32", "<f4", 11)
    FP64 = ("FP64", "<f8", 12)
    BYTES = ("BYTES", "O", 13)
    BF16 = ("BF16", "<u2", 14)

    dtype: np.dtype[Any]
    config_number: int
    size: int | None

    def __init__(self, name: str, dtype: str, config_number: int) -> None:
        self.dtype = np.dtype(dtype)
        self.config_number = config_number
        self.size = None if name == "BYTES" else self.dtype.itemsize

    @property
    def config_name(self) -> str:
        """Its name in config.pbtxt: `TYPE_FP32`; BYTES is `TYPE_STRING`."""
        return "TYPE_STRING" if self is Datatype.BYTES else f"TYPE_{self.name}"


BY_NAME: Final = {datatype.name: datatype for datatype in Datatype}
BY_CONFIG_NUMBER: Final = {datatype.config_number: datatype for datatype in Datatype}


def shape_text(shape: Sequence[int]) -> str:
    """Write a shape as Triton prints it: `[1,8]`, no spaces."""
    return "[" + ",".join(map(str, shape)) + "]"


def element_count(shape: Sequence[int], name: str) -> int:
    """Return the product of `shape` (1 for a scalar).

    Raises:
        InvalidArgument: the product passes INT64_MAX.
    """
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise InvalidArgument(
            f"invalid shape for input '{name}': shape {shape_text(shape)} causes total element count to exceed "
            f"maximum size of {MAX_ELEMENTS}"
        )
    return count


CUT_STRING: Final = "incomplete string data"
"""How the one message begins that Triton gives without the request's id."""


def encode_bytes(array: Array) -> bytes:
    """Serialise a BYTES tensor: each element as its little-endian uint32 length and then its bytes, row-major."""
    parts: list[bytes] = []
    for element in array.ravel():
        data = element if isinstance(element, bytes) else str(element).encode()
        parts.append(struct.pack("<I", len(data)))
        parts.append(data)
    return b"".join(parts)


def decode_bytes(buffer: bytes | memoryview, shape: Sequence[int], name: str, model: str) -> Array:
    """Return the `object` array of `shape` that `buffer` holds; each element is a copy.

    The walk stops at the first element past the expected count, so a hostile buffer costs no more than an honest one.

    Raises:
        InvalidArgument: too few or too many elements, or a length that points past the end; Triton's words.
    """
    expected = element_count(shape, name)
    view = memoryview(buffer)
    elements: list[bytes] = []
    position, end = 0, len(view)
    where = f"for inference input '{name}' for model '{model}'"
    while position < end:
        if len(elements) == expected:
            raise InvalidArgument(f"unexpected number of string elements {expected + 1} {where}, expecting {expected}")
        if end - position < 4:
            raise InvalidArgument(
                f"incomplete string length indicator {where}, expecting 4 bytes but only {end - position} bytes "
                "available. Please make sure the string length indicator is in one buffer."
            )
        (length,) = struct.unpack_from("<I", view, position)
        position += 4
        if end - position < length:
            raise InvalidArgument(
                f"{CUT_STRING} for inference input '{name}', expecting string of length {length} but only "
                f"{end - position} bytes available"
            )
        elements.append(bytes(view[position : position + length]))
        position += length
    if len(elements) != expected:
        raise InvalidArgument(f"expected {expected} string elements {where}, got {len(elements)}")
    array = np.empty(expected, dtype=object)
    array[:] = elements
    return array.reshape(shape)
