"""What both lanes of one service are made of."""

from dataclasses import dataclass, field

from jubako.protocols.forwarding import NO_FORWARDING, Forwarding
from jubako.protocols.rest.gate import Gate, allow_all
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.traffic import Traffic
from jubako.protocols.settings import NO_SETTINGS, Settings
from jubako.protocols.shared_memory import NO_REGIONS, Regions
from jubako.server import InferenceServer


@dataclass(frozen=True, slots=True)
class Parts:
    """The server, and what stands in front of it over HTTP: the same for the fast lane and the ASGI one."""

    server: InferenceServer
    limits: Limits = field(default_factory=Limits)
    gate: Gate = allow_all
    traffic: Traffic = field(default_factory=Traffic)
    regions: Regions = NO_REGIONS
    forwarding: Forwarding = NO_FORWARDING
    settings: Settings = NO_SETTINGS
