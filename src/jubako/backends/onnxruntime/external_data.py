"""Where an ONNX file keeps weights outside itself. A file that points out of its own folder is refused.

ONNX files may come from anywhere, and naming other files is how they have been made to read what is not theirs
(CVE-2022-25882, 2024-27318 and on). Newer releases of ONNX Runtime refuse that themselves; we accept older ones. The
`onnx` package is not needed: the few fields that can hold a tensor are walked in the protobuf encoding itself.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from jubako.errors import InvalidArgument

MAX_DEPTH: Final = 100
"""Of nested messages, as in protobuf's own parsers."""

TENSOR: Final = "TensorProto"
ENTRY: Final = "StringStringEntryProto"
HOLDS: Final[Mapping[str, Mapping[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: TENSOR,
        6: "GraphProto",
        10: TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
    TENSOR: {13: ENTRY},
}
"""Fields through which a tensor can be reached, by message: field number to the message it holds."""


def check_external_data(path: Path) -> None:
    """Refuse the ONNX file at `path` if any of its tensors is kept outside the file's folder, links resolved.

    Raises:
        InvalidArgument: one is, or the file cannot be read as protobuf.
    """
    folder = path.parent.resolve()
    for location in sorted(_locations(path)):
        pure = PurePosixPath(location)
        inside = not pure.is_absolute() and ".." not in pure.parts
        if not inside or not (folder / pure).resolve().is_relative_to(folder):
            raise InvalidArgument(f"external data '{location}' of '{path.name}' is outside the model's directory")


def _locations(path: Path) -> set[str]:
    if path.stat().st_size == 0:
        return set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # The common case costs one search: no tensor of the file is external. ORT's own format has none at all.
        if content.find(b"location") == -1 or content[4:8] == b"ORTM":
            return set()
        with memoryview(content) as view:
            try:
                return set(external_locations(view))
            except (ValueError, IndexError) as error:
                raise InvalidArgument(f"'{path.name}' is not a valid ONNX file: {error}") from error


def external_locations(model: memoryview) -> Iterator[str]:
    """Yield the location of each external tensor of a serialised ModelProto.

    Raises:
        ValueError: the encoding is broken, or nested too deep.
        IndexError: it ends too early.
    """
    return _walk(model, "ModelProto", 0)


def _walk(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    holds = HOLDS[kind]
    for number, value in _fields(message):
        child = holds.get(number)
        if child == ENTRY:
            entry = {key: bytes(text) for key, text in _fields(value)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "surrogateescape")
        elif child is not None:
            yield from _walk(value, child, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each length-delimited field; pass over the others."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        match tag & 7:
            case 0:
                _, position = _varint(message, position)
            case 1:
                position += 8
            case 2:
                length, position = _varint(message, position)
                if length > end - position:
                    raise ValueError("a field is longer than its message")
                yield tag >> 3, message[position : position + length]
                position += length
            case 5:
                position += 4
            case wire_type:
                raise ValueError(f"wire type {wire_type}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
