"""Where errors become gRPC: one table (grpc.md section 1)."""

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode  # type: ignore[import-untyped]

from jubako.errors import (
    AlreadyExists,
    Cancelled,
    Exhausted,
    Internal,
    InvalidArgument,
    JubakoError,
    NotFound,
    Unavailable,
    Unsupported,
)

STATUS: Final[Mapping[type[JubakoError], StatusCode]] = {
    InvalidArgument: StatusCode.INVALID_ARGUMENT,
    AlreadyExists: StatusCode.ALREADY_EXISTS,
    Cancelled: StatusCode.CANCELLED,
    NotFound: StatusCode.NOT_FOUND,
    Internal: StatusCode.INTERNAL,
    Unsupported: StatusCode.UNIMPLEMENTED,
    Unavailable: StatusCode.UNAVAILABLE,
    Exhausted: StatusCode.RESOURCE_EXHAUSTED,
}


def status_of(error: JubakoError) -> StatusCode:
    """Return the status of `error`; UNKNOWN for what the table does not name."""
    return STATUS.get(type(error), StatusCode.UNKNOWN)


def message_of(error: JubakoError) -> str:
    """Return the text of `error`. Halves of Unicode pairs, which a client may have sent, are replaced."""
    return str(error).encode("utf-8", "replace").decode()
