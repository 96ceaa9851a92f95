"""How much the whole server has taken in and not answered yet, and how much of that it may have. No lock, no clock."""

import sys
from typing import Final

from jubako.errors import Exhausted

UNBOUNDED: Final = sys.maxsize


class InFlight:
    """Requests queued or running, of all models together, and the bytes of their inputs."""

    __slots__ = ("max_bytes", "max_requests", "nbytes", "requests")

    def __init__(self, max_requests: int = UNBOUNDED, max_bytes: int = UNBOUNDED) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.nbytes = 0

    def check(self, nbytes: int) -> None:
        """Check that a request with inputs of `nbytes` bytes fits; one that is larger than all that may be fits alone.

        Raises:
            Exhausted: it does not.
        """
        if self.requests >= self.max_requests:
            raise Exhausted(f"Exceeds maximum number of requests in flight ({self.max_requests})")
        if self.nbytes and self.nbytes + nbytes > self.max_bytes:
            raise Exhausted(f"Exceeds maximum size of requests in flight ({self.max_bytes} bytes)")

    def enter(self, nbytes: int) -> None:
        """Count a request in."""
        self.requests += 1
        self.nbytes += nbytes

    def leave(self, requests: int, nbytes: int) -> None:
        """Count requests out that had `nbytes` bytes together."""
        self.requests -= requests
        self.nbytes -= nbytes
