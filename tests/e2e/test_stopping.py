"""SIGTERM while clients wait for their answers: each gets it, and nothing of the server is left."""

import contextlib
import http.client
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.http

from e2e.serving import Serve, Served, status, wait_until
from e2e.slow_model import write_slow_model

pytestmark = pytest.mark.slow

ROUNDS = 1000


def by_client(server: Served) -> list[int]:
    """Ask with Triton's client, which keeps its connection."""
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        given = tritonclient.http.InferInput("ROUNDS", [1], "INT64")
        given.set_data_from_numpy(np.array([ROUNDS]))
        answer: list[int] = client.infer("slow", [given]).as_numpy("DONE").tolist()
        return answer


def by_post(server: Served, **headers: str) -> tuple[int, Any]:
    """Ask in JSON; return status and parsed answer."""
    tensor = {"name": "ROUNDS", "datatype": "INT64", "shape": [1], "data": [ROUNDS]}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", "/v2/models/slow/infer", json.dumps({"inputs": [tensor]}), headers)
        with connection.getresponse() as response:
            return response.status, json.load(response)


def test_all_that_was_sent_before_sigterm_is_answered_and_no_process_is_left(tmp_path: Path, served: Serve) -> None:
    write_slow_model(tmp_path / "repository")
    server = served(tmp_path / "repository")
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    with ThreadPoolExecutor(4) as pool:
        kept = pool.submit(by_client, server)
        posted = [
            pool.submit(by_post, server),
            pool.submit(by_post, server, Connection="close"),
            pool.submit(by_post, server, **{"Accept-Encoding": "br"}),  # by way of ASGI
        ]
        time.sleep(0.3)  # until they have come and wait, one running; nothing tells from outside
        sent: list[Future[Any]] = [kept, *posted]
        assert not any(future.done() for future in sent)

        server.process.terminate()
        wait_until(lambda: status(f"{server.url}/v2/health/ready") == 503, within_s=3, what="not ready")
        live = status(f"{server.url}/v2/health/live")
        refused, _ = by_post(server)
        late = sum(not future.done() for future in sent)

        assert kept.result() == [ROUNDS]
        answers = [future.result() for future in posted]
    assert late >= 2
    assert (live, refused) == (200, 503)
    assert [(code, answer["outputs"][0]["data"]) for code, answer in answers] == [(200, [ROUNDS])] * 3
    assert server.process.wait(15) == 0
    assert len(family) >= 2
    wait_until(lambda: not any(process.is_running() for process in family), within_s=5, what="the end of all processes")
