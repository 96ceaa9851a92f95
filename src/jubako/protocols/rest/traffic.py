"""How many requests were answered with which status, by endpoint: what BentoML counts of its own pages.

An endpoint is a pattern, not a path: a client that asks for a million paths makes no more of them.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from jubako.protocols.rest.route import Verb

OTHER: Final = "/v2/*"
"""What is not served."""
ENDPOINTS: Final[Mapping[Verb, str]] = {
    Verb.LIVE: "/v2/health/live",
    Verb.READY: "/v2/health/ready",
    Verb.MODEL_READY: "/v2/models/{model}/ready",
    Verb.SERVER_METADATA: "/v2",
    Verb.MODEL_METADATA: "/v2/models/{model}",
    Verb.MODEL_CONFIG: "/v2/models/{model}/config",
    Verb.STATISTICS: "/v2/models/stats",
    Verb.INFER: "/v2/models/{model}/infer",
    Verb.GENERATE: "/v2/models/{model}/generate",
    Verb.GENERATE_STREAM: "/v2/models/{model}/generate_stream",
    Verb.INDEX: "/v2/repository/index",
    Verb.LOAD: "/v2/repository/models/{model}/load",
    Verb.UNLOAD: "/v2/repository/models/{model}/unload",
    Verb.SYSTEM_STATUS: "/v2/systemsharedmemory/status",
    Verb.SYSTEM_REGISTER: "/v2/systemsharedmemory/register",
    Verb.SYSTEM_UNREGISTER: "/v2/systemsharedmemory/unregister",
    Verb.CUDA_STATUS: "/v2/cudasharedmemory/status",
    Verb.CUDA_REGISTER: "/v2/cudasharedmemory/register",
    Verb.CUDA_UNREGISTER: "/v2/cudasharedmemory/unregister",
    Verb.TRACE_SETTING: "/v2/trace/setting",
    Verb.LOGGING: "/v2/logging",
}
"""With and without a version, of one model and of all: one endpoint."""


class Traffic:
    """The counts of one service, over both lanes. Only the loop's thread writes."""

    def __init__(self) -> None:
        self.inferred = 0
        """Inferences that the fast lane answered with 200."""
        self._counts: dict[tuple[str, int], int] = {}

    def count(self, verb: Verb | None, status: int) -> None:
        """Count an answer to any other request; without a verb, to one that is not served."""
        key = OTHER if verb is None else ENDPOINTS[verb], status
        self._counts[key] = self._counts.get(key, 0) + 1

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Yield endpoint, status and count, of those that there are."""
        counts = dict(self._counts)
        if self.inferred:
            key = ENDPOINTS[Verb.INFER], 200
            counts[key] = counts.get(key, 0) + self.inferred
        for (endpoint, status), count in sorted(counts.items()):
            yield endpoint, status, count
