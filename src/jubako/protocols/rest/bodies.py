"""Request bodies, read within their bounds.

Under uvicorn a body comes in messages that hold whatever was there: chunk borders cannot be seen, and many small chunks
make few messages. The lane's protocol counts chunks where the parser still shows them.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import Body
from jubako.protocols.rest.status import Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

DIGITS_READ: Final = 19
"""A Content-Length of more digits is larger than any limit."""


class Disconnected(Exception):
    """The client left before its body was whole: nobody waits for an answer."""


def too_large(limit: int) -> Refused:
    """Return the refusal of a body of more than `limit` bytes."""
    return Refused(413, f"request body exceeds the maximum allowed size of {limit} bytes", close=True)


async def read_body(receive: Receive, announced: bytes | None, most: int, limits: Limits) -> Body:
    """Return the whole body, of at most `most` bytes; `announced` is its Content-Length where it has one.

    A body that comes in one message is returned as it is, any other as one buffer.

    Raises:
        Refused: 413, too large; one that says so is refused before anything of it is read. 408, too slow.
        Disconnected: the client left.
    """
    if announced is not None and not _within(announced, most):
        raise too_large(most)
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    gathered: Body = b""
    while True:
        patience_s = limits.body_grace_s + len(gathered) / limits.min_body_rate
        try:
            async with asyncio.timeout_at(start_s + patience_s):
                message = await receive()
        except TimeoutError as error:
            raise Refused(
                408, f"request body came at less than {limits.min_body_rate} bytes per second", close=True
            ) from error
        if message["type"] == "http.disconnect":
            raise Disconnected
        gathered = _with(gathered, message.get("body", b""))
        if len(gathered) > most:
            raise too_large(most)
        if not message.get("more_body", False):
            return gathered


def _within(announced: bytes, most: int) -> bool:
    return announced.isdigit() and len(announced) <= DIGITS_READ and int(announced) <= most


def _with(gathered: Body, part: bytes) -> Body:
    """Return `gathered` with `part` behind it, in place from the second part on."""
    if not gathered:
        return part
    if isinstance(gathered, bytes):
        gathered = bytearray(gathered)
    gathered += part
    return gathered
