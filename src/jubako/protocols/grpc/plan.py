"""What is remembered of a request's header: how its tensors are to be read, and how to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jubako.protocols.shared_memory import Place, Slot
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
    """How requests with the same header are to be answered; shared by them where no output is in shared memory."""

    classes: Mapping[str, int] = field(default_factory=dict)
    """How many classes each ranked output is to be cut to."""
    empty_final: bool = False
    """A decoupled model's last answer is sent though it is empty."""
    decoupled: bool = False
    asked_version: str = ""
    """The version as the request wrote it."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """The outputs that go into shared memory."""
    slots: Mapping[str, Slot] = field(default_factory=dict)
    """Where these go, held for this one request."""
    heads: dict[ResponseSignature, Head] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a header says when all its tensors are raw or in shared memory."""

    signature: Signature
    reply: ReplyPlan
    sizes: Sequence[int | None]
    """Bytes of each raw input; None for strings."""
    places: Sequence[Place | None] = ()
    """Where each input lies that is not raw; empty where nothing, in or out, is in shared memory."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A serialised ModelInferResponse in parts, of `size` bytes in all."""

    parts: Sequence[Buffer]
    size: int
