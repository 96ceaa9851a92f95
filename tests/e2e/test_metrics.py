"""The metrics of a running server: BentoML's page, the port of their own, and what turns them off."""

import json
import re
import socket
import urllib.error
import urllib.request

import pytest
from metrics.page import Page, faults

from e2e.models import EXAMPLES
from e2e.serving import Serve, Served, free_port, status, wait_until

pytestmark = pytest.mark.slow

ONES = {"datatype": "INT32", "shape": [1, 16], "data": [1] * 16}
SUM = {"inputs": [{"name": "INPUT0", **ONES}, {"name": "INPUT1", **ONES}]}


def page_at(url: str) -> Page:
    with urllib.request.urlopen(url, timeout=10) as response:
        assert response.headers["content-type"].startswith("text/plain")
        text = response.read().decode()
    assert faults(text) == []
    return Page(text)


def infer(server: Served, model: str, body: object = SUM) -> int:
    request = urllib.request.Request(f"{server.url}/v2/models/{model}/infer", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_one_page_has_the_counts_of_models_and_bentoml_s_own_of_every_request(served: Serve) -> None:
    port = free_port()
    server = served(EXAMPLES, metrics_port=port)
    before = page_at(f"{server.url}/metrics")

    assert [infer(server, "simple") for _ in range(3)] == [200, 200, 200]
    assert (infer(server, "nix"), infer(server, "simple", {"inputs": []})) == (404, 400)
    assert status(f"{server.url}/v2/nix") == 404
    assert status(f"{server.url}/livez") == 200
    page = page_at(f"{server.url}/metrics")

    def requests(endpoint: str, code: int) -> float:
        return page.value("bentoml_service_request_total", endpoint=endpoint, http_response_code=str(code))

    assert page.value("nv_inference_request_success", model="simple") == 3
    assert before.value("nv_inference_request_success", model="simple") == 0
    assert page.value("jubako_rejected_total", model="simple", reason="invalid") == 1
    assert requests("/v2/models/{model}/infer", 200) == 3
    assert (requests("/v2/models/{model}/infer", 404), requests("/v2/models/{model}/infer", 400)) == (1, 1)
    assert requests("/v2/*", 404) == 1
    assert requests("/livez", 200) == 1
    shown = page_at(f"http://127.0.0.1:{port}/metrics")
    assert shown.value("nv_inference_request_success", model="simple") == 3
    assert {name for name in page.types if not name.startswith("bentoml")} == set(shown.types)
    wait_until(lambda: f"Started Metrics Service at 127.0.0.1:{port}" in server.output(), 5)


def test_metrics_that_are_not_allowed_are_nowhere(served: Serve) -> None:
    port = free_port()
    server = served(EXAMPLES, metrics_port=port, allow_metrics="false")

    page = page_at(f"{server.url}/metrics")

    assert [name for name in page.types if not name.startswith("bentoml")] == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass


def test_a_server_whose_metrics_port_is_taken_serves_without_it_and_says_so(served: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = served(EXAMPLES, metrics_port=port)

        assert infer(server, "simple") == 200

    wanted = f"failed to start Metrics service: Unavailable - Socket '127\\.0\\.0\\.1:{port}' already in use"
    assert re.search(wanted, server.output())
