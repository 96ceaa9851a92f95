"""What goes down the layers and what comes back up: requests, responses, and the part of each that repeats.

A client sends the same tensor names, datatypes and shapes again and again; only the numbers and the id change. That
repeating part is a `Signature`: immutable, compared by identity, parsed once by a codec and checked once by a runner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from jubako.errors import JubakoError
from jubako.tensor import Array, Datatype

ParameterValue = str | int | float | bool
NO_PARAMETERS: Final[Mapping[str, ParameterValue]] = MappingProxyType({})
LATEST: Final = -1
"""The version number that asks for the highest ready version."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor's name, datatype and full shape (with the batch dimension where the model has one)."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """The repeating part of a request. Hashes by identity: a codec that reuses one makes its checks free."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] = ()
    """Names of the outputs asked for, unique; empty asks for all."""
    byte_sizes: tuple[int | None, ...] = ()
    """Bytes that came for each input where its encoding says so (None otherwise); checked against the shape last,
    as Triton does."""
    parameters: Mapping[str, ParameterValue] = field(default_factory=lambda: NO_PARAMETERS)
    """Custom parameters, passed to the model; reserved keys are in the fields below."""
    priority: int = 0
    timeout_us: int = 0
    sequence_id: int | str = 0
    sequence_start: bool = False
    sequence_end: bool = False
    reusable: bool = False
    """The codec keeps this object and will send it again; a runner may remember what it found."""


@dataclass(slots=True, eq=False)
class InferRequest:
    """One inference. Never mutated once submitted.

    `arrays` runs parallel to `signature.inputs`; they may be read-only views of the received body, and keep it alive.
    """

    model_name: str
    model_version: int
    signature: Signature
    arrays: Sequence[Array]
    id: str = ""
    start_ns: int = 0
    """`time.monotonic_ns()` when the protocol had the whole request; statistics count from here."""
    trace: "Trace | None" = None
    """What records this request, if it is one of those that are traced."""


@dataclass(frozen=True, slots=True, eq=False)
class ResponseSignature:
    """The repeating part of a response: a codec may remember its encoding by identity."""

    model_name: str
    model_version: int
    outputs: tuple[TensorSpec, ...]


@dataclass(slots=True, eq=False)
class InferResponse:
    """One answer to `request`: outputs (parallel to `signature.outputs`, in the model's order), or an error."""

    request: InferRequest
    signature: ResponseSignature | None = None
    arrays: Sequence[Array] = ()
    error: JubakoError | None = None
    labels: Mapping[str, Sequence[str]] | None = None
    """Class names by output, for the classification extension."""
    batched: bool = False
    """The first dimension of each output is a batch."""
    parameters: Mapping[str, ParameterValue] | None = None
    """What the model says besides its outputs, if anything."""


def label(request_id: str) -> str:
    """Return what Triton writes in front of most errors about one request."""
    return f"[request id: {request_id or '<id_unknown>'}] "


class Reply(Protocol):
    """Where answers go. Called in the loop's thread; never raises.

    Called exactly once for a plain model; any number of times for a decoupled one, the last time with `final`.
    """

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        """Take one answer."""


class Trace(Protocol):
    """Who is told how a request went through its model. Called in the loop's thread; times are monotonic."""

    def queued(self, ns: int, /) -> None:
        """It was queued, and left its queue without an execution."""

    def ran(self, queued_ns: int, start_ns: int, input_end_ns: int, infer_end_ns: int, end_ns: int, /) -> None:
        """It was queued, and ran in an execution of these phases."""


class Ticket(Protocol):
    """A submitted request, as its sender holds it."""

    def cancel(self) -> None:
        """Give the request up. Idempotent; a no-op once answered.

        A queued request leaves its queue at once and is answered with `Cancelled`; a running one is flagged and is
        answered with `Cancelled` when its execution ends.
        """
