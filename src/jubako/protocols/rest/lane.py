"""The fast lane: inference answered inside uvicorn's HTTP protocol, without an ASGI call.

A POST to `…/infer` with a Content-Length goes from the parser to the data plane, and its answer to the socket: no
task, no scope, no event (`connection.py`, `cycle.py`). Everything else (other routes, chunked or compressed bodies,
`Expect`, a request behind an unfinished one) takes uvicorn's own way to the ASGI app, which gives the same bytes.
"""

import logging

from uvicorn.config import HTTP_PROTOCOLS

from jubako.protocols.rest.connection import InferProtocol, Lane
from jubako.protocols.rest.internals import unknown_internals
from jubako.protocols.rest.parts import Parts

log = logging.getLogger("jubako.rest")


def protocol_class(parts: Parts, *, fast: bool = True) -> type[InferProtocol]:
    """Return the protocol class for uvicorn that serves `parts` in the fast lane.

    Without `fast`, and where headers are forwarded, every request takes the ASGI way, within the same bounds on
    headers, connections and slow peers.
    """
    return type("JubakoInferProtocol", (InferProtocol,), {"lane": Lane(parts, fast=fast)})


def install(parts: Parts, *, fast: bool = True) -> bool:
    """Make uvicorn use the fast lane for the servers it starts from now on; False if its internals are not known.

    Then every request takes the ASGI way: slower, and without the bounds on headers and slow peers. `fast` as in
    `protocol_class`.
    """
    reason = unknown_internals()
    if reason is not None:
        log.warning("the fast lane is off: %s", reason)
        return False
    HTTP_PROTOCOLS["auto"] = protocol_class(parts, fast=fast)  # type: ignore[assignment]
    return True
