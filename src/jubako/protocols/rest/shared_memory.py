"""Shared memory's calls as JSON (http.md section 6): what a client registers, and what it is told of that."""

import base64
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from jubako.errors import Internal, InvalidArgument
from jubako.protocols.rest.json_text import parse
from jubako.protocols.rest.plan import Body
from jubako.protocols.shared_memory import HANDLE_SIZE, Kind, Region, Regions

T = TypeVar("T", str, int)

_WORDS: Final[dict[type, str]] = {str: "non-string as string", int: "non-unsigned-integer as unsigned-integer"}


async def register(regions: Regions, kind: Kind, name: str, body: Body) -> None:
    """Register the region `name` as `body` describes it.

    Raises:
        JubakoError: it is described wrongly, or cannot be had.
    """
    regions.check_allowed()
    if not name:
        raise InvalidArgument(f"'region name' is necessary to register {kind.word} shared memory region")
    document = parse(bytes(body))
    if not isinstance(document, dict):
        document = {}
    if kind is Kind.SYSTEM:
        _check_there(document, "key")
        key = _typed(document, "key", str)
        offset = _typed(document, "offset", int) if "offset" in document else 0
        _check_there(document, "byte_size")
        regions.register_system(name, key, offset, _typed(document, "byte_size", int))
    else:
        _check_there(document, "raw_handle")
        raw_handle = document["raw_handle"]
        encoded = _typed(raw_handle if isinstance(raw_handle, dict) else {}, "b64", str)
        device_id, byte_size = _typed(document, "device_id", int), _typed(document, "byte_size", int)
        await regions.register_cuda(name, _handle(encoded), device_id, byte_size)


def status(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Return what is told of `regions`."""
    return [
        {"name": r.name, "key": r.key, "offset": r.offset, "byte_size": r.byte_size}
        if r.kind is Kind.SYSTEM
        else {"name": r.name, "device_id": r.device_id, "byte_size": r.byte_size}
        for r in regions
    ]


def _check_there(document: dict[str, Any], key: str) -> None:
    if key not in document:
        raise InvalidArgument(f"Shared memory register request has no '{key}' field")


def _typed(document: dict[str, Any], key: str, kind: type[T]) -> T:
    """Return a member; Triton does not say which one it is that has another type."""
    if key not in document:
        raise Internal(f"attempt to access non-existing object member '{key}'")
    value = document[key]
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**64):
        raise Internal(f"attempt to access JSON {_WORDS[kind]}")
    return value


def _handle(encoded: str) -> bytes:
    try:
        handle = base64.b64decode(encoded, validate=True)
    except ValueError:
        handle = b""
    if len(handle) != HANDLE_SIZE:
        raise InvalidArgument("'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t")
    return handle
