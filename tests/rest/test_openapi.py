"""The OpenAPI document against the routes, and against what a server really answers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import Served, identity, serving, simple
from pydantic import BaseModel, TypeAdapter

from jubako.protocols.rest import schemas
from jubako.protocols.rest.openapi import CALLS, document
from jubako.protocols.rest.route import Verb, match

from .wire import Answer, Wire, get, message, sums

DOCUMENT = document()
FILLED = {"model": "simple", "version": "1", "region": "r"}


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_path_is_a_route_of_its_verb_and_every_verb_has_a_path() -> None:
    for call in CALLS:
        for path in call.paths:
            route = match(path.format(**FILLED))
            assert route is not None
            assert route.verb is call.verb
            assert {method.upper() for method in DOCUMENT["paths"][path]} == call.verb.methods
    assert {call.verb for call in CALLS} == set(Verb)


def test_every_operation_has_a_name_of_its_own_and_describes_the_parameters_of_its_path() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(set(names)) == len(names)
    for path, _, operation in operations():
        described = [entry["name"] for entry in operation["parameters"] if entry["in"] == "path"]
        assert described == re.findall(r"\{(\w+)\}", path)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}

    assert set(references(DOCUMENT)) == known


def test_the_document_is_json() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = {"simple": simple(), "line": identity("STRING", dims="[ 1 ]")}
    with serving("fast", tmp_path_factory.mktemp("models"), models) as it:
        with Wire.to(it) as wire:
            wire.send(sums(1))
            wire.answer()
        yield it


def ask(served: Served, request: bytes) -> Answer:
    with Wire.to(served) as wire:
        wire.send(request)
        return wire.answer()


@pytest.mark.parametrize(
    ("request_bytes", "model"),
    [
        (get("/v2"), schemas.ServerMetadata),
        (get("/v2/models/simple"), schemas.ModelMetadata),
        (get("/v2/models/simple/config"), schemas.ModelConfig),
        (get("/v2/models/stats"), schemas.Statistics),
        (get("/v2/models/simple/versions/1/stats"), schemas.Statistics),
        (message("POST", "/v2/repository/index", b""), list[schemas.IndexRow]),
        (get("/v2/systemsharedmemory/status"), list[schemas.SystemRegion]),
        (get("/v2/cudasharedmemory/status"), list[schemas.CudaRegion]),
        (sums(2), schemas.InferenceResponse),
        (get("/v2/models/unknown"), schemas.Error),
        (get("/v2/nothing"), schemas.Error),
    ],
    ids=lambda value: value.partition(b" HTTP")[0].decode() if isinstance(value, bytes) else None,
)
def test_what_the_server_answers_is_what_is_described(served: Served, request_bytes: bytes, model: Any) -> None:
    TypeAdapter(model).validate_python(ask(served, request_bytes).json, strict=True)


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (schemas.InferenceRequest, {"inputs": []}, {"inputs": [{"name": "A", "shape": [-1], "datatype": "FP32"}]}),
        (schemas.SystemRegistration, {"key": "/k", "byte_size": 1}, {"key": "/k"}),
        (schemas.IndexRequest, {"ready": True, "other": 1}, {"ready": []}),
        (schemas.GenerateRequest, {"TEXT": "a", "parameters": {}}, {"id": 7}),
    ],
)
def test_a_body_that_is_described_can_be_told_from_one_that_is_not(
    model: type[BaseModel], good: dict[str, Any], bad: dict[str, Any]
) -> None:
    model.model_validate(good, strict=True)
    with pytest.raises(ValueError, match="validation error"):
        model.model_validate(bad, strict=True)
