"""What is recorded of one sampled request."""

import time
from collections.abc import Iterator
from enum import Enum
from typing import Any, Protocol

from jubako.errors import JubakoError
from jubako.request import InferRequest, InferResponse
from jubako.tracing.settings import TraceSetting


class Front(Enum):
    """By which protocol a request came; the value is the prefix, and the word for reading, of its events."""

    HTTP = ("HTTP", "RECV")
    GRPC = ("GRPC", "WAITREAD")


class Sink(Protocol):
    """Where traces go when they have ended."""

    def take(self, trace: "Trace", /) -> None:
        """Take one. Called in the loop; blocks on nothing."""


class Trace:
    """One sampled request. All times are monotonic nanoseconds, 0 for what has not happened.

    The protocol that has it calls `begin_reply`, `answered` or `failed` as things happen, and at last `end`; the runner
    calls `queued` or `ran`.
    """

    __slots__ = (
        "_sink",
        "answered_ns",
        "compute_end_ns",
        "compute_start_ns",
        "context",
        "error",
        "front",
        "id",
        "infer_end_ns",
        "input_end_ns",
        "model",
        "parent_id",
        "queued_ns",
        "received_ns",
        "request",
        "response",
        "send_end_ns",
        "send_start_ns",
        "setting",
    )

    def __init__(
        self, sink: Sink, setting: TraceSetting, number: int, model: str, front: Front, received_ns: int, context: Any
    ) -> None:
        self._sink: Sink | None = sink
        self.setting = setting
        self.id = number
        self.parent_id = 0
        self.model = model
        self.front = front
        self.context = context
        """What the sink made of the caller's `traceparent`."""
        self.request: InferRequest | None = None
        self.response: InferResponse | None = None
        self.error: BaseException | None = None
        self.received_ns = received_ns
        self.queued_ns = self.compute_start_ns = self.input_end_ns = self.infer_end_ns = self.compute_end_ns = 0
        self.answered_ns = self.send_start_ns = self.send_end_ns = 0

    def queued(self, ns: int) -> None:
        """Take note of when the request came into its queue, which it left without an execution."""
        self.queued_ns = ns

    def ran(self, queued_ns: int, start_ns: int, input_end_ns: int, infer_end_ns: int, end_ns: int) -> None:
        """Take note of an execution: when the request was queued, and the phases of the run."""
        self.queued_ns = queued_ns
        self.compute_start_ns = start_ns
        self.input_end_ns = input_end_ns
        self.infer_end_ns = infer_end_ns
        self.compute_end_ns = end_ns

    def answered(self, response: InferResponse) -> None:
        """Take the final answer of the data plane."""
        self.answered_ns = time.monotonic_ns()
        self.request = response.request
        if response.error is not None:
            self.error = response.error
        else:
            self.response = response

    def failed(self, error: BaseException) -> None:
        """Take note of why there is no answer."""
        self.error = error

    def sending(self) -> None:
        """Take note that the answer goes to the socket now."""
        self.send_start_ns = time.monotonic_ns()

    def end(self) -> None:
        """Hand the trace over, once; arrays are let go of."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        now_ns = time.monotonic_ns()
        if self.send_start_ns:
            self.send_end_ns = now_ns
        try:
            sink.take(self)
        finally:
            self.request = self.response = None

    # --- what sinks read ------------------------------------------------------------------------------------------

    @property
    def start_ns(self) -> int:
        """When the protocol had the whole request; 0 if it came to no request."""
        return self.request.start_ns if self.request is not None else 0

    @property
    def last_ns(self) -> int:
        """The last time that is known."""
        return max(self.received_ns, self.start_ns, self.compute_end_ns, self.answered_ns, self.send_end_ns)

    @property
    def failure(self) -> str | None:
        """What the client was told of why it has no answer; None if it has one."""
        if self.error is None:
            return None
        return str(self.error) if isinstance(self.error, JubakoError) else type(self.error).__name__

    def front_events(self) -> Iterator[tuple[str, int]]:
        """Yield the events of the protocol that have happened, in the order in which they did."""
        prefix, read = self.front.value
        yield from _happened(
            (f"{prefix}_{read}_START", self.received_ns),
            (f"{prefix}_{read}_END", self.start_ns),
            (f"{prefix}_SEND_START", self.send_start_ns),
            (f"{prefix}_SEND_END", self.send_end_ns),
        )

    def model_events(self) -> Iterator[tuple[str, int]]:
        """Yield the events of the request outside its execution."""
        yield from _happened(
            ("REQUEST_START", self.start_ns),
            ("QUEUE_START", self.queued_ns),
            ("REQUEST_END", self.answered_ns),
        )

    def compute_events(self) -> Iterator[tuple[str, int]]:
        """Yield the events of its execution."""
        yield from _happened(
            ("COMPUTE_START", self.compute_start_ns),
            ("COMPUTE_INPUT_END", self.input_end_ns),
            ("COMPUTE_OUTPUT_START", self.infer_end_ns),
            ("COMPUTE_END", self.compute_end_ns),
        )

    def response_events(self) -> Iterator[tuple[str, int]]:
        """Yield the arrival of its answer at the protocol."""
        yield from _happened(("INFER_RESPONSE_COMPLETE", self.answered_ns if self.response is not None else 0))


def _happened(*events: tuple[str, int]) -> Iterator[tuple[str, int]]:
    return (event for event in events if event[1])
