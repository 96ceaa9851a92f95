"""What is remembered of a header: how its tensors lie in the body, and how to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jubako.protocols.shared_memory import Place, Slot
from jubako.request import ResponseSignature, Signature
from jubako.tensor import Array, Datatype

Body = bytes | bytearray
Buffer = bytes | bytearray | Array


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """How one requested output is to be written."""

    binary: bool = False
    classification: int = 0
    place: Place | None = None
    """It goes into shared memory, and its JSON says no more than its shape."""


@dataclass(slots=True, eq=False)
class ReplyPlan:
    """How an answer is to be written. Shared by all requests with the same header, where none goes to shared memory."""

    outputs: Mapping[str, OutputPlan] = field(default_factory=dict)
    default: OutputPlan = OutputPlan()
    plain: bool = False
    """Every output is binary or in shared memory, and none is ranked: its JSON depends on the shapes alone."""
    shared: bool = False
    """An output goes into shared memory."""
    slots: Mapping[str, Slot] = field(default_factory=dict)
    """Where such outputs go, held for this one request."""
    heads: dict[ResponseSignature, tuple[bytes, int]] = field(default_factory=dict)
    """For a plain plan: the answer's JSON from `"model_name"` on, and the bytes of its tensors."""
    answers: dict[ResponseSignature | None, bytes] = field(default_factory=dict)
    """Room for the fast lane: an answer's head and JSON, without an id."""


@dataclass(frozen=True, slots=True)
class BinaryTensor:
    """Where a binary tensor lies: `offset` counts from the end of the header."""

    name: str
    shape: tuple[int, ...]
    datatype: Datatype
    offset: int
    size: int
    place: Place | None = None
    """It lies in shared memory instead, all `size` bytes of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a header says, when all its tensors are binary: where each lies after the header, or in shared memory."""

    signature: Signature
    reply: ReplyPlan
    tensors: Sequence[BinaryTensor]
    total: int
    shared: bool = False
    """A tensor, in or out, is in shared memory: regions are looked up anew for each request."""


@dataclass(slots=True, eq=False)
class Encoded:
    """An answer's body: its JSON, then the tensors that follow it."""

    json: bytes
    tensors: Sequence[Buffer]
    size: int
    """Bytes in all."""
    binary: bool
    """Tensors follow, so that `Inference-Header-Content-Length` must be sent."""
