"""What is remembered of a request's header: how its tensors are to be read, and how to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jubako.request import ResponseSignature, Signature
from jubako.tensor import Array

Buffer = bytes | Array


@dataclass(frozen=True, slots=True)
class Head:
    """What answers with the same outputs have in common: all but the id and the tensors.

    `prefixes` stand before the tensors, of `size` bytes in all with them; empty where a tensor's size may differ.
    """

    message: bytes
    prefixes: Sequence[bytes] = ()
    size: int = 0


@dataclass(slots=True, eq=False)
class ReplyPlan:
    """How requests with the same header are to be answered."""

    classes: Mapping[str, int] = field(default_factory=dict)
    """How many classes each ranked output is to be cut to."""
    empty_final: bool = False
    """A decoupled model's last answer is sent though it is empty."""
    decoupled: bool = False
    asked_version: str = ""
    """The version as the request wrote it."""
    heads: dict[ResponseSignature, Head] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a header says when all its tensors are raw."""

    signature: Signature
    reply: ReplyPlan
    sizes: Sequence[int | None]
    """Bytes of each input; None for strings."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A serialised ModelInferResponse in parts, of `size` bytes in all."""

    parts: Sequence[Buffer]
    size: int
