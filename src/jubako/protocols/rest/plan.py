"""What is remembered of a header: how its tensors lie in the body, and how to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jubako.request import ResponseSignature, Signature
from jubako.tensor import Array, Datatype

Body = bytes | bytearray
Buffer = bytes | bytearray | Array


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """How one requested output is to be written."""

    binary: bool = False
    classification: int = 0


@dataclass(slots=True, eq=False)
class ReplyPlan:
    """How an answer is to be written. Shared by all requests with the same header."""

    outputs: Mapping[str, OutputPlan] = field(default_factory=dict)
    default: OutputPlan = OutputPlan()
    plain: bool = False
    """Every output is binary and none is ranked: its JSON depends on the shapes alone."""
    heads: dict[ResponseSignature, tuple[bytes, int]] = field(default_factory=dict)
    """For a plain plan: the answer's JSON from `"model_name"` on, and the bytes of its tensors."""


@dataclass(frozen=True, slots=True)
class BinaryTensor:
    """Where a binary tensor lies: `offset` counts from the end of the header."""

    name: str
    shape: tuple[int, ...]
    datatype: Datatype
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a header says, when all its tensors follow in binary: where each lies after the header."""

    signature: Signature
    reply: ReplyPlan
    tensors: Sequence[BinaryTensor]
    total: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer's body: its JSON, then the tensors that follow it."""

    json: bytes
    tensors: Sequence[Buffer]
    size: int
    """Bytes in all."""
    binary: bool
    """Tensors follow, so that `Inference-Header-Content-Length` must be sent."""
