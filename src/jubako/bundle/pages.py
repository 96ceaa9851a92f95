"""BentoML's own pages behind the same gate as `/v2`: no way to a category leads around its key.

The table is of what BentoML serves by itself. Whatever else there is (our `infer` and its aliases, an API that a user
of the service adds, an app they mount) is inference.
"""

from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from jubako.protocols.access import Group
from jubako.protocols.rest.gate import Gate
from jubako.protocols.rest.status import Refused, error_body

PAGES: Final[Mapping[str, Group]] = {
    "/": Group.METADATA,
    "/docs.json": Group.METADATA,
    "/schema.json": Group.METADATA,
    "/livez": Group.HEALTH,
    "/readyz": Group.HEALTH,
    "/healthz": Group.HEALTH,
    "/metrics": Group.STATISTICS,
}
ASSETS: Final = "/static_content/"
"""Scripts and styles of the page at `/`; they say nothing about this server."""


def group_of(path: str) -> Group:
    """Return the category of a page, by its decoded path without what stands before the service.

    Spelled as the router behind would take it: it is indifferent to a slash at the end, and to a newline there.
    """
    known = PAGES.get(path.rstrip("/\n") or "/")
    if known is not None:
        return known
    return Group.METADATA if path.startswith(ASSETS) else Group.INFERENCE


def _behind(prefix: str, path: str) -> str:
    """Return what follows a prefix of whole segments; the path itself if it has not that prefix."""
    return path[len(prefix) :] if path.startswith(f"{prefix}/") else path


class GatedPages:
    """BentoML's app behind the gate."""

    def __init__(self, app: ASGIApp, gate: Gate, prefix: str = "") -> None:
        self._app = app
        self._gate = gate
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request if it may pass; the lifespan always."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = _behind(self._prefix, _behind(scope.get("root_path", ""), scope["path"]))
        refused = self._gate.check(group_of(path), scope["headers"])
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(send, refused)
        else:
            await send({"type": "websocket.close", "code": 1008})


async def _refuse(send: Send, refused: Refused) -> None:
    body = error_body(str(refused))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
