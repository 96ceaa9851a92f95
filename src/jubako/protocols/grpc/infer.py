"""ModelInfer and the requests of ModelStreamInfer: message in, message out, over the data plane. No gRPC machinery."""

import logging
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from jubako.errors import Internal, JubakoError, Unavailable, Unsupported
from jubako.protocols.forwarding import NO_FORWARDING, Forwarding, Sent
from jubako.protocols.grpc.decode import Targets, decode
from jubako.protocols.grpc.encode import encode, joined
from jubako.protocols.grpc.plan import ReplyPlan
from jubako.protocols.grpc.wire import Cut, cut
from jubako.protocols.shared_memory import NO_REGIONS, Regions
from jubako.request import InferRequest, InferResponse, Reply, Ticket
from jubako.runner import Runner
from jubako.statistics import Refusal
from jubako.tracing.trace import Front
from jubako.tracing.tracing import UNTRACED, Sampler

log = logging.getLogger("jubako.grpc")

STOPPING = "GRPC server is shutting down and has stopped accepting new requests."
Answer = Callable[[bytes | JubakoError], None]


class DataPlane(Protocol):
    """What inference needs of a server."""

    @property
    def stopping(self) -> bool:
        """New inference is refused."""

    def runner(self, name: str, version: int) -> Runner:
        """Return the ready version asked for, or raise why there is none."""

    def submit(self, request: InferRequest, reply: Reply, /) -> Ticket | None:
        """Queue a request; never raises."""


class Inference:
    """Turns messages into requests of `server`."""

    def __init__(
        self,
        server: DataPlane,
        regions: Regions = NO_REGIONS,
        forwarding: Forwarding = NO_FORWARDING,
        sampler: Sampler = UNTRACED,
    ) -> None:
        self._server = server
        self._regions = regions
        self._forwarding = forwarding
        self._sampler = sampler
        self._targets = Targets()

    @property
    def stopping(self) -> bool:
        """New inference is refused."""
        return self._server.stopping

    def read(self, message: Cut, start_ns: int, sent: Sent = ()) -> tuple[InferRequest, ReplyPlan]:
        """Return the request that a message is, sent with the metadata `sent`, and how to answer it.

        Raises:
            JubakoError: it is none, or there is no such model.
        """
        name, version = self._targets.of(message.header)
        runner = self._server.runner(name, version)
        try:
            request, plan = decode(message, runner, start_ns, self._regions)
            if self._forwarding:
                self._forwarding.forward(request, sent)
        except JubakoError:
            runner.statistics.refused(Refusal.INVALID)
            raise
        return request, plan

    def submit(self, request: InferRequest, reply: Reply, sent: Sent = ()) -> Ticket | None:
        """Queue a request (see `InferenceServer.submit`), sent with the metadata `sent`; trace it if it is its turn."""
        if self._sampler.active:
            reply = self._traced(request, reply, sent)
        return self._server.submit(request, reply)

    def _traced(self, request: InferRequest, reply: Reply, sent: Sent) -> Reply:
        metadata = dict(sent)
        trace = self._sampler.begin(
            request.model_name, Front.GRPC, request.start_ns, metadata.get("traceparent"), metadata.get("tracestate")
        )
        if trace is None:
            return reply
        request.trace = trace

        def noted(response: InferResponse, final: bool, /) -> None:
            trace.answered(response)
            trace.sending()
            reply(response, final)
            if final:
                trace.end()

        return noted

    def infer(self, message: bytes, answer: Answer, sent: Sent = ()) -> Ticket | None:
        """Answer one ModelInferRequest: `answer` gets a ModelInferResponse or an error, exactly once.

        Never raises. There is no ticket if it was answered before this returned.
        """
        start_ns = time.monotonic_ns()
        try:
            if self._server.stopping:
                raise Unavailable(STOPPING)
            request, plan = self.read(cut(message), start_ns, sent)
            if plan.decoupled:
                raise Unsupported("ModelInfer RPC doesn't support models with decoupled transaction policy")
        except JubakoError as error:
            answer(error)
            return None
        except Exception as error:
            answer(unexpected("ModelInfer", error))
            return None

        def reply(response: InferResponse, final: bool, /) -> None:
            if final:
                answer(_written(response, plan))

        return self.submit(request, reply, sent)


def _written(response: InferResponse, plan: ReplyPlan) -> bytes | JubakoError:
    if response.error is not None:
        return response.error
    try:
        return joined(encode(response, plan).parts)
    except JubakoError as error:
        return error
    except Exception as error:
        return unexpected("ModelInfer", error)


def unexpected(method: str, error: Exception) -> Internal:
    """Return what a client hears of a fault of our own; the log hears the rest."""
    log.error("%s broke: %a\n%s", method, error, "".join(traceback.format_tb(error.__traceback__)))
    return Internal("unexpected error while answering the request")
