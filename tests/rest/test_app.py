"""The routes of `/v2` over both lanes: documents, statuses, access, compression, and what goes wrong inside."""

import asyncio
import gzip
import json
import logging
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from fakes import FakeModel, Served, failing, identity, serving, simple, tensors

from jubako import __version__
from jubako.protocols.rest.app import RestApp
from jubako.protocols.rest.gate import Headers
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.parts import Parts
from jubako.protocols.rest.status import Refused
from jubako.server import InferenceServer
from jubako.tensor import Array

from .wire import HEADER_LENGTH, INT32_ROW, Answer, Wire, chunked, document, get, message, sum_of, sums, sums_header

Serve = Callable[..., Served]
FP32 = "/v2/models/fp32/infer"


def ranked() -> FakeModel:
    config = (
        "max_batch_size: 4\n"
        + tensors("input", ("INPUT0", "FP32", "[ 3 ]"))
        + 'output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]\n'
    )

    def copy(inputs: Mapping[str, Array]) -> Sequence[Array]:
        return [inputs["INPUT0"].copy()]

    return FakeModel(config, copy, labels=["zero", "one", "two"])


@pytest.fixture(scope="module", params=("fast", "asgi"))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = {
        "simple": simple(),
        "fp32": identity("FP32"),
        "strings": identity("STRING"),
        "half": identity("FP16"),
        "ranked": ranked(),
        "failing": failing(),
        "a b+c": identity("INT8"),
    }
    with serving(request.param, tmp_path_factory.mktemp("models"), models, limits=Limits(max_input_size=1 << 20)) as it:
        yield it


def ask(served: Served, request: bytes) -> Answer:
    with Wire.to(served) as wire:
        wire.send(request)
        return wire.answer()


# --- documents --------------------------------------------------------------------------------------------------------


def test_the_server_says_what_it_is(served: Served) -> None:
    answer = ask(served, get("/v2"))

    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["name", "version", "extensions"]
    assert (answer.json["name"], answer.json["version"]) == ("triton", __version__)
    assert "binary_tensor_data" in answer.json["extensions"]
    assert "system_shared_memory" not in answer.json["extensions"]


def test_a_model_says_what_it_takes(served: Served) -> None:
    answer = ask(served, get("/v2/models/simple"))

    assert answer.json == {
        "name": "simple",
        "versions": ["1"],
        "platform": "fake",
        "inputs": [{"name": name, "datatype": "INT32", "shape": [-1, 16]} for name in ("INPUT0", "INPUT1")],
        "outputs": [{"name": name, "datatype": "INT32", "shape": [-1, 16]} for name in ("OUTPUT0", "OUTPUT1")],
    }


def test_a_model_shows_its_completed_configuration(served: Served) -> None:
    config = ask(served, get("/v2/models/simple/versions/1/config")).json

    assert (config["name"], config["max_batch_size"]) == ("simple", 8)
    assert config["instance_group"][0]["kind"] == "KIND_CPU"
    assert config["input"][0]["dims"] == [16]


def test_a_name_with_odd_characters_is_found_by_its_encoding(served: Served) -> None:
    assert ask(served, get("/v2/models/a%20b%2Bc")).json["name"] == "a b+c"
    answer = ask(served, message("POST", "/v2/models/a%20b%2Bc/infer", document([7], "INT8")))
    assert answer.json["outputs"][0]["data"] == [7]


def test_statistics_count_what_was_executed(serve: Serve) -> None:
    served = serve({"simple": simple(), "other": simple()})
    with Wire.to(served) as wire:
        for value in range(3):
            wire.send(sums(value))
            sum_of(wire.answer())
        wire.send(get("/v2/models/simple/stats"), get("/v2/models/stats"))

        (counted,) = wire.answer().json["model_stats"]
        assert [entry["name"] for entry in wire.answer().json["model_stats"]] == ["other", "simple"]
    assert (counted["name"], counted["version"], counted["inference_count"], counted["execution_count"]) == (
        "simple",
        "1",
        3,
        3,
    )
    assert counted["inference_stats"]["success"]["count"] == 3
    assert counted["inference_stats"]["success"]["ns"] > 0
    assert [(batch["batch_size"], batch["compute_infer"]["count"]) for batch in counted["batch_stats"]] == [(1, 3)]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready":true}', b'{"ready":false}', b"[]"])
def test_the_index_lists_the_versions(served: Served, body: bytes) -> None:
    rows = ask(served, message("POST", "/v2/repository/index", body)).json

    assert [row["name"] for row in rows] == sorted(served.models)
    assert rows[-1] == {"name": "strings", "version": "1", "state": "READY"}


def test_the_index_wants_a_boolean(served: Served) -> None:
    answer = ask(served, message("POST", "/v2/repository/index", b'{"ready":1}'))

    assert (answer.status, answer.error) == (400, "Invalid value for 'ready': expected a boolean")


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/simple/ready"])
def test_health_is_a_status_alone(served: Served, path: str) -> None:
    answer = ask(served, get(path))

    assert (answer.status, answer.body) == (200, b"")


# --- refusals ---------------------------------------------------------------------------------------------------------

UNKNOWN = "Request for unknown model: 'none' is not found"


@pytest.mark.parametrize(
    ("request_bytes", "status", "error"),
    [
        (get("/v2/"), 404, "Not Found"),
        (get("/v2/models/none"), 404, UNKNOWN),
        (get("/v2/models/none/ready"), 404, UNKNOWN),
        (get("/v2/models/none/config"), 404, UNKNOWN),
        (message("POST", "/v2/models/none/infer", b"{"), 404, UNKNOWN),
        (get("/v2/models/simple/versions/7"), 404, "Request for unknown model: 'simple' version 7 is not found"),
        (get("/v2/models/..%2f..%2fetc%2fpasswd"), 404, "Request for unknown model: '../../etc/passwd' is not found"),
        (get("/v2/models/a%0d%0ab%00%1b"), 404, "Request for unknown model: 'a\r\nb\x00\x1b' is not found"),
        (get("/v2/models/%ff"), 404, "Request for unknown model: '\ufffd' is not found"),
        (message("PUT", "/v2", b""), 405, "Method Not Allowed"),
        (message("POST", "/v2/models/stats", b""), 405, "Method Not Allowed"),
        (get("/v2/repository/index"), 405, "Method Not Allowed"),
        (
            message("POST", "/v2/repository/models/simple/load", b"{}"),
            503,
            "explicit model load / unload is not allowed if polling is enabled",
        ),
        (
            message("POST", "/v2/repository/models/simple/unload", b"no JSON"),
            503,
            "explicit model load / unload is not allowed if polling is enabled",
        ),
        (
            message("POST", "/v2/repository/mine/models/simple/load", b""),
            501,
            "'repository_name' specification is not supported",
        ),
    ],
)
def test_a_refusal_is_one_json_object(served: Served, request_bytes: bytes, status: int, error: str) -> None:
    answer = ask(served, request_bytes)

    assert (answer.status, answer.error) == (status, error)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("digits", ["99999999999999999999", "9" * 5000])
def test_a_version_past_all_numbers_is_refused(served: Served, digits: str) -> None:
    for answer in (
        ask(served, get(f"/v2/models/simple/versions/{digits}")),
        ask(served, message("POST", f"/v2/models/simple/versions/{digits}/infer", b"{}")),
    ):
        assert answer.status == 400
        assert answer.error.startswith("failed to get model version from specified version string '999")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/systemsharedmemory/region/r/register", 501),
        ("/v2/cudasharedmemory/unregister", 501),
        ("/v2/trace/setting", 503),
        ("/v2/logging", 503),
    ],
)
def test_what_a_server_was_not_given_is_refused(served: Served, path: str, status: int) -> None:
    answer = ask(served, message("POST", path, b"{}"))

    assert answer.status == status
    assert answer.error


# --- the gate ---------------------------------------------------------------------------------------------------------


class OnlyWithKey:
    """Restricts inference and statistics."""

    def check(self, group: str, headers: Headers, /) -> Refused | None:
        if group in ("inference", "statistics") and (b"key", b"open") not in headers:
            return Refused(403, "This API is restricted, expecting header 'KEY'")
        return None


def test_the_gate_stands_in_front_of_both_lanes(serve: Serve) -> None:
    served = serve({"simple": simple()}, gate=OnlyWithKey())
    with Wire.to(served) as wire:
        wire.send(sums(1), sums(2, ("Key", "open")), get("/v2/models/stats"), get("/v2"))

        refused = wire.answer()
        assert (refused.status, refused.error) == (403, "This API is restricted, expecting header 'KEY'")
        assert sum_of(wire.answer()) == 2
        assert [wire.answer().status, wire.answer().status] == [403, 200]


def test_the_gate_is_asked_before_the_method(serve: Serve) -> None:
    served = serve({"simple": simple()}, gate=OnlyWithKey())

    assert ask(served, get("/v2/models/simple/infer")).status == 403
    assert ask(served, get("/v2/models/simple/infer", ("Key", "open"))).status == 405
    assert ask(served, get("/v2/models/simple/infer/")).status == 404


# --- inference --------------------------------------------------------------------------------------------------------


def test_json_and_binary_may_be_mixed_in_both_directions(served: Served) -> None:
    body = {
        "id": "mix",
        "inputs": [
            {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": [list(range(16))]},
            {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}},
        ],
        "outputs": [{"name": "OUTPUT1"}, {"name": "OUTPUT0", "parameters": {"binary_data": True}}],
    }
    header = json.dumps(body).encode()

    answer = ask(
        served, message("POST", "/v2/models/simple/infer", header + INT32_ROW, (HEADER_LENGTH, str(len(header))))
    )

    assert [output["name"] for output in answer.json["outputs"]] == ["OUTPUT0", "OUTPUT1"]
    assert answer.json["outputs"][1]["data"] == [0] * 16
    assert struct.unpack("<16i", answer.body[-64:]) == tuple(range(0, 32, 2))
    assert answer.json["id"] == "mix"


def test_the_version_may_be_named(served: Served) -> None:
    answer = ask(served, message("POST", "/v2/models/fp32/versions/01/infer", document([1.5])))

    assert (answer.json["model_version"], answer.json["outputs"][0]["data"]) == ("1", [1.5])


def test_classes_come_with_their_labels(served: Served) -> None:
    body = {
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2, 3], "data": [0.5, 2, 1, 9, 8, 7]}],
        "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 2}}],
    }
    (output,) = ask(served, message("POST", "/v2/models/ranked/infer", json.dumps(body).encode())).json["outputs"]

    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    assert output["data"] == ["2.000000:1:one", "1.000000:2:two", "9.000000:0:zero", "8.000000:1:one"]


def test_an_output_that_json_cannot_carry_is_refused(served: Served) -> None:
    header = b'{"inputs":[{"name":"INPUT0","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}}]}'

    answer = ask(
        served, message("POST", "/v2/models/half/infer", header + b"\0\x3c", (HEADER_LENGTH, str(len(header))))
    )

    assert answer.status == 400
    assert answer.error.startswith("sending FP16 data via JSON is not supported")


def test_a_model_that_breaks_is_an_error_without_a_traceback(served: Served) -> None:
    answer = ask(served, message("POST", "/v2/models/failing/infer", document([1.0])))

    assert answer.status == 500
    assert "no luck" in answer.error
    assert "Traceback" not in answer.error
    assert "fakes.py" not in answer.error


def test_both_lanes_have_the_same_words(served: Served) -> None:
    """Chunks go past the fast lane: what it answers to a plain request, the other answers to a chunked one."""
    for body in (document([1.5]), document(["a"]), b"{", b"", b"[]", json.dumps({"inputs": [{}]}).encode()):
        plain = ask(served, message("POST", FP32, body))
        other = ask(served, chunked(FP32, [body] if body else []))
        assert (plain.status, plain.headers["content-type"], plain.body) == (
            other.status,
            other.headers["content-type"],
            other.body,
        )


# --- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_may_be_compressed_both_ways(served: Served, name: str, pack: Callable[[bytes], bytes]) -> None:
    values = [float(i) for i in range(50_000)]
    packed = pack(document(values))

    answer = ask(served, message("POST", FP32, packed, ("Content-Encoding", name), ("Accept-Encoding", name)))

    assert answer.headers["content-encoding"] == name
    assert json.loads(zlib.decompress(answer.body, wbits=47))["outputs"][0]["data"] == values


def test_the_header_length_counts_what_is_not_compressed(served: Served) -> None:
    header = sums_header()
    packed = gzip.compress(header + INT32_ROW * 2)
    headers = (("Content-Encoding", "gzip"), (HEADER_LENGTH, str(len(header))), ("Accept-Encoding", "gzip"))

    answer = ask(served, message("POST", "/v2/models/simple/infer", packed, *headers))

    body = gzip.decompress(answer.body)
    length = int(answer.headers[HEADER_LENGTH.lower()])
    assert json.loads(body[:length])["outputs"][0]["name"] == "OUTPUT0"
    assert struct.unpack("<16i", body[length:]) == tuple(range(0, 32, 2))


def test_an_error_is_never_compressed(served: Served) -> None:
    answer = ask(served, message("POST", FP32, b"{}", ("Accept-Encoding", "gzip")))

    assert (answer.status, "content-encoding" in answer.headers) == (500, False)
    assert answer.error


def test_a_bomb_is_refused(served: Served) -> None:
    bomb = gzip.compress(bytes(64 << 20))

    answer = ask(served, message("POST", FP32, bomb, ("Content-Encoding", "gzip")))

    assert (answer.status, answer.error) == (
        400,
        "Decompressed data size exceeds the maximum allowed value of 1048576 bytes. Use --http-max-input-size to "
        "increase the limit.",
    )


# --- what goes wrong inside -------------------------------------------------------------------------------------------


class Broken(InferenceServer):
    def metadata(self) -> tuple[str, str, Sequence[str]]:
        raise ValueError("secret \x1b[31m\nsecond line")


def called(app: RestApp, path: str, *messages: dict[str, Any]) -> list[Any]:
    """Return what `app` sends to a GET of `path`, without a server around it."""
    sent: list[Any] = []
    coming = [*messages, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return coming.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
    asyncio.run(app(scope, receive, send))
    return sent


def test_what_breaks_inside_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    sent = called(RestApp(Parts(Broken())), "/v2")

    assert sent[0]["status"] == 500
    assert json.loads(b"".join(event["body"] for event in sent[1:])) == {
        "error": "unexpected error while answering the request"
    }
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "secret" in record.getMessage()
    assert "\x1b" not in record.getMessage()
    assert "second line" not in record.getMessage().splitlines()


def test_a_server_that_has_not_loaded_yet_is_live_and_not_ready() -> None:
    app = RestApp(Parts(InferenceServer()))

    assert called(app, "/v2/health/live")[0]["status"] == 200
    assert called(app, "/v2/health/ready")[0]["status"] == 503
