"""The stock asynchronous client, against a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from fakes import simple
from tritonclient.utils import InferenceServerException

from .serving import Served, serving

Scene = Callable[[Any], Awaitable[None]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("models"), {"simple": simple()}) as served:
        yield served


def play(served: Served, scene: Scene) -> None:
    async def with_client() -> None:
        async with triton.InferenceServerClient(served.url) as client:
            await scene(client)

    asyncio.run(with_client())


def simple_inputs(number: int = 0) -> list[Any]:
    inputs = [triton.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    inputs[0].set_data_from_numpy(np.full((1, 16), number, np.int32))
    inputs[1].set_data_from_numpy(np.ones((1, 16), np.int32))
    return inputs


def test_the_control_plane_is_answered(served: Served) -> None:
    async def scene(client: Any) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("simple")
        assert not await client.is_model_ready("unknown")
        assert (await client.get_server_metadata()).name == "triton"
        assert (await client.get_model_metadata("simple")).versions == ["1"]
        assert (await client.get_model_config("simple")).config.name == "simple"
        assert (await client.get_model_repository_index()).models[0].state == "READY"
        assert (await client.get_inference_statistics("simple")).model_stats[0].name == "simple"

    play(served, scene)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("load_model", ("simple",)),
        ("unload_model", ("simple",)),
        ("get_system_shared_memory_status", ("unknown",)),
        ("register_system_shared_memory", ("r", "/r", 4)),
        ("get_cuda_shared_memory_status", ("unknown",)),
        ("register_cuda_shared_memory", ("r", b"aGFuZGxl", 0, 4)),
        ("get_model_metadata", ("unknown",)),
        ("get_model_config", ("unknown",)),
        ("get_inference_statistics", ("unknown",)),
    ],
)
def test_what_is_refused_is_an_error_with_a_status(served: Served, call: str, arguments: tuple[Any, ...]) -> None:
    async def scene(client: Any) -> None:
        with pytest.raises(InferenceServerException) as refused:
            await getattr(client, call)(*arguments)
        assert refused.value.message()
        assert refused.value.status() != "StatusCode.UNKNOWN"

    play(served, scene)


def test_inferences_are_answered_side_by_side(served: Served) -> None:
    async def scene(client: Any) -> None:
        results = await asyncio.gather(*[client.infer("simple", simple_inputs(n)) for n in range(50)])
        for number, result in enumerate(results):
            assert (result.as_numpy("OUTPUT0") == number + 1).all()

    play(served, scene)


def test_a_stream_is_answered(served: Served) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(20):
            name = "unknown" if number == 7 else "simple"
            yield {"model_name": name, "inputs": simple_inputs(number), "request_id": str(number)}

    async def scene(client: Any) -> None:
        number = 0
        async for result, error in client.stream_infer(requests()):
            if number == 7:
                assert error.message() == "Request for unknown model: 'unknown' is not found"
            else:
                assert result.get_response().id == str(number)
                assert (result.as_numpy("OUTPUT0") == number + 1).all()
            number += 1
        assert number == 20

    play(served, scene)
