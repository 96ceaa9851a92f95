"""The floor: an ASGI app on a bare uvicorn that reads a body and answers with bytes of it.

`POST /echo/N` is answered with the first N bytes of the body, padded with blanks.
"""

from starlette.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    size = int(scope["path"].rpartition("/")[2])
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", b"0"),
        (b"content-length", b"%d" % size),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body[:size].ljust(size)})
