"""Which category each call falls in, and which of them need a key: the one answer that both protocols ask for.

A protocol says how keys travel (header or metadata, with which prefix) and how a refusal looks; nothing here knows.
"""

from collections.abc import Callable, Mapping
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
    value: str = field(repr=False)  # a secret: it must not show in a log


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The key of each restricted category; the others are open."""

    keys: Mapping[Group, Key] = field(default_factory=dict)

    def missing(self, group: Group, sent: Callable[[str], str | bytes | None]) -> str | None:
        """Return the name of the key that a call of `group` lacks; None if it may pass.

        `sent` returns what the client sent under a key's name.
        """
        key = self.keys.get(group)
        if key is None:
            return None
        value = sent(key.name)
        given = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        return None if given is not None and compare_digest(given, key.value.encode()) else key.name


OPEN: Final = AccessRules()
"""Everything is let through."""
