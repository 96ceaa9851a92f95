"""What a model says besides its outputs, over both protocols."""

import json

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from jubako.protocols.grpc import encode as grpc
from jubako.protocols.grpc.plan import ReplyPlan as GrpcPlan
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.plan import OutputPlan, ReplyPlan
from jubako.request import InferResponse, ParameterValue
from jubako.tensor import Datatype

from .codec import an_answer, whole

SAID: dict[str, ParameterValue] = {"tokens": 7, "done": True, "rate": 0.5, "stop": "eos \N{BLACK STAR}"}


def answers() -> tuple[InferResponse, InferResponse]:
    """Return two answers of one shape, the second with parameters."""
    plain = an_answer({"OUT": (Datatype.INT8, np.array([1, 2], "i1"))})
    talkative = InferResponse(plain.request, plain.signature, plain.arrays, parameters=SAID)
    return plain, talkative


def test_parameters_stand_before_the_outputs() -> None:
    _, talkative = answers()

    document = json.loads(whole(encode(talkative, ReplyPlan())))

    assert document["parameters"] == SAID
    assert list(document) == ["model_name", "model_version", "parameters", "outputs"]


def test_the_parameters_of_one_answer_are_not_those_of_the_next() -> None:
    plan = ReplyPlan(default=OutputPlan(binary=True), plain=True)
    plain, talkative = answers()

    bodies = [encode(answer, plan).json for answer in (talkative, plain, talkative, plain)]

    assert [json.loads(body).get("parameters") for body in bodies] == [SAID, None, SAID, None]


def test_a_number_that_is_not_finite_is_written_as_triton_writes_it() -> None:
    plain, _ = answers()
    response = InferResponse(plain.request, plain.signature, plain.arrays, parameters={"loss": float("-inf")})

    assert b'"parameters":{"loss":-Infinity}' in encode(response, ReplyPlan()).json


@pytest.mark.parametrize("remembered", [False, True])
def test_grpc_carries_them_with_their_types(remembered: bool) -> None:
    plan = GrpcPlan()
    plain, talkative = answers()
    if remembered:
        grpc.encode(plain, plan)

    encoded = grpc.encode(talkative, plan)
    sent = grpc.joined(list(encoded.parts))
    message = pb.ModelInferResponse.FromString(sent)

    assert len(sent) == encoded.size
    assert message.parameters["tokens"].int64_param == 7
    assert message.parameters["done"].WhichOneof("parameter_choice") == "bool_param"
    assert message.parameters["rate"].double_param == 0.5
    assert message.parameters["stop"].string_param == SAID["stop"]
    assert message.raw_output_contents == [b"\1\2"]
