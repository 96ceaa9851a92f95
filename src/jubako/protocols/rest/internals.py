"""Whether uvicorn's HTTP protocol is inside what the fast lane takes it for.

The lane stands on names that uvicorn does not promise. This looks at its code objects for each of them, so that a
release that renames one turns the lane off at the start instead of breaking requests.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

from uvicorn.protocols.http import httptools_impl

RELIED_ON: Final[Mapping[str, frozenset[str]]] = {
    "connection_made": frozenset({"connections", "flow", "transport"}),
    "connection_lost": frozenset({"cycle", "response_complete", "disconnected", "message_event", "set", "flow"}),
    "data_received": frozenset({"parser", "feed_data"}),
    "eof_received": frozenset(),
    "on_message_begin": frozenset({"url", "headers", "expect_100_continue", "scope"}),
    "on_url": frozenset({"url"}),
    "on_header": frozenset({"headers", "expect_100_continue"}),
    "on_headers_complete": frozenset({"scope", "url", "cycle", "pipeline", "flow", "response_complete"}),
    "on_body": frozenset({"cycle"}),
    "on_message_complete": frozenset({"cycle"}),
    "on_response_complete": frozenset({"server_state", "pipeline", "flow", "resume_reading"}),
    "shutdown": frozenset({"cycle", "response_complete", "keep_alive", "transport"}),
    "resume_writing": frozenset({"flow"}),
}
"""Methods that the lane overrides or calls, and the names that each must still use."""


def unknown_internals(protocol: Any = httptools_impl.HttpToolsProtocol) -> str | None:
    """Return what about `protocol` is not as the lane expects it; None if all is."""
    for name, relied_on in RELIED_ON.items():
        method = inspect.getattr_static(protocol, name, None)
        if not inspect.isfunction(method):
            return f"uvicorn's HTTP protocol has no method {name}"
        missing = relied_on.difference(method.__code__.co_names)
        if missing:
            return f"uvicorn's {name} no longer uses {', '.join(sorted(missing))}"
    return None
