"""The outermost layer of inference messages, cut by hand; what lies inside is left to protobuf.

A message's bytes are the request's body: tensors are viewed where they lie in it, never copied. What is left when the
id and the tensors are cut out repeats from request to request, as a JSON header does over HTTP, and is what a codec
remembers requests by.

Every field of ModelInferRequest is length-delimited and has a number below 16: one byte of tag, then a length. A
message that holds anything else (unknown fields) is first put in order by protobuf.
"""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from jubako.errors import Internal

ID: Final = 3 << 3 | 2
RAW_INPUT: Final = 7 << 3 | 2
KNOWN: Final = frozenset(number << 3 | 2 for number in range(1, 8))


@dataclass(slots=True)
class Cut:
    """A ModelInferRequest: its tensors lie in `message`, each at (offset, size)."""

    message: bytes
    header: bytes
    """The message without its id and its tensors: a ModelInferRequest too."""
    id: str
    tensors: list[tuple[int, int]]


class _NotPlain(Exception):
    """The message is not in the form that protobuf writes by itself."""


def cut(message: bytes) -> Cut:
    """Cut the id and the raw tensors out of a serialised ModelInferRequest.

    Raises:
        Internal: it is no such message.
    """
    try:
        return _cut(message)
    except (_NotPlain, IndexError, UnicodeDecodeError):
        return _cut(_in_order(message))


def _in_order(message: bytes) -> bytes:
    try:
        request = pb.ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise Internal("Unable to parse request") from error
    request.DiscardUnknownFields()
    ordered: bytes = request.SerializeToString()
    return ordered


def _cut(message: bytes) -> Cut:
    position, kept, end = 0, 0, len(message)
    parts: list[bytes] = []
    tensors: list[tuple[int, int]] = []
    request_id = ""
    while position < end:
        tag = message[position]
        size = message[position + 1]
        start = position + 2
        if size >= 0x80:
            size, start = _varint(message, position + 1)
        stop = start + size
        if tag not in KNOWN or stop > end:
            raise _NotPlain
        if tag in (RAW_INPUT, ID):
            if kept < position:
                parts.append(message[kept:position])
            if tag == RAW_INPUT:
                tensors.append((start, size))
            else:
                request_id = message[start:stop].decode()
            kept = stop
        position = stop
    if kept < end:
        parts.append(message[kept:])
    return Cut(message, b"".join(parts), request_id, tensors)


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position`, and where it ends."""
    value = shift = 0
    while (byte := message[position]) >= 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if shift > 35:
            raise _NotPlain
    return value | byte << shift, position + 1


def prefix(number: int, size: int) -> bytes:
    """Return what stands before a field of `size` bytes."""
    written = bytearray((number << 3 | 2,))
    while size >= 0x80:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written)
