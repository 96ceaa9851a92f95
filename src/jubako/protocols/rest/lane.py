"""The fast lane: inference answered inside uvicorn's HTTP protocol, without an ASGI call.

A POST to `…/infer` with a Content-Length goes from the parser to the data plane, and its answer to the socket: no
task, no scope, no event (`connection.py`, `cycle.py`). Everything else (other routes, chunked or compressed bodies,
`Expect`, a request behind an unfinished one) takes uvicorn's own way to the ASGI app, which gives the same bytes.
"""

import logging

from uvicorn.config import HTTP_PROTOCOLS

from jubako.protocols.forwarding import NO_FORWARDING, Forwarding
from jubako.protocols.rest.connection import InferProtocol, Lane
from jubako.protocols.rest.gate import Gate
from jubako.protocols.rest.internals import unknown_internals
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.traffic import Traffic
from jubako.protocols.shared_memory import NO_REGIONS, Regions
from jubako.server import InferenceServer
from jubako.tracing.tracing import UNTRACED, Sampler

log = logging.getLogger("jubako.rest")


def protocol_class(
    server: InferenceServer,
    limits: Limits,
    gate: Gate,
    *,
    fast: bool = True,
    traffic: Traffic | None = None,
    regions: Regions = NO_REGIONS,
    tracing: Sampler = UNTRACED,
    forwarding: Forwarding = NO_FORWARDING,
) -> type[InferProtocol]:
    """Return the protocol class for uvicorn that serves `server` in the fast lane.

    It counts its answers in `traffic`. Without `fast`, and where headers are forwarded (`forwarding`), every request
    takes the ASGI way, within the same bounds on headers, connections and slow peers.
    """
    fast = fast and not forwarding
    lane = Lane(server, limits, gate, fast=fast, traffic=traffic, regions=regions, tracing=tracing)
    return type("JubakoInferProtocol", (InferProtocol,), {"lane": lane})


def install(
    server: InferenceServer,
    limits: Limits,
    gate: Gate,
    *,
    fast: bool = True,
    traffic: Traffic | None = None,
    regions: Regions = NO_REGIONS,
    tracing: Sampler = UNTRACED,
    forwarding: Forwarding = NO_FORWARDING,
) -> bool:
    """Make uvicorn use the fast lane for the servers it starts from now on; False if its internals are not known.

    Then every request takes the ASGI way: slower, and without the bounds on headers and slow peers. `fast` and
    the others as in `protocol_class`.
    """
    reason = unknown_internals()
    if reason is not None:
        log.warning("the fast lane is off: %s", reason)
        return False
    made = protocol_class(
        server,
        limits,
        gate,
        fast=fast,
        traffic=traffic,
        regions=regions,
        tracing=tracing,
        forwarding=forwarding,
    )
    HTTP_PROTOCOLS["auto"] = made  # type: ignore[assignment]
    return True
