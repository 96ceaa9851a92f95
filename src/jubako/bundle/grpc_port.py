"""gRPC beside HTTP: opened when a worker starts, and ended with what is in flight when it stops."""

import logging
import time
from typing import Protocol

from jubako.bundle.stopping import CLOSING_S, Drainable
from jubako.errors import JubakoError
from jubako.protocols.grpc.options import GrpcOptions

log = logging.getLogger("jubako.grpc")


class Front(Protocol):
    """What `GrpcPort` needs of a gRPC server."""

    async def start(self) -> None:
        """Listen, or raise why that is not possible."""

    async def stop(self, grace_s: float) -> None:
        """End all calls, then close; cut off those that last longer than `grace_s`."""


class GrpcPort:
    """A server whose calls over gRPC end when it has nothing left to do.

    `options` and `front` are None where there is no gRPC. With `required`, it is a failed start if nobody can listen.
    """

    def __init__(
        self, server: Drainable, options: GrpcOptions | None, front: Front | None, *, required: bool = False
    ) -> None:
        self._server = server
        self._options = options
        self._front = front
        self._required = required
        self.at = ""
        """Where it listens, as `address:port`; empty where it does not."""

    async def open(self) -> str | None:
        """Listen; return why the start has failed, None if it has not."""
        if self._front is None or self._options is None:
            return None
        try:
            await self._front.start()
        except JubakoError as error:
            why = f"failed to start GRPC service: {error.code} - {error}"
            log.error("%s%s", why, "" if self._required else "; going on without gRPC")
            self._front = None
            return why if self._required else None
        self.at = self._options.target
        log.info("gRPC listens at %s%s", self.at, "" if self._options.tls is None else " (TLS)")
        return None

    def stop_accepting(self) -> None:
        """Refuse new inference from now on."""
        self._server.stop_accepting()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight and every call has ended; False if that took longer."""
        began_s = time.monotonic()
        if not await self._server.drain(timeout_s):
            return False
        return await self.close(max(began_s + timeout_s - time.monotonic(), CLOSING_S))

    async def close(self, grace_s: float = CLOSING_S) -> bool:
        """End the calls and listen no more; False if some had to be cut off."""
        if self._front is None:
            return True
        front, self._front = self._front, None
        began_s = time.monotonic()
        await front.stop(grace_s)
        return time.monotonic() - began_s < grace_s
