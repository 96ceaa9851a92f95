"""A server is live from its start, and ready only once its slowest model is."""

import json
import os
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from e2e.models import copy_examples, slow_to_load
from e2e.serving import Serve, Served, status, wait_until
from models.folder import write_model

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("SLOW_LOAD_SECONDS", "6"))
"""How long the load takes, about; 20 is what the project promises to bear."""


def states(server: Served) -> dict[str, str]:
    request = urllib.request.Request(f"{server.url}/v2/repository/index", method="POST")
    with urllib.request.urlopen(request, timeout=5) as response:
        return {row["name"]: row["state"] for row in json.load(response)}


def test_live_is_200_and_ready_503_for_as_long_as_a_model_loads(tmp_path: Path, served: Serve) -> None:
    repository = copy_examples(tmp_path / "repository", "simple")
    write_model("heavy", slow_to_load("heavy", SECONDS), repository)

    server = served(repository, wait="/v2/models/simple/ready")
    started = time.monotonic()
    slowest_answer_s = 0.0
    while states(server)["heavy"] == "LOADING":
        assert time.monotonic() < started + 10 * SECONDS
        asked = time.monotonic()
        ready, heavy = status(f"{server.url}/v2/health/ready"), status(f"{server.url}/v2/models/heavy/ready")
        assert status(f"{server.url}/v2/health/live") == 200
        assert status(f"{server.url}/v2/models/simple/ready") == 200
        slowest_answer_s = max(slowest_answer_s, time.monotonic() - asked)
        if states(server)["heavy"] == "LOADING":  # still, so it was while the other two were asked
            assert (ready, heavy) == (503, 503)
        time.sleep(0.1)
    took_s = time.monotonic() - started

    assert took_s > SECONDS / 4  # calibrated on a machine that does other things too
    assert slowest_answer_s < 2
    assert states(server) == {"heavy": "READY", "simple": "READY"}
    assert status(f"{server.url}/v2/health/ready") == 200
    assert status(f"{server.url}/v2/models/heavy/ready") == 200


def test_a_server_that_is_stopped_while_a_model_loads_does_not_wait_for_it(tmp_path: Path, served: Serve) -> None:
    write_model("heavy", slow_to_load("heavy", 60), tmp_path / "repository")
    server = served(tmp_path / "repository", wait="/v2/health/live")
    assert states(server) == {"heavy": "LOADING"}
    family = psutil.Process(server.pid).children(recursive=True)

    ended_with = server.stop(within_s=10)

    assert ended_with == 0
    assert family
    wait_until(lambda: not any(process.is_running() for process in family), within_s=5, what="the end of all processes")
