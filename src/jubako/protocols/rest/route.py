"""Which path is which call (http.md section 2). Pure: a path in, a route out.

Paths are matched as they came, still percent-encoded, whole, without trailing slash and without query. Names are
decoded once, after the match, so an encoded slash never makes another path; what a name holds then (a slash, `..`,
control characters) is no concern here: it is looked up among the models' names and is not found.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote

from jubako.protocols.access import Group as Group

GET: Final = frozenset(("GET",))
POST: Final = frozenset(("POST",))
BOTH: Final = GET | POST


class Verb(Enum):
    """What is asked, with its category and the methods that ask it."""

    LIVE = ("live", Group.HEALTH, GET)
    READY = ("ready", Group.HEALTH, GET)
    MODEL_READY = ("model ready", Group.HEALTH, GET)
    SERVER_METADATA = ("server metadata", Group.METADATA, GET)
    MODEL_METADATA = ("model metadata", Group.METADATA, GET)
    MODEL_CONFIG = ("model config", Group.MODEL_CONFIG, GET)
    STATISTICS = ("statistics", Group.STATISTICS, GET)
    INFER = ("infer", Group.INFERENCE, POST)
    GENERATE = ("generate", Group.INFERENCE, POST)
    GENERATE_STREAM = ("generate_stream", Group.INFERENCE, POST)
    INDEX = ("index", Group.MODEL_REPOSITORY, POST)
    LOAD = ("load", Group.MODEL_REPOSITORY, POST)
    UNLOAD = ("unload", Group.MODEL_REPOSITORY, POST)
    SYSTEM_STATUS = ("system shared memory status", Group.SHARED_MEMORY, GET)
    SYSTEM_REGISTER = ("system shared memory register", Group.SHARED_MEMORY, POST)
    SYSTEM_UNREGISTER = ("system shared memory unregister", Group.SHARED_MEMORY, POST)
    CUDA_STATUS = ("cuda shared memory status", Group.SHARED_MEMORY, GET)
    CUDA_REGISTER = ("cuda shared memory register", Group.SHARED_MEMORY, POST)
    CUDA_UNREGISTER = ("cuda shared memory unregister", Group.SHARED_MEMORY, POST)
    TRACE_SETTING = ("trace setting", Group.TRACE, BOTH)
    LOGGING = ("logging", Group.LOGGING, BOTH)

    group: Group
    methods: frozenset[str]

    def __init__(self, words: str, group: Group, methods: frozenset[str]) -> None:
        self.words = words
        self.group = group
        self.methods = methods


@dataclass(frozen=True, slots=True)
class Route:
    """A path that is served. Names are decoded; what a path does not name is the empty string."""

    verb: Verb
    model: str = ""
    version: str = ""
    """Decimal digits, as many as there were."""
    region: str = ""
    repository: str = ""

    @property
    def group(self) -> Group:
        """Its restricted category."""
        return self.verb.group

    @property
    def methods(self) -> frozenset[str]:
        """The methods that are answered with something else than 405."""
        return self.verb.methods


_EXACT: Final[Mapping[str, Route]] = {
    "/v2": Route(Verb.SERVER_METADATA),
    "/v2/health/live": Route(Verb.LIVE),
    "/v2/health/ready": Route(Verb.READY),
    "/v2/models/stats": Route(Verb.STATISTICS),  # before the models: one that is named `stats` is shadowed
    "/v2/logging": Route(Verb.LOGGING),
    "/v2/trace/setting": Route(Verb.TRACE_SETTING),
}
_MODEL: Final = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[0-9]+))?"
    r"(?:/(?P<verb>infer|generate|generate_stream|ready|config|stats|trace/setting))?"
)
_MODEL_VERBS: Final[Mapping[str | None, Verb]] = {
    None: Verb.MODEL_METADATA,
    "infer": Verb.INFER,
    "generate": Verb.GENERATE,
    "generate_stream": Verb.GENERATE_STREAM,
    "ready": Verb.MODEL_READY,
    "config": Verb.MODEL_CONFIG,
    "stats": Verb.STATISTICS,
    "trace/setting": Verb.TRACE_SETTING,
}
_REPOSITORY: Final = re.compile(
    r"/v2/repository(?:/(?P<repository>[^/]+))?/(?:index|models/(?P<model>[^/]+)/(?P<verb>load|unload))"
)
_REPOSITORY_VERBS: Final[Mapping[str | None, Verb]] = {None: Verb.INDEX, "load": Verb.LOAD, "unload": Verb.UNLOAD}
_SHARED_MEMORY: Final = re.compile(
    r"/v2/(?P<kind>system|cuda)sharedmemory(?:/region/(?P<region>[^/]+))?/(?P<verb>status|register|unregister)"
)
_SHARED_MEMORY_VERBS: Final[Mapping[tuple[str, str], Verb]] = {
    ("system", "status"): Verb.SYSTEM_STATUS,
    ("system", "register"): Verb.SYSTEM_REGISTER,
    ("system", "unregister"): Verb.SYSTEM_UNREGISTER,
    ("cuda", "status"): Verb.CUDA_STATUS,
    ("cuda", "register"): Verb.CUDA_REGISTER,
    ("cuda", "unregister"): Verb.CUDA_UNREGISTER,
}


def match(path: str) -> Route | None:
    """Return the route of a path, percent-encoded and without its query; None where there is none (404)."""
    route = _EXACT.get(path)
    if route is not None:
        return route
    if found := _MODEL.fullmatch(path):
        verb = _MODEL_VERBS[found["verb"]]
        if verb is Verb.TRACE_SETTING and found["version"]:
            return None
        return Route(verb, model=unquote(found["model"]), version=found["version"] or "")
    if found := _REPOSITORY.fullmatch(path):
        verb = _REPOSITORY_VERBS[found["verb"]]
        return Route(verb, model=unquote(found["model"] or ""), repository=unquote(found["repository"] or ""))
    if found := _SHARED_MEMORY.fullmatch(path):
        return Route(_SHARED_MEMORY_VERBS[found["kind"], found["verb"]], region=unquote(found["region"] or ""))
    return None


def infer_target(raw_path: bytes) -> tuple[str, str] | None:
    """Return the model and the version's digits (or nothing) if the path, without its query, is an infer route."""
    route = match(raw_path.decode("utf-8", "replace"))
    return (route.model, route.version) if route is not None and route.verb is Verb.INFER else None
