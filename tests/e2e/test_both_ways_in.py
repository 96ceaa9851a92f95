"""Inference inside uvicorn's protocol, through ASGI, and behind a user's middleware: the same bytes."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import tritonclient.http

from e2e.models import copy_examples
from e2e.serving import Serve, Served, wait_until

pytestmark = pytest.mark.slow

GUARDED_SERVICE = """
from jubako.bundle.app import service


class KeepOut:
    def __init__(self, app, word):
        self.app = app
        self.word = word

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and (b"x-word", self.word) not in scope["headers"]:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.app(scope, receive, send)


service.add_asgi_middleware(KeepOut, word=b"jubako")
"""
WORD = {"X-Word": "jubako"}
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def guarded(served_for_all: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A server whose user has put a middleware in front of everything."""
    folder = tmp_path_factory.mktemp("guarded")
    copy_examples(folder / "repository", "simple", "digits", "strings", "summary")
    (folder / "guarded.py").write_text(GUARDED_SERVICE)
    server = served_for_all(folder / "repository", target="guarded:service", cwd=folder, wait=None)
    wait_until(lambda: is_ready(server), what="readiness")
    return server


def is_ready(server: Served) -> bool:
    try:
        return ask(server, "GET", "/v2/health/ready", b"", WORD)[0] == 200
    except ConnectionError:
        return False


def ask(server: Served, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
    """Return status, headers but for the date, and body; a body in parts goes chunked."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request(method, path, body, dict(headers), encode_chunked="Transfer-Encoding" in headers)
        with connection.getresponse() as response:
            kept = {name.lower(): value for name, value in response.getheaders() if name.lower() != "date"}
            return response.status, kept, response.read()


def two_vectors(binary_in: bool, binary_out: bool, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request for `simple` as Triton's client writes it."""
    inputs = []
    for name, start in (("INPUT0", 0), ("INPUT1", 100)):
        tensor = tritonclient.http.InferInput(name, [2, 16], "INT32")
        tensor.set_data_from_numpy(np.arange(start, start + 32, dtype=np.int32).reshape(2, 16), binary_data=binary_in)
        inputs.append(tensor)
    outputs = [tritonclient.http.InferRequestedOutput(name, binary_out) for name in ("OUTPUT1", "OUTPUT0")]
    body, json_size = tritonclient.http.InferenceServerClient.generate_request_body(inputs, outputs=outputs, **more)
    return bytes(body), {} if json_size is None else {"Inference-Header-Content-Length": str(json_size)}


def one_image() -> tuple[bytes, dict[str, str]]:
    image = tritonclient.http.InferInput("IMAGE", [1, 1, 8, 8], "FP32")
    image.set_data_from_numpy(np.linspace(0, 16, 64, dtype=np.float32).reshape(1, 1, 8, 8))
    wanted = tritonclient.http.InferRequestedOutput("SCORES", class_count=3)
    body, json_size = tritonclient.http.InferenceServerClient.generate_request_body([image], outputs=[wanted])
    return bytes(body), {"Inference-Header-Content-Length": str(json_size)}


def two_words(text: str) -> tuple[bytes, dict[str, str]]:
    tensors = [{"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [text]} for name in ("FIRST", "SECOND")]
    return json.dumps({"inputs": tensors}).encode(), {}


CASES: dict[str, tuple[str, tuple[bytes, dict[str, str]]]] = {
    "json": ("simple", two_vectors(binary_in=False, binary_out=False)),
    "binary": ("simple", two_vectors(binary_in=True, binary_out=True)),
    "json in, binary out": ("simple", two_vectors(binary_in=False, binary_out=True)),
    "binary in, json out": ("simple", two_vectors(binary_in=True, binary_out=False)),
    "with an id": ("simple", two_vectors(binary_in=True, binary_out=True, request_id="mine")),
    "with parameters": ("simple", two_vectors(binary_in=False, binary_out=False, parameters={"a": 1, "b": "c"})),
    "a version": ("simple/versions/1", two_vectors(binary_in=True, binary_out=True)),
    "classes": ("digits", one_image()),
    "text": ("strings", two_words('"弁当"')),
    "no such model": ("nope", two_vectors(binary_in=True, binary_out=True)),
    "no such version": ("simple/versions/7", two_vectors(binary_in=True, binary_out=True)),
    "a wrong version": ("simple/versions/two", two_vectors(binary_in=True, binary_out=True)),
    "no json": ("simple", (b"[", {})),
    "no body": ("simple", (b"", {})),
    "another model's request": ("digits", two_vectors(binary_in=True, binary_out=True)),
    "too short a binary body": ("simple", (two_vectors(True, True)[0][:-1], two_vectors(True, True)[1])),
    "a wrong header length": ("simple", (two_vectors(True, True)[0], {"Inference-Header-Content-Length": "x"})),
}


def in_parts(body: bytes) -> Iterator[bytes]:
    yield from (body[:10], body[10:]) if len(body) > 10 else (body or b" ",)


@pytest.mark.parametrize("case", CASES)
def test_an_inference_has_the_same_answer_inside_the_protocol_and_through_asgi(example: Served, case: str) -> None:
    model, (body, headers) = CASES[case]
    path = f"/v2/models/{model}/infer"

    fast = ask(example, "POST", path, body, headers)
    through_asgi = ask(example, "POST", path, body, {**headers, "Accept-Encoding": "br"})
    if body:
        assert ask(example, "POST", path, in_parts(body), {**headers, "Transfer-Encoding": "chunked"}) == fast
    assert through_asgi == fast


@pytest.mark.parametrize("case", CASES)
def test_an_inference_has_the_same_answer_behind_a_middleware(example: Served, guarded: Served, case: str) -> None:
    model, (body, headers) = CASES[case]
    path = f"/v2/models/{model}/infer"

    assert ask(guarded, "POST", path, body, headers | WORD) == ask(example, "POST", path, body, headers)


@pytest.mark.parametrize("path", ["/v2", "/v2/models/simple", "/v2/models/digits/config", "/v2/models/nope/stats"])
def test_what_is_told_is_the_same_behind_a_middleware(example: Served, guarded: Served, path: str) -> None:
    assert ask(guarded, "GET", path, b"", WORD) == ask(example, "GET", path, b"", {})


@pytest.mark.parametrize("path", ["/v2/models/simple/infer", "/v2/health/ready", "/infer", "/v2/repository/index"])
def test_nothing_passes_by_a_middleware_that_refuses(guarded: Served, path: str) -> None:
    body, headers = two_vectors(binary_in=True, binary_out=True)

    assert ask(guarded, "POST", path, body, headers)[0] == 403
    assert "inference does not take the fast lane: it goes through KeepOut" in guarded.output()
