"""The REST surface as an OpenAPI 3.1 document. Pure: no server is asked.

Each call is one row of `CALLS`; the row's verb says its methods and its category.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from jubako import __version__
from jubako.protocols.rest import schemas as s
from jubako.protocols.rest.route import Verb

OPENAPI: Final = "3.1.0"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
REFERENCE: Final = "#/components/schemas/{model}"
Document = dict[str, Any]
Model = type[BaseModel]
Body = Model | list[Model] | None
"""A model, a list of them, or nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the protocol: where it is, what it takes, what it gives."""

    verb: Verb
    paths: Sequence[str]
    summary: str
    takes: Model | None = None
    gives: Body = None
    needs_body: bool = True


def _of_model(tail: str) -> list[str]:
    return [f"/v2/models/{{model}}{tail}", f"/v2/models/{{model}}/versions/{{version}}{tail}"]


def _of_region(kind: str, verb: str) -> list[str]:
    return [f"/v2/{kind}sharedmemory/{verb}", f"/v2/{kind}sharedmemory/region/{{region}}/{verb}"]


CALLS: Final = (
    Call(Verb.LIVE, ["/v2/health/live"], "Does the server run?"),
    Call(Verb.READY, ["/v2/health/ready"], "May inference be sent?"),
    Call(Verb.MODEL_READY, _of_model("/ready"), "Is a model ready?"),
    Call(Verb.SERVER_METADATA, ["/v2"], "The server's name, version and extensions", gives=s.ServerMetadata),
    Call(Verb.MODEL_METADATA, _of_model(""), "A model's versions and tensors", gives=s.ModelMetadata),
    Call(Verb.MODEL_CONFIG, _of_model("/config"), "A model's completed configuration", gives=s.ModelConfig),
    Call(Verb.STATISTICS, ["/v2/models/stats", *_of_model("/stats")], "What was counted", gives=s.Statistics),
    Call(Verb.INFER, _of_model("/infer"), "Run one inference", s.InferenceRequest, s.InferenceResponse),
    Call(
        Verb.GENERATE, _of_model("/generate"), "Run one inference on flat JSON", s.GenerateRequest, s.GenerateResponse
    ),
    Call(
        Verb.GENERATE_STREAM,
        _of_model("/generate_stream"),
        "Run one inference on flat JSON; each answer is a server-sent event",
        s.GenerateRequest,
        s.GenerateResponse,
    ),
    Call(
        Verb.INDEX,
        ["/v2/repository/index"],
        "The models that the server knows of",
        s.IndexRequest,
        [s.IndexRow],
        needs_body=False,
    ),
    Call(Verb.LOAD, ["/v2/repository/models/{model}/load"], "Load a model", s.LoadRequest, needs_body=False),
    Call(Verb.UNLOAD, ["/v2/repository/models/{model}/unload"], "Unload a model", s.UnloadRequest, needs_body=False),
    Call(Verb.SYSTEM_STATUS, _of_region("system", "status"), "Regions of system memory", gives=[s.SystemRegion]),
    Call(Verb.SYSTEM_REGISTER, _of_region("system", "register")[1:], "Register a region", s.SystemRegistration),
    Call(Verb.SYSTEM_UNREGISTER, _of_region("system", "unregister"), "Forget a region, or all of them"),
    Call(Verb.CUDA_STATUS, _of_region("cuda", "status"), "Regions of CUDA memory", gives=[s.CudaRegion]),
    Call(Verb.CUDA_REGISTER, _of_region("cuda", "register")[1:], "Register a region", s.CudaRegistration),
    Call(Verb.CUDA_UNREGISTER, _of_region("cuda", "unregister"), "Forget a region, or all of them"),
    Call(
        Verb.TRACE_SETTING,
        ["/v2/trace/setting", "/v2/models/{model}/trace/setting"],
        "Trace settings",
        s.Settings,
        s.Settings,
    ),
    Call(Verb.LOGGING, ["/v2/logging"], "Log settings", s.Settings, s.Settings),
)
PARAMETERS: Final[Document] = {
    "model": {"description": "The model's name.", "schema": {"type": "string", "minLength": 1}},
    "version": {
        "description": "The version; paths without one mean the highest that is ready.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "region": {"description": "The region's name.", "schema": {"type": "string", "minLength": 1}},
}
LENGTH: Final = {"type": "integer", "minimum": 0}
BINARY: Final = {
    "schema": {
        "type": "string",
        "contentMediaType": "application/octet-stream",
        "description": (
            f"The JSON, {HEADER_LENGTH} bytes of it, then the data of each tensor that has a `binary_data_size`, in "
            "the order of the JSON and without padding: little-endian, row-major; BYTES elements each behind their "
            "length as a uint32."
        ),
    }
}


def document() -> Document:
    """Return the whole document."""
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Jubako",
            "version": __version__,
            "description": "The v2 inference protocol (KServe, Triton) over a Triton-style model repository.",
        },
        "tags": tags(),
        "paths": paths(),
        "components": {"schemas": components()},
    }


def tags() -> list[Document]:
    """Return the categories of calls, in the order of the calls."""
    groups = dict.fromkeys(call.verb.group for call in CALLS)
    return [{"name": group.value} for group in groups]


def components() -> Document:
    """Return the schemas of all bodies, by name."""
    bodies: set[Model] = {s.Error, *(model for call in CALLS for model in (*_models(call.takes), *_models(call.gives)))}
    models = sorted(bodies, key=lambda model: model.__name__)
    _, definitions = models_json_schema([(model, "serialization") for model in models], ref_template=REFERENCE)
    schemas: Document = definitions["$defs"]
    return schemas


def paths() -> Document:
    """Return each path's operations."""
    found: Document = {}
    for call in CALLS:
        for path in call.paths:
            found[path] = {method.lower(): _operation(call, path, method) for method in sorted(call.verb.methods)}
    return found


def _operation(call: Call, path: str, method: str) -> Document:
    words = re.findall(r"\w+", path)
    operation: Document = {
        "operationId": "_".join([method.lower(), *words]),
        "summary": call.summary,
        "tags": [call.verb.group.value],
        "parameters": [
            {"name": name, "in": "path", "required": True, **PARAMETERS[name]}
            for name in re.findall(r"\{(\w+)\}", path)
        ],
        "responses": {**_answer(call), "default": _error()},
    }
    if method == "POST" and call.takes is not None:
        operation["requestBody"] = {"required": call.needs_body, "content": _question(call)}
    if call.verb is Verb.INFER:
        operation["parameters"].append(
            {
                "name": HEADER_LENGTH,
                "in": "header",
                "description": "Bytes of the JSON, where binary data follows it.",
                "schema": LENGTH,
            }
        )
    return operation


def _question(call: Call) -> Document:
    content = _json(call.takes)
    return {**content, "application/octet-stream": BINARY} if call.verb is Verb.INFER else content


def _answer(call: Call) -> Document:
    match call.verb:
        case Verb.READY:
            return {"200": {"description": "Yes"}, "503": {"description": "Not now"}}
        case Verb.LIVE | Verb.MODEL_READY:
            return {"200": {"description": "Yes"}}
        case Verb.INFER:
            answer = {
                "description": "The outputs",
                "headers": {HEADER_LENGTH: {"schema": LENGTH}},
                "content": {**_json(call.gives), "application/octet-stream": BINARY},
            }
        case Verb.GENERATE_STREAM:
            events = {"type": "string", "description": "An event for each answer: `data: {…}`, and an empty line."}
            answer = {"description": "The answers", "content": {"text/event-stream": {"schema": events}}}
        case _ if call.gives is None:
            answer = {"description": "Done"}
        case _:
            answer = {"description": call.summary, "content": _json(call.gives)}
    return {"200": answer}


def _error() -> Document:
    return {"description": "Refused, or failed", "content": _json(s.Error)}


def _json(body: Body) -> Document:
    (model,) = _models(body)
    schema: Document = {"$ref": REFERENCE.format(model=model.__name__)}
    if isinstance(body, list):
        schema = {"type": "array", "items": schema}
    return {"application/json": {"schema": schema}}


def _models(body: Body) -> list[Model]:
    if body is None:
        return []
    return body if isinstance(body, list) else [body]
