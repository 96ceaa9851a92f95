"""The service as BentoML's users meet it: its own API, its own pages, and how it starts and stops."""

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from e2e.serving import PROJECT, Serve, Served, answers, status, wait_until
from e2e.slow_model import write_slow_model

pytestmark = pytest.mark.slow

ROW = list(range(16))
ONES = [1] * 16
PATIENT = "dynamic_batching { preferred_batch_size: 2 max_queue_delay_microseconds: 20000000 }"
GUARDED = """
from jubako.bundle.app import service

class Guard:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["query_string"] == b"key=k":
            return await self.app(scope, receive, send)
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

service.add_asgi_middleware(Guard)
"""
CLIENT = """
import bentoml, json, sys
with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    try:
        print(json.dumps(client.infer(**json.loads(sys.argv[2]))))
    except bentoml.exceptions.BentoMLException as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def post(url: str, body: object, timeout_s: float = 30.0) -> tuple[int, Any]:
    """Return status and parsed body of a POST."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def by_bentomls_client(server: Served, **arguments: object) -> Any:
    """Return what `SyncHTTPClient.infer` returned, or its exception as text.

    In a process of its own: the client leaves warnings behind that would fail the test it happens to run in.
    """
    command = [sys.executable, "-c", CLIENT, server.url, json.dumps(arguments)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def rounds(number: int) -> dict[str, object]:
    """A v2 request that keeps the slow model busy for `number` rounds."""
    return {"inputs": [{"name": "ROUNDS", "datatype": "INT64", "shape": [1], "data": [number]}]}


@pytest.fixture(scope="module")
def server(served_for_all: Serve) -> Served:
    """The models of this project, served for all tests that only ask."""
    return served_for_all(PROJECT / "repository")


@pytest.fixture
def slow_repository(tmp_path: Path) -> Path:
    """A repository with one model that takes as long as it is told to."""
    write_slow_model(tmp_path / "slow")
    return tmp_path / "slow"


def test_bentomls_own_client_gets_the_outputs_by_name(server: Served) -> None:
    outputs = by_bentomls_client(server, model="simple", inputs={"INPUT0": [ROW, ONES], "INPUT1": [ONES, ONES]})

    assert outputs["OUTPUT0"] == [[value + 1 for value in ROW], [2] * 16]
    assert outputs["OUTPUT1"] == [[value - 1 for value in ROW], [0] * 16]


def test_bentomls_own_client_is_told_what_went_wrong(server: Served) -> None:
    raised = by_bentomls_client(server, model="nope", inputs={})

    assert raised.startswith("NotFound: ")
    assert "Request for unknown model: 'nope' is not found" in raised


def test_bentomls_own_api_takes_a_version_outputs_and_text(server: Served) -> None:
    image = {"IMAGE": [[[[0.0] * 8] * 8]]}
    _, one = post(server.url + "/infer", {"model": "digits", "version": 1, "inputs": image, "outputs": ["SCORES"]})
    _, text = post(server.url + "/infer", {"model": "strings", "inputs": {"FIRST": [["grüß"]], "SECOND": [["dich"]]}})

    assert sum(one["SCORES"][0]) == pytest.approx(1.0, abs=1e-5)
    assert text == {"TEXT": [["grüß dich"]]}


@pytest.mark.parametrize(
    ("body", "wanted", "message"),
    [
        ({"model": "nope", "inputs": {}}, 404, "Request for unknown model: 'nope' is not found"),
        (
            {"model": "simple", "inputs": {"INPUT0": [ROW]}},
            400,
            "expected 2 inputs but got 1 inputs for model 'simple'",
        ),
        ({"model": "simple", "inputs": {"INPUT0": [[1.5] * 16], "INPUT1": [ONES]}}, 400, "not of datatype INT32"),
        ({"model": "simple", "inputs": {"INPUT0": [[2**40] * 16], "INPUT1": [ONES]}}, 400, "out of the range of INT32"),
        ({"model": "simple", "inputs": {"INPUT0": [[1], [1, 2]], "INPUT1": [ONES]}}, 400, "not a full array"),
        ({"model": "simple", "version": "two", "inputs": {}}, 400, "failed to get model version"),
        ({"model": "digits", "datatypes": {"IMAGE": "FP128"}, "inputs": {"IMAGE": [0]}}, 400, "no datatype 'FP128'"),
    ],
)
def test_bentomls_own_api_answers_a_mistake_with_v2s_status_and_text(
    server: Served, body: dict[str, object], wanted: int, message: str
) -> None:
    code, answer = post(server.url + "/infer", body)

    assert code == wanted
    assert message in answer["error"]
    assert "Traceback" not in server.output()


def test_a_request_of_bentomls_api_and_one_of_v2_are_one_batch(tmp_path: Path, served: Serve) -> None:
    shutil.copytree(PROJECT / "repository" / "simple", tmp_path / "repository" / "simple")
    config = tmp_path / "repository" / "simple" / "config.pbtxt"
    text, found = re.subn(r"dynamic_batching *{[^}]*}", PATIENT, config.read_text())
    assert found == 1
    config.write_text(text)
    server = served(tmp_path / "repository")
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": data}
        for name, data in (("INPUT0", ROW), ("INPUT1", ONES))
    ]

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(
            post, server.url + "/infer", {"model": "simple", "inputs": {"INPUT0": [ONES], "INPUT1": [ONES]}}
        )
        other = pool.submit(post, server.url + "/v2/models/simple/infer", {"inputs": inputs})

    assert one.result()[1]["OUTPUT0"] == [[2] * 16]
    assert other.result()[1]["outputs"][0]["data"] == [value + 1 for value in ROW]
    with urllib.request.urlopen(server.url + "/v2/models/simple/stats") as response:
        statistics = json.load(response)["model_stats"][0]
    assert (statistics["inference_count"], statistics["execution_count"]) == (2, 1)


@pytest.mark.parametrize("page", ["/", "/docs.json", "/schema.json", "/livez", "/readyz", "/healthz", "/metrics"])
def test_bentomls_own_pages_still_work(server: Served, page: str) -> None:
    assert status(server.url + page) == 200


def test_the_openapi_page_shows_the_api_with_its_fields(server: Served) -> None:
    with urllib.request.urlopen(server.url + "/docs.json") as response:
        document = json.load(response)

    schema = json.dumps(document["paths"]["/infer"]) + json.dumps(document["components"])
    assert all(f'"{field}"' in schema for field in ("model", "inputs", "version", "datatypes", "outputs"))
    assert document["paths"]["/v2/models/{model}/generate"]["post"]["tags"] == ["inference"]


def test_a_body_of_bentomls_own_api_is_bounded_declared_or_chunked(served: Serve) -> None:
    server = served(PROJECT / "repository", http_max_input_size=1000, wait="/v2/health/live")
    body = json.dumps({"model": "simple", "inputs": {"INPUT0": [1] * 10_000}}).encode()

    def send(**how: Any) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("POST", "/infer", headers={"Content-Type": "application/json"}, **how)
        return connection.getresponse().status

    assert send(body=body) == 413
    assert send(body=iter([body[:600], body[600:]]), encode_chunked=True) == 413


def test_it_is_live_and_not_ready_while_models_load(served: Serve) -> None:
    server = served(PROJECT / "repository", wait="/v2/health/live")  # importing torch takes seconds

    seen = {(status(server.url + "/livez"), status(server.url + "/readyz"), status(server.url + "/v2/health/ready"))}
    wait_until(lambda: answers(server.url + "/readyz"), what="readiness")

    assert seen == {(200, 503, 503)}
    assert status(server.url + "/v2/health/ready") == 200


def test_a_broken_model_never_stops_the_others(tmp_path: Path, served: Serve) -> None:
    write_slow_model(tmp_path / "repository", "good")
    (tmp_path / "repository" / "bad").mkdir()
    (tmp_path / "repository" / "bad" / "config.pbtxt").write_text("max_batch_size: [")

    server = served(tmp_path / "repository", wait="/v2/models/good/ready")

    assert status(server.url + "/readyz") == 503
    assert "model 'bad' is left out" in server.output()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_after_the_signal_and_new_ones_are_refused(
    slow_repository: Path, served: Serve, how: signal.Signals
) -> None:
    server = served(slow_repository)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post, f"{server.url}/v2/models/slow/infer", rounds(8000))
        wait_until(lambda: running.running() and status(server.url + "/v2/health/live") == 200)
        time.sleep(0.3)  # until the request is running; nothing tells from outside

        server.process.send_signal(how)
        wait_until(lambda: status(server.url + "/v2/health/ready") == 503, within_s=3.0, what="ready turning off")
        refused, text = post(f"{server.url}/v2/models/slow/infer", rounds(1))
        live = status(server.url + "/v2/health/live")
        code, answer = running.result()

    assert (refused, live) == (503, 200)
    assert "stopping" in text["error"]
    assert code == 200
    assert answer["outputs"][0]["data"] == [8000]
    assert server.process.wait(15) == 0


def test_a_request_that_outlasts_the_exit_timeout_does_not_hold_the_server(
    slow_repository: Path, served: Serve
) -> None:
    server = served(slow_repository, exit_timeout_secs=1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post, f"{server.url}/v2/models/slow/infer", rounds(60_000))
        time.sleep(0.5)  # as above

        started = time.monotonic()
        server.stop(signal.SIGTERM)
        took_s = time.monotonic() - started

        with pytest.raises(ConnectionError):
            running.result()
    assert took_s < 8
    assert "Exit timeout expired. Exiting immediately." in server.output()


def test_an_idle_client_does_not_hold_the_server(slow_repository: Path, served: Serve) -> None:
    server = served(slow_repository)
    idle = http.client.HTTPConnection("127.0.0.1", server.port)
    idle.request("GET", "/v2/health/live")
    idle.getresponse().read()

    assert server.stop(signal.SIGTERM, within_s=10) == 0
    idle.close()


def test_exit_on_error_ends_the_server_with_1(tmp_path: Path, served: Serve) -> None:
    (tmp_path / "repository" / "bad").mkdir(parents=True)

    server = served(tmp_path / "repository", exit_on_error="true", wait=None)

    assert server.process.wait(30) == 1
    assert "creating server: Internal - failed to load all models" in server.output()


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ({"modle": "x"}, {}, "--arg modle: there is no such argument"),
        ({}, {"JUBAKO_MODLE": "x"}, "environment variable JUBAKO_MODLE: there is no such argument"),
        ({"topology": "services"}, {}, "not built yet; only 'embedded' is"),
        ({"workers": "4"}, {}, "workers=4 (argument): not built yet"),
        ({}, {"BENTOML_CONFIG_OPTIONS": "services.jubako.workers=2"}, "services.jubako.workers=2: not built yet"),
        ({"model_repository": "/there/is/no/such/folder"}, {}, "/there/is/no/such/folder"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line_and_no_traceback(
    served: Serve, arguments: dict[str, Any], environment: dict[str, str], message: str
) -> None:
    server = served(None, environment=environment, wait=None, **arguments)

    assert server.process.wait(30) != 0
    assert message in server.output()
    assert "Traceback" not in server.output()


def test_a_middleware_of_the_users_stands_in_front_of_both_ways_in(tmp_path: Path, served: Serve) -> None:
    (tmp_path / "guarded.py").write_text(GUARDED)
    write_slow_model(tmp_path / "repository")

    server = served(tmp_path / "repository", target="guarded:service", cwd=tmp_path, wait="/v2/health/live?key=k")

    wait_until(lambda: answers(server.url + "/v2/health/ready?key=k"), what="readiness")
    for path in ("/v2", "/v2/models/slow/infer", "/v2/models/slow/versions/1/infer", "/livez"):
        assert status(server.url + path) == 401
    assert post(f"{server.url}/v2/models/slow/infer", rounds(1))[0] == 401
    assert post(f"{server.url}/v2/models/slow/infer?key=k", rounds(1))[0] == 200
    assert "inference does not take the fast lane: it goes through Guard" in server.output()


def test_both_lanes_give_the_same_answer(tmp_path: Path, served: Serve) -> None:
    write_slow_model(tmp_path / "repository")
    fast = served(tmp_path / "repository")
    plain = served(tmp_path / "repository", http_fast_lane="false")

    assert post(f"{fast.url}/v2/models/slow/infer", rounds(3)) == post(f"{plain.url}/v2/models/slow/infer", rounds(3))


def test_a_killed_supervisor_leaves_no_worker_behind(tmp_path: Path, served: Serve) -> None:
    write_slow_model(tmp_path / "repository")
    server = served(tmp_path / "repository")

    server.process.kill()

    wait_until(lambda: not answers(server.url + "/v2/health/live"), within_s=20, what="the end of the worker")
