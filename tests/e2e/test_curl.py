"""What people type into a shell."""

import gzip
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from e2e.serving import Served

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")]

FIRST, SECOND = list(range(16)), [1] * 16
SUM, DIFFERENCE = [value + 1 for value in FIRST], [value - 1 for value in FIRST]


def curl(server: Served, path: str, *words: str) -> bytes:
    command = ["curl", "--silent", "--show-error", "--fail-with-body", *words, f"http://127.0.0.1:{server.port}{path}"]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def json_request() -> str:
    tensors = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": data}
        for name, data in (("INPUT0", FIRST), ("INPUT1", SECOND))
    ]
    return json.dumps({"inputs": tensors})


def binary_request() -> tuple[bytes, int]:
    """A body with binary tensors, both ways, and the size of its JSON."""
    tensors = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}}
        for name in ("INPUT0", "INPUT1")
    ]
    header = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return header + struct.pack("<16i", *FIRST) + struct.pack("<16i", *SECOND), len(header)


def data_of(answer: bytes) -> list[list[int]]:
    return [output["data"] for output in json.loads(answer)["outputs"]]


def test_health_is_told_by_the_status(example: Served) -> None:
    answer = curl(example, "/v2/health/ready", "--verbose", "--write-out", "%{http_code}")

    assert answer == b"200"


def test_json_goes_in_and_comes_out(example: Served) -> None:
    assert data_of(curl(example, "/v2/models/simple/infer", "-d", json_request())) == [SUM, DIFFERENCE]


def test_binary_tensors_go_in_and_come_out(example: Served, tmp_path: Path) -> None:
    body, json_size = binary_request()
    (tmp_path / "request").write_bytes(body)

    answer = curl(
        example, "/v2/models/simple/versions/1/infer", "--data-binary", f"@{tmp_path / 'request'}",
        "-H", f"Inference-Header-Content-Length: {json_size}", "--dump-header", str(tmp_path / "head"),
    )  # fmt: skip

    (size_line,) = [
        line for line in (tmp_path / "head").read_text().lower().splitlines() if line.startswith("inference-header")
    ]
    tensors = answer[int(size_line.partition(":")[2]) :]
    assert struct.unpack("<32i", tensors) == (*SUM, *DIFFERENCE)


@pytest.mark.parametrize("way", [("--compressed",), ("-H", "Accept-Encoding: deflate", "--compressed")])
def test_the_answer_may_be_compressed(example: Served, tmp_path: Path, way: tuple[str, ...]) -> None:
    head = tmp_path / "head"

    answer = curl(example, "/v2/models/simple/infer", "-d", json_request(), *way, "--dump-header", str(head))

    assert data_of(answer) == [SUM, DIFFERENCE]
    assert "content-encoding: " in head.read_text().lower()


def test_a_compressed_request_is_understood(example: Served, tmp_path: Path) -> None:
    (tmp_path / "request").write_bytes(gzip.compress(json_request().encode()))

    answer = curl(
        example, "/v2/models/simple/infer", "--data-binary", f"@{tmp_path / 'request'}",
        "-H", "Content-Encoding: gzip", "-H", "Content-Type: application/json",
    )  # fmt: skip

    assert data_of(answer) == [SUM, DIFFERENCE]


def test_a_large_request_may_be_sent_in_chunks_or_after_asking(example: Served, tmp_path: Path) -> None:
    values = [[1.0] * 50_000]
    tensor = {"name": "VALUES", "datatype": "FP32", "shape": [1, 50_000], "data": values}
    (tmp_path / "request").write_text(json.dumps({"inputs": [tensor], "outputs": [{"name": "SUM"}]}))
    file = ("--data-binary", f"@{tmp_path / 'request'}")

    for headers in (("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue"), ()):
        assert data_of(curl(example, "/v2/models/summary/infer", *file, *headers)) == [[50_000.0]]


def test_a_mistake_is_told_with_its_status_and_a_reason(example: Served) -> None:
    command = ["curl", "-s", "-w", "\n%{http_code}", "-d", "{}", f"{example.url}/v2/models/nope/infer"]

    answer, status = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.splitlines()

    assert json.loads(answer) == {"error": "Request for unknown model: 'nope' is not found"}
    assert status == "404"
