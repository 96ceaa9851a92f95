"""A server whose every category needs a key, over every way in that it really has."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from e2e.models import EXAMPLES
from e2e.serving import Serve, Served, free_port, wait_until

SECRET = "Bearer 5ecr3t-of-the-test"
ALL = "health,metadata,inference,shared-memory,model-config,model-repository,statistics,trace,logging"
METRICS_PORT, GRPC_PORT = free_port(), free_port()
SUMS = {
    "inputs": [{"name": name, "datatype": "INT32", "shape": [1, 16], "data": [1] * 16} for name in ("INPUT0", "INPUT1")]
}
CALLS = [
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("POST", "/v2/models/simple/infer"),
    ("GET", "/v2/models/simple/config"),
    ("GET", "/v2/models/stats"),
    ("POST", "/v2/repository/index"),
    ("GET", "/"),
    ("GET", "/docs.json"),
    ("GET", "/schema.json"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/metrics%0A"),
    ("POST", "/infer"),
]


def ask(url: str, method: str = "GET", *, key: str | None = None) -> tuple[int, bytes]:
    """Return the status and the body of an answer; a POST asks for sums."""
    body = json.dumps(SUMS).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": key} if key else {})
    if "/v2" not in url and method == "POST":
        inputs = {name: [[1] * 16] for name in ("INPUT0", "INPUT1")}
        body = json.dumps({"model": "simple", "inputs": inputs}).encode()
    request = urllib.request.Request(url, body if method == "POST" else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def closed(served_for_all: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    secret = tmp_path_factory.mktemp("secrets") / "key"
    secret.write_text(f"{SECRET}\n")
    server = served_for_all(
        EXAMPLES,
        environment={"THE_TOKEN": SECRET},
        wait=None,
        restricted_api=f"health,metadata,inference:Authorization=@{secret}",
        http_restricted_api=f"{ALL.split(',', 3)[3]}:Authorization=$THE_TOKEN",
        metrics_port=METRICS_PORT,
        grpc_port=GRPC_PORT,
    )

    def ready() -> bool:
        try:
            return ask(server.url + "/v2/health/ready", key=SECRET)[0] == 200
        except urllib.error.URLError:
            return False

    wait_until(ready, what="readiness")
    return server


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_nothing_is_answered_without_the_key_and_everything_with_it(closed: Served, method: str, path: str) -> None:
    refusal = (403, b'{"error":"This API is restricted, expecting header \'Authorization\'"}')

    assert ask(closed.url + path, method) == refusal
    assert ask(closed.url + path, method, key=SECRET[:-1]) == refusal
    assert ask(closed.url + path, method, key=SECRET)[0] == 200


def test_the_metrics_port_asks_for_the_key_of_the_statistics(closed: Served) -> None:
    page = f"http://127.0.0.1:{METRICS_PORT}/metrics"

    assert ask(page)[0] == 403
    assert b"nv_inference_count" in ask(page, key=SECRET)[1]


def test_grpc_asks_for_the_key_of_both_protocols(closed: Served) -> None:
    key = {"triton-grpc-protocol-authorization": SECRET}
    with triton.InferenceServerClient(f"127.0.0.1:{GRPC_PORT}") as client:
        for call in (
            client.is_server_live,
            client.get_server_metadata,
            lambda **_: client.get_model_metadata("simple"),
        ):
            with pytest.raises(InferenceServerException, match="This protocol is restricted, expecting header"):
                call()
        assert client.is_server_live(headers=key)
        assert client.get_server_metadata(headers=key).name == "triton"
        assert client.get_inference_statistics().model_stats  # closed over HTTP alone, as was asked for


def test_the_log_names_the_rules_and_no_secret(closed: Served) -> None:
    assert "Authorization=$THE_TOKEN" in closed.output()
    assert SECRET not in closed.output()
    assert "restricted over HTTP and open over gRPC: shared-memory" in closed.output()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("inference:k=$NOT_SET", "the environment variable NOT_SET is not set"),
        ("inference:k=@/not/there", "cannot read '/not/there'"),
        ("everything:k=v", "unknown restricted api 'everything'"),
    ],
)
def test_a_rule_without_its_secret_or_of_no_category_ends_the_start(
    tmp_path: Path, served: Serve, rule: str, message: str
) -> None:
    server = served(None, environment={"JUBAKO_RESTRICTED_API": rule}, wait=None)

    assert server.process.wait(30) != 0
    assert message in server.output()
    assert "Traceback" not in server.output()
