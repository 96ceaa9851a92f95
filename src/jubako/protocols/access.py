"""Which category each call falls in, and which of them need a key: the one answer that both protocols ask for.

A protocol says how keys travel (header or metadata, with which prefix) and how a refusal looks; nothing here knows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hmac import compare_digest
from typing import Final


class Group(StrEnum):
    """A restricted category, under the name that Triton gives it."""

    HEALTH = "health"
    METADATA = "metadata"
    INFERENCE = "inference"
    SHARED_MEMORY = "shared-memory"
    MODEL_CONFIG = "model-config"
    MODEL_REPOSITORY = "model-repository"
    STATISTICS = "statistics"
    TRACE = "trace"
    LOGGING = "logging"


@dataclass(frozen=True, slots=True)
class Key:
    """What a client must send to use a restricted category."""

    name: str
    """As it was configured: so it is shown. Protocols compare it without regard to case."""
    secret: bytes = field(repr=False)  # it must not show in a log


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The key of each restricted category; the others are open."""

    keys: Mapping[Group, Key] = field(default_factory=dict)

    def missing(self, group: Group, sent: Callable[[str], Sequence[bytes]]) -> str | None:
        """Return the name of the key that a call of `group` lacks; None if it may pass.

        `sent` returns all that the client sent under a key's name, given in lower case. A key that was sent twice
        must be right both times: whoever stands in between may have looked at either.
        """
        key = self.keys.get(group)
        if key is None:
            return None
        values = sent(key.name.lower())
        right = [compare_digest(value, key.secret) for value in values]
        return None if right and all(right) else key.name

    @property
    def names(self) -> frozenset[str]:
        """The keys' names in lower case."""
        return frozenset(key.name.lower() for key in self.keys.values())


METADATA_PREFIX: Final = "triton-grpc-protocol-"
"""What stands before a key's name in gRPC's metadata."""
OPEN: Final = AccessRules()
"""Everything is let through."""
