"""`allow_client_shm`, from the argument to what the server says of itself."""

import asyncio

import pytest

from jubako.bundle.arguments import settle
from jubako.bundle.translate import server_options_of
from jubako.server import InferenceServer

SYSTEM, CUDA = "system_shared_memory", "cuda_shared_memory"


@pytest.mark.parametrize(
    ("given", "gpus", "listed"),
    [
        ({}, [0], []),
        ({"allow_client_shm": "false"}, [0], []),
        ({"allow_client_shm": "true"}, [], [SYSTEM]),
        ({"allow_client_shm": "true"}, [0], [SYSTEM, CUDA]),
    ],
)
def test_the_extensions_are_listed_where_they_can_be_used(
    given: dict[str, str], gpus: list[int], listed: list[str]
) -> None:
    options = server_options_of(settle(given, {}).arguments, gpus)

    async def extensions() -> list[str]:
        async with InferenceServer(options) as server:
            return list(server.metadata()[2])

    assert [name for name in asyncio.run(extensions()) if name in (SYSTEM, CUDA)] == listed
