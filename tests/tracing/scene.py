"""Requests, answers and traces, made by hand."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from jubako.errors import JubakoError
from jubako.request import InferRequest, InferResponse, ResponseSignature, Signature, TensorSpec
from jubako.tensor import BY_NAME, Array
from jubako.tracing.settings import TraceSetting, Values
from jubako.tracing.trace import Front, Trace
from jubako.tracing.tracing import Output, Tracing

STEP_NS = 1_000


class Kept:
    """An output that keeps what it is given; a caller is anyone whose traceparent is not empty."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self.requests: list[InferRequest | None] = []
        self.retired: list[TraceSetting] = []
        self.closed = False

    def context_of(self, traceparent: str | None, tracestate: str | None, /) -> Any:
        return traceparent or None

    def take(self, trace: Trace, /) -> None:
        trace.setting.collect()
        self.traces.append(trace)
        self.requests.append(trace.request)

    def retire(self, setting: TraceSetting, /) -> None:
        self.retired.append(setting)

    async def close(self) -> None:
        self.closed = True


def a_setting(**values: Any) -> TraceSetting:
    return TraceSetting(Values(**values), frozenset(), None)


def a_request(
    request_id: str = "", *, datatype: str = "INT32", values: Sequence[Any] = (1, 2, 3), start_ns: int = 0
) -> InferRequest:
    kind = BY_NAME[datatype]
    array: Array = np.array(values, dtype=kind.dtype)
    signature = Signature((TensorSpec("INPUT0", kind, array.shape),))
    return InferRequest("m", 2, signature, [array], request_id, start_ns)


def an_answer(request: InferRequest) -> InferResponse:
    spec = request.signature.inputs[0]
    outputs = (TensorSpec("OUTPUT0", spec.datatype, spec.shape),)
    return InferResponse(request, ResponseSignature("m", 2, outputs), request.arrays)


def run(trace: Trace, request: InferRequest | None = None, error: JubakoError | None = None) -> None:
    """Let a request that is traced run, with a microsecond for every phase, and end."""
    begun = trace.received_ns
    request = request or a_request("r", start_ns=begun + STEP_NS)
    trace.ran(*(begun + STEP_NS * step for step in range(2, 7)))
    trace.answered(an_answer(request) if error is None else InferResponse(request, error=error))
    trace.sending()
    trace.end()


def trace_one(tracing: Tracing, model: str = "m", received_ns: int = 1_000_000, traceparent: str | None = None) -> bool:
    """Send a request past `tracing`; whether it is traced."""
    trace = tracing.begin(model, Front.HTTP, received_ns, traceparent)
    if trace is not None:
        run(trace)
    return trace is not None


def close(what: Output | Tracing) -> None:
    async def wait() -> None:
        await what.close()

    asyncio.run(wait())
