"""Shared memory's calls as JSON (http.md section 6): what a client registers, and what it is told of that."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

from jubako.errors import Internal, InvalidArgument
from jubako.protocols.rest.json_text import parse
from jubako.protocols.rest.plan import Body
from jubako.protocols.shared_memory import HANDLE_SIZE, Kind, Region, Regions

_WORDS: Final = {str: "non-string as string", int: "non-unsigned-integer as unsigned-integer"}


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
        key = _field(document, "key", str)
        offset = _field(document, "offset", int) if "offset" in document else 0
        regions.register_system(name, key, offset, _field(document, "byte_size", int))
    else:
        handle = _handle(_field(document, "raw_handle", dict))
        device_id = _field(document, "device_id", int)
        await regions.register_cuda(name, handle, device_id, _field(document, "byte_size", int))


def status(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Return what is told of `regions`."""
    return [
        {"name": r.name, "key": r.key, "offset": r.offset, "byte_size": r.byte_size}
        if r.kind is Kind.SYSTEM
        else {"name": r.name, "device_id": r.device_id, "byte_size": r.byte_size}
        for r in regions
    ]


def _field(document: dict[str, Any], key: str, kind: type[Any]) -> Any:
    if key not in document:
        raise InvalidArgument(f"Shared memory register request has no '{key}' field")
    value = document[key]
    if kind is not dict and (type(value) is not kind or (kind is int and not 0 <= value < 2**64)):
        raise Internal(f"attempt to access JSON {_WORDS[kind]}")
    return value


def _handle(raw: Any) -> bytes:
    encoded = raw.get("b64") if isinstance(raw, dict) else None
    try:
        handle = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except (binascii.Error, ValueError):
        handle = b""
    if len(handle) != HANDLE_SIZE:
        raise InvalidArgument("'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t")
    return handle
