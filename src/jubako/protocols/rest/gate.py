"""Who may call what: one gate in front of both lanes.

It is asked before the method is looked at and before a body is read. Today it lets everything through; access rules are
one more class with a `check`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from jubako.protocols.rest.status import Refused

Headers = Sequence[tuple[bytes, bytes]]
"""Request headers, names in lower case, in the order in which they came."""


class Gate(Protocol):
    """Decides about a request by its category and its headers. Synchronous, and cheap enough to ask every time."""

    def check(self, group: str, headers: Headers, /) -> Refused | None:
        """Return the refusal of a request for the restricted category `group`; None to let it through."""


class AllowAll:
    """Refuses nothing."""

    def check(self, group: str, headers: Headers, /) -> None:
        """Let it through."""


allow_all: Final[Gate] = AllowAll()
