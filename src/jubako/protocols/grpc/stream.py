"""One ModelStreamInfer: many requests in flight, and the order of their answers (grpc.md section 4). No I/O.

Plain models answer in the order in which their requests were read, decoupled ones in the order in which they answer. An
error about one request is an answer like the others: the stream lives on, unless its client asked for statuses
(`triton_grpc_error`) and the error came out of an execution.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from tritonclient.grpc import service_pb2 as pb

from jubako.errors import Cancelled, JubakoError, Unavailable
from jubako.protocols.forwarding import Sent
from jubako.protocols.grpc.encode import encode, joined
from jubako.protocols.grpc.infer import STOPPING, Inference, unexpected
from jubako.protocols.grpc.plan import Buffer, ReplyPlan
from jubako.protocols.grpc.status import message_of
from jubako.protocols.grpc.wire import Cut, cut, prefix
from jubako.request import InferRequest, InferResponse, Ticket

MAX_HELD_BYTES: Final = 16 << 20
MAX_HELD: Final = 4096
"""A client that does not read its answers is not read from either, once this much waits for it."""
_INFER_RESPONSE: Final = 2


def _final(value: bool) -> bytes:
    message = pb.ModelInferResponse()
    message.parameters["triton_final_response"].bool_param = value
    written: bytes = message.SerializeToString()
    return written


FINAL: Final = {final: _final(final) for final in (False, True)}


class InferStream:
    """The state of one stream; its shell reads messages into `put` and writes what `take` gives.

    `wake` is called whenever there may be something to take, or the stream may have ended.
    """

    def __init__(
        self, inference: Inference, wake: Callable[[], None], *, statuses: bool = False, sent: Sent = ()
    ) -> None:
        self.statuses: Final = statuses
        """The client wants the first error of an execution as the stream's status."""
        self.error: JubakoError | None = None
        """Why the stream ends, where that is not its client's wish."""
        self.sent: Final = sent
        """The metadata that its requests share."""
        self._inference = inference
        self._wake = wake
        self._open: dict[_Exchange, None] = {}
        self._in_order: deque[_Exchange] = deque()
        self._unsent: deque[bytes] = deque()
        self._held = 0
        self._held_bytes = 0
        self._reading = True
        self._stopping = False

    @property
    def has_room(self) -> bool:
        """Another request may be read."""
        return self._held_bytes < MAX_HELD_BYTES and self._held < MAX_HELD

    @property
    def ended(self) -> bool:
        """Nothing more will come out of `take`."""
        return not self._unsent and (self.error is not None or (not self._reading and not self._open))

    def put(self, message: bytes) -> None:
        """Start on one ModelInferRequest. Never raises: what is wrong with it is its answer."""
        if not self._reading:
            return
        start_ns = time.monotonic_ns()
        try:
            exchange = _Exchange(self, cut(message))
        except JubakoError as error:  # its sender could not tell which request an answer is for
            self._end(error)
            return
        self._open[exchange] = None
        refusal = exchange.read(self._inference, start_ns)
        if not exchange.decoupled:
            self._in_order.append(exchange)
        exchange.submit(self._inference, refusal)

    def half_close(self) -> None:
        """Take no more requests; the stream ends when those under way are answered."""
        self._reading = False
        self._wake()

    def stop(self) -> None:
        """Take no more requests, and end with the news that the server stops when those under way are answered."""
        self._stopping = self._reading
        self._reading = False
        self._check_stopped()

    def cancel(self) -> None:
        """Give up every request under way; nothing more is sent."""
        self._end(Cancelled(""))
        self._unsent.clear()

    def take(self) -> bytes | None:
        """Return the next message to send; None where there is none yet."""
        if not self._unsent:
            return None
        message = self._unsent.popleft()
        self._held -= 1
        self._held_bytes -= len(message)
        return message

    # --- for its exchanges ----------------------------------------------------------------------------------------

    def answered(self, exchange: "_Exchange", message: bytes) -> None:
        """Send an answer of `exchange` when its turn comes."""
        if self.error is not None:
            return
        self._held += 1
        self._held_bytes += len(message)
        if exchange.decoupled:
            self._unsent.append(message)
        else:
            exchange.answer = message
            while self._in_order and (first := self._in_order[0]).answer is not None:
                self._in_order.popleft()
                self._unsent.append(first.answer)
        self._wake()

    def failed(self, error: JubakoError) -> None:
        """End the stream with the status of an error that came out of an execution."""
        if self.error is None:
            self._end(error)

    def over(self, exchange: "_Exchange") -> None:
        """Take note that `exchange` will have no more answers."""
        self._open.pop(exchange, None)
        self._check_stopped()
        self._wake()

    def _check_stopped(self) -> None:
        if self._stopping and not self._open and self.error is None:
            self._end(Unavailable(STOPPING))

    def _end(self, error: JubakoError) -> None:
        if self.error is None:
            self.error = error
        self._reading = False
        for exchange in list(self._open):
            exchange.cancel()
        self._open.clear()
        self._in_order.clear()
        self._wake()


class _Exchange:
    """One request of a stream, and its answers."""

    __slots__ = ("_cut", "_plan", "_request", "_stream", "_submitted", "_ticket", "answer", "decoupled")

    def __init__(self, stream: InferStream, parts: Cut) -> None:
        self._stream = stream
        self._cut = parts
        self._plan = ReplyPlan()
        self._request: InferRequest | None = None
        self._ticket: Ticket | None = None
        self._submitted = False
        self.decoupled = False
        self.answer: bytes | None = None

    def read(self, inference: Inference, start_ns: int) -> JubakoError | None:
        """Find out what is asked; return what is wrong with it."""
        try:
            self._request, self._plan = inference.read(self._cut, start_ns, self._stream.sent)
        except JubakoError as error:
            return error
        except Exception as error:
            return unexpected("ModelStreamInfer", error)
        self.decoupled = self._plan.decoupled
        return None

    def submit(self, inference: Inference, refusal: JubakoError | None) -> None:
        """Send the request on its way, or answer with its refusal."""
        if self._request is None:
            self._refuse(refusal or Cancelled(""))
            self._stream.over(self)
            return
        self._ticket = inference.submit(self._request, self._reply, self._stream.sent)
        self._submitted = True

    def cancel(self) -> None:
        """Give the request up."""
        if self._ticket is not None:
            self._ticket.cancel()

    def _reply(self, response: InferResponse, final: bool, /) -> None:
        if response.error is not None:
            if self._submitted:
                self._fail(response.error, final)
            else:
                self._refuse(response.error)
        elif response.signature is not None:
            self._send(response, final)
        elif final and self._plan.empty_final:
            self._stream.answered(self, _wrapped([self._bare(final).SerializeToString()]))
        if final:
            self._stream.over(self)

    def _send(self, response: InferResponse, final: bool) -> None:
        try:
            encoded = encode(response, self._plan)
        except JubakoError as error:
            self._fail(error, final)
        except Exception as error:
            self._fail(unexpected("ModelStreamInfer", error), final)
        else:
            self._stream.answered(self, _wrapped([*encoded.parts, FINAL[final]], encoded.size + len(FINAL[final])))

    def _refuse(self, error: JubakoError) -> None:
        """Answer with an error from before the execution, which names the request by its id alone."""
        self._send_error(error, pb.ModelInferResponse(id=self._cut.id))

    def _fail(self, error: JubakoError, final: bool) -> None:
        if self._stream.statuses:
            self._stream.failed(error)
        else:
            self._send_error(error, self._bare(final))

    def _send_error(self, error: JubakoError, bare: pb.ModelInferResponse) -> None:
        message = pb.ModelStreamInferResponse(error_message=message_of(error), infer_response=bare)
        self._stream.answered(self, message.SerializeToString())

    def _bare(self, final: bool) -> pb.ModelInferResponse:
        """Return an answer without outputs; its version is as the request wrote it."""
        assert self._request is not None
        bare = pb.ModelInferResponse(
            id=self._request.id, model_name=self._request.model_name, model_version=self._plan.asked_version
        )
        bare.parameters["triton_final_response"].bool_param = final
        return bare


def _wrapped(parts: list[Buffer], size: int | None = None) -> bytes:
    """Return a ModelStreamInferResponse that holds a ModelInferResponse given in parts."""
    total = len(parts[0]) if size is None else size
    return joined((prefix(_INFER_RESPONSE, total), *parts))
