"""Streams without sockets: the order of answers, errors in them, and how they end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.interface import interface_of
from jubako.errors import Cancelled, Internal, JubakoError, NotFound, Unavailable
from jubako.protocols.grpc import stream as stream_module
from jubako.protocols.grpc.infer import STOPPING, Inference
from jubako.protocols.grpc.stream import InferStream
from jubako.request import InferRequest, InferResponse, Reply, ResponseSignature, TensorSpec
from jubako.tensor import Datatype

SIGNATURE = ResponseSignature("plain", 1, (TensorSpec("OUTPUT0", Datatype.FP32, (2,)),))


@dataclass
class ScriptedTicket:
    request: InferRequest
    reply: Reply
    cancelled: bool = False

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self.reply(InferResponse(self.request, error=Cancelled("")), True)

    def answer(self, value: float = 0, *, final: bool = True) -> None:
        self.reply(InferResponse(self.request, SIGNATURE, [np.full(2, value, np.float32)]), final)

    def finish(self) -> None:
        """End a decoupled model's answers with the flag alone."""
        self.reply(InferResponse(self.request), True)

    def fail(self, error: JubakoError) -> None:
        self.reply(InferResponse(self.request, error=error), True)


class ScriptedRunner:
    version = 1

    def __init__(self, name: str) -> None:
        self.name = name
        self.memo: dict[bytes, object] = {}
        self.config = ModelConfig(name=name)
        self.config.input.add(name="INPUT0", data_type="TYPE_FP32", dims=[2])
        self.config.output.add(name="OUTPUT0", data_type="TYPE_FP32", dims=[2])
        self.config.model_transaction_policy.decoupled = name == "decoupled"
        self.interface = interface_of(self.config)


@dataclass
class ScriptedPlane:
    """A data plane with the models `plain` and `decoupled`, whose answers the test gives."""

    stopping: bool = False
    full: bool = False
    tickets: list[ScriptedTicket] = field(default_factory=list)
    runners: dict[str, Any] = field(default_factory=lambda: {n: ScriptedRunner(n) for n in ("plain", "decoupled")})

    def runner(self, name: str, version: int) -> Any:
        if name not in self.runners:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        return self.runners[name]

    def submit(self, request: InferRequest, reply: Reply) -> ScriptedTicket | None:
        if self.full:
            reply(InferResponse(request, error=Unavailable("Exceeds maximum queue size")), True)
            return None
        self.tickets.append(ScriptedTicket(request, reply))
        return self.tickets[-1]


@pytest.fixture
def plane() -> ScriptedPlane:
    return ScriptedPlane()


Open = Callable[..., InferStream]


@pytest.fixture
def open_stream(plane: ScriptedPlane) -> Open:
    return lambda **options: InferStream(Inference(plane), lambda: None, **options)


def a_message(model: str = "plain", id: str = "", *, empty_final: bool = False) -> bytes:
    request = pb.ModelInferRequest(model_name=model, id=id)
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[2])
    request.raw_input_contents.append(bytes(8))
    if empty_final:
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    written: bytes = request.SerializeToString()
    return written


def sent(stream: InferStream) -> list[Any]:
    """Return what is ready to be sent."""
    return [pb.ModelStreamInferResponse.FromString(message) for message in iter(stream.take, None)]


def ids(messages: list[Any]) -> list[str]:
    return [message.infer_response.id for message in messages]


def is_final(message: Any) -> bool:
    return bool(message.infer_response.parameters["triton_final_response"].bool_param)


def test_plain_answers_leave_in_the_order_of_their_requests(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    for name in "abc":
        stream.put(a_message(id=name))

    plane.tickets[2].answer()
    plane.tickets[1].answer()
    assert sent(stream) == []
    plane.tickets[0].answer()

    messages = sent(stream)
    assert ids(messages) == ["a", "b", "c"]
    assert all(is_final(message) for message in messages)


def test_decoupled_answers_leave_as_they_come(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    stream.put(a_message("plain", "p"))
    stream.put(a_message("decoupled", "a"))
    stream.put(a_message("decoupled", "b"))

    _, first, second = plane.tickets
    second.answer(1, final=False)
    first.answer(2, final=False)
    second.answer(3, final=True)

    messages = sent(stream)
    assert ids(messages) == ["b", "a", "b"]
    assert [is_final(message) for message in messages] == [False, False, True]


@pytest.mark.parametrize("wanted", [True, False])
def test_an_empty_final_answer_is_sent_to_who_wants_it(plane: ScriptedPlane, open_stream: Open, wanted: bool) -> None:
    stream = open_stream()
    stream.put(a_message("decoupled", "d", empty_final=wanted))
    stream.half_close()

    plane.tickets[0].answer(final=False)
    plane.tickets[0].finish()

    messages = sent(stream)
    assert [is_final(message) for message in messages] == ([False, True] if wanted else [False])
    if wanted:
        assert messages[1].infer_response.id == "d"
        assert messages[1].infer_response.model_name == "decoupled"
        assert not messages[1].infer_response.outputs
    assert stream.ended


def test_a_refused_request_is_an_answer_in_its_turn(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    stream.put(a_message(id="a"))
    stream.put(a_message("unknown", "b"))

    assert sent(stream) == []
    plane.tickets[0].answer()

    messages = sent(stream)
    assert ids(messages) == ["a", "b"]
    assert messages[1].error_message == "Request for unknown model: 'unknown' is not found"
    assert not messages[1].infer_response.model_name
    assert not messages[1].infer_response.parameters


def test_a_full_queue_is_an_answer(plane: ScriptedPlane, open_stream: Open) -> None:
    plane.full = True
    stream = open_stream(statuses=True)
    stream.put(a_message(id="a"))

    (message,) = sent(stream)
    assert message.error_message == "Exceeds maximum queue size"
    assert message.infer_response.id == "a"
    assert stream.error is None


def test_a_failed_execution_is_an_answer_that_names_its_model(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    stream.put(a_message(id="a"))

    plane.tickets[0].fail(Internal("no luck"))

    (message,) = sent(stream)
    assert message.error_message == "no luck"
    assert message.infer_response.model_name == "plain"
    assert is_final(message)
    assert stream.error is None


def test_who_asks_for_statuses_gets_the_first_failure_as_one(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream(statuses=True)
    for name in "abc":
        stream.put(a_message(id=name))

    plane.tickets[0].answer()
    plane.tickets[1].fail(Internal("no luck"))

    assert plane.tickets[2].cancelled
    assert ids(sent(stream)) == ["a"]
    assert isinstance(stream.error, Internal)
    assert stream.ended


def test_a_half_closed_stream_ends_with_its_last_answer(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    stream.put(a_message())
    stream.half_close()
    stream.put(a_message())

    assert not stream.ended
    plane.tickets[0].answer()
    assert not stream.ended
    assert len(sent(stream)) == 1
    assert stream.ended
    assert stream.error is None
    assert len(plane.tickets) == 1


def test_a_cancelled_stream_gives_its_requests_up_and_sends_nothing(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    stream.put(a_message())
    stream.put(a_message("decoupled"))

    stream.cancel()

    assert all(ticket.cancelled for ticket in plane.tickets)
    assert sent(stream) == []


def test_a_stopping_server_answers_what_it_has_and_ends_with_a_status(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    stream.put(a_message(id="a"))

    stream.stop()
    stream.put(a_message(id="late"))
    assert stream.error is None
    plane.tickets[0].answer()

    assert ids(sent(stream)) == ["a"]
    assert isinstance(stream.error, Unavailable)
    assert str(stream.error) == STOPPING
    assert stream.ended


def test_what_is_no_message_ends_the_stream(plane: ScriptedPlane, open_stream: Open) -> None:
    stream = open_stream()
    stream.put(a_message())

    stream.put(b"\xff\xff\xff")

    assert str(stream.error) == "Unable to parse request"
    assert plane.tickets[0].cancelled


def test_a_client_that_does_not_read_is_not_read_from(
    plane: ScriptedPlane, open_stream: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "MAX_HELD", 3)
    stream = open_stream()
    for _ in range(4):
        stream.put(a_message())

    for ticket in plane.tickets[1:]:  # held back by the first, which is not answered
        ticket.answer()
    assert not stream.has_room

    plane.tickets[0].answer()
    assert len(sent(stream)) == 4
    assert stream.has_room
