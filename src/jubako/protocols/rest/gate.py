"""Who may call what: one gate in front of both lanes and of BentoML's own pages.

It is asked before the method is looked at, before a body is read, and before anything is looked up.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from jubako.protocols.access import OPEN, AccessRules, Group
from jubako.protocols.rest.status import Refused

Headers = Sequence[tuple[bytes, bytes]]
"""Request headers, names in lower case, in the order in which they came."""


class Gate(Protocol):
    """Decides about a request by its category and its headers. Synchronous, and cheap enough to ask every time."""

    def check(self, group: Group, headers: Headers, /) -> Refused | None:
        """Return the refusal of a request for the restricted category `group`; None to let it through."""


class RuledGate:
    """Lets through what the rules leave open, and who has the key."""

    def __init__(self, rules: AccessRules) -> None:
        self._rules = rules

    def check(self, group: Group, headers: Headers, /) -> Refused | None:
        """Return Triton's refusal of who has not the key."""
        if group not in self._rules.keys:
            return None
        missing = self._rules.missing(group, lambda name: _values(headers, name.encode()))
        if missing is None:
            return None
        return Refused(403, f"This API is restricted, expecting header '{missing}'")


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


allow_all: Final[Gate] = RuledGate(OPEN)
