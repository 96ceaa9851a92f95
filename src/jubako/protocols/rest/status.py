"""Where errors become HTTP: one table, one body."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

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

STATUS: Final[Mapping[type[JubakoError], int]] = {
    InvalidArgument: 400,
    AlreadyExists: 400,
    Cancelled: 400,
    NotFound: 404,
    Internal: 500,
    Unsupported: 501,
    Unavailable: 503,
    Exhausted: 503,
}
"""Triton's table since 24.01 (http.md section 1)."""

RETRY_AFTER_S: Final = 1
"""When a client may try again that the whole server had no room for."""


class Refused(Exception):
    """An answer that HTTP gives by itself, where no JubakoError has its status: no such route, no such method.

    Its text is the message on the wire. With `close` the connection ends behind the answer, because the rest of the
    request is not going to be read.
    """

    def __init__(
        self, status: int, message: str, *, headers: Sequence[tuple[bytes, bytes]] = (), close: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.close = close


def status_of(error: JubakoError) -> int:
    """Return the HTTP status of `error`; 400 for what the table does not name."""
    return STATUS.get(type(error), 400)


def headers_of(error: JubakoError) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers that come with `error`."""
    return ((b"retry-after", b"%d" % RETRY_AFTER_S),) if isinstance(error, Exhausted) else ()


def error_body(message: str) -> bytes:
    """Return Triton's error body. Bytes that are no Unicode, as a client may have sent them, are replaced."""
    try:
        return orjson.dumps({"error": message})
    except orjson.JSONEncodeError:  # lone surrogates
        return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})
