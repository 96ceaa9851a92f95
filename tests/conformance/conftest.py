"""Jubako's REST side in this process, over each of its lanes, and what it answers to all the cases."""

import asyncio
import socket

import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jubako.log_settings import LogSettings
from jubako.protocols.rest.app import RestApp
from jubako.protocols.rest.lane import protocol_class
from jubako.protocols.rest.parts import Parts
from jubako.protocols.settings import Settings
from jubako.protocols.shared_memory import Regions
from jubako.repository import Snapshot, StoredVersion, scan
from jubako.server import InferenceServer
from jubako.storage import LocalStorage
from jubako.tracing.file import TraceFile
from jubako.tracing.options import TraceOptions
from jubako.tracing.tracing import Tracing, ready_in

from .models import write_repository
from .record import Answer, record

FAST_LANE = "fast lane"
ASGI = "ASGI"


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The models, straight from their repository: the store has no part in what is answered."""
    root = tmp_path_factory.mktemp("conformance") / "repository"
    write_repository(root)
    found = scan([LocalStorage(root)])
    versions = [
        StoredVersion(model.name, version, model.repository, "", "", root / model.name)
        for model in found.models
        for version in model.versions
    ]
    return Snapshot(versions, found.broken)


@pytest.fixture(scope="session", params=[FAST_LANE, ASGI])
def answers(request: pytest.FixtureRequest, snapshot: Snapshot) -> dict[str, Answer]:
    """What Jubako answers to every case, asked in order over one lane."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(answers_over(request.param, snapshot))


async def answers_over(lane: str, snapshot: Snapshot) -> dict[str, Answer]:
    """Serve `snapshot` in this loop while a thread asks."""
    regions = Regions(allowed=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        async with InferenceServer() as server:
            await server.load(snapshot)
            tracing = Tracing(TraceOptions(), TraceFile(""), ready_in(server))
            settings = Settings(tracing, LogSettings())
            parts = Parts(server, regions=regions, settings=settings)
            front = uvicorn.Server(
                uvicorn.Config(
                    RestApp(parts),
                    http=protocol_class(parts) if lane == FAST_LANE else HttpToolsProtocol,
                    lifespan="off",
                    log_level="warning",
                )
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(front.serve(sockets=[listener]))
                try:
                    return await asyncio.to_thread(record, f"http://{host}:{port}")
                finally:
                    front.should_exit = True
