"""What clients may read and change of a running server, over either protocol: its traces and its log."""

from dataclasses import dataclass
from typing import Final

from jubako.errors import Unavailable
from jubako.log_settings import LogSettings
from jubako.tracing.tracing import UNTRACED, Sampler, Tracing


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings; a server that is put together without one refuses its calls, as a Triton built without it does."""

    tracing_or_none: Tracing | None = None
    logs_or_none: LogSettings | None = None

    @property
    def tracing(self) -> Tracing:
        """The trace settings.

        Raises:
            Unavailable: there are none.
        """
        if self.tracing_or_none is None:
            raise Unavailable("the server does not support tracing")
        return self.tracing_or_none

    @property
    def logs(self) -> LogSettings:
        """The log settings.

        Raises:
            Unavailable: there are none.
        """
        if self.logs_or_none is None:
            raise Unavailable("the server does not support dynamic logging")
        return self.logs_or_none

    @property
    def sampler(self) -> Sampler:
        """What samples requests."""
        return UNTRACED if self.tracing_or_none is None else self.tracing_or_none


NO_SETTINGS: Final = Settings()
