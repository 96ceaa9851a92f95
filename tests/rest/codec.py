"""Runners and requests for tests of the codec: nothing here is executed."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fakes import FakeModel, identity
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.protocols.rest.decode import decode
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import Encoded, ReplyPlan
from jubako.request import InferRequest, InferResponse, ResponseSignature, TensorSpec
from jubako.runner import Runner, RunnerOptions
from jubako.tensor import Array, Datatype


def a_runner(model: FakeModel, name: str = "m") -> Runner:
    """Return a runner without instances."""
    config = text_format.Parse(f'name: "{name}"\n{model.config}', ModelConfig())

    async def make() -> Runner:
        return Runner(config, 1, {}, [], RunnerOptions())

    return asyncio.run(make())


def identity_runner(datatype: Datatype, dims: str = "[ -1 ]") -> Runner:
    return a_runner(identity(datatype.config_name.removeprefix("TYPE_"), dims=dims))


def read(
    runner: Runner, document: Any, binary: bytes = b"", limits: Limits | None = None
) -> tuple[InferRequest, ReplyPlan]:
    """Decode a request whose JSON is `document`, with `binary` behind it."""
    header = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode(header + binary, len(header), runner, limits or Limits(), 0)


def an_input(datatype: Datatype, shape: Sequence[Any], name: str = "INPUT0", **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype.name, "shape": list(shape), **more}


def sized(count: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": count}}


def an_answer(
    arrays: Mapping[str, tuple[Datatype, Array]],
    request: InferRequest | None = None,
    *,
    batched: bool = False,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> InferResponse:
    """Return an answer of model `m` version 1 with these outputs."""
    if request is None:
        request = read(identity_runner(Datatype.INT8), {"inputs": [an_input(Datatype.INT8, [0], data=[])]})[0]
    outputs = tuple(TensorSpec(name, datatype, array.shape) for name, (datatype, array) in arrays.items())
    signature = ResponseSignature("m", 1, outputs)
    return InferResponse(request, signature, [array for _, array in arrays.values()], None, labels, batched)


def whole(encoded: Encoded) -> bytes:
    """Return the body as it goes out, having checked what is said of it."""
    parts: list[Any] = [encoded.json, *encoded.tensors]
    body = b"".join(parts)
    assert len(body) == encoded.size
    assert encoded.binary == (len(body) > len(encoded.json))
    return body
