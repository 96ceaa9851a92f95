"""Traces and settings of a server that runs, over both lanes of HTTP and over gRPC."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import pytest
from fakes import LANES, FakeModel, Served, failing, identity, serving, simple
from rpc.serving import serving as serving_grpc
from rpc.serving import until
from tritonclient import grpc as grpc_client
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from jubako.log_settings import LogSettings
from jubako.protocols.settings import Settings
from jubako.tracing.options import parse_trace_config
from jubako.tracing.output import open_output
from jubako.tracing.tracing import Tracing

from .collector import Collector, Span, collecting
from .scene import Kept, close

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = json.dumps({"id": "seven", "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2], "data": [1, 2]}]})
INFER = "/v2/models/plain/infer"
SETTING = "/v2/trace/setting"


def models() -> dict[str, FakeModel]:
    return {"plain": identity("FP32"), "failing": failing(), "slow": identity("FP32", held=True), "simple": simple()}


def knows(model: str) -> bool:
    return model in models()


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with collecting() as running:
        yield running


def sending_to(collector: Collector, *config: str) -> Tracing:
    entries = ["mode=opentelemetry", f"opentelemetry,url={collector.url}", "opentelemetry,bsp_schedule_delay=50"]
    options = parse_trace_config([*entries, "level=TIMESTAMPS", "rate=1", *config], {})
    return Tracing(options, open_output(options), knows)


def keeping(*config: str) -> tuple[Tracing, Kept]:
    kept = Kept()
    return Tracing(parse_trace_config(["triton,file=/nowhere", *config], {}), kept, knows), kept


def ask(
    served: Served, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    connection = HTTPConnection(served.host, served.port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


def by_name(spans: list[Span]) -> dict[str, Span]:
    return {span.name: span for span in spans}


def test_a_served_request_is_three_spans_below_its_caller_s(lane: str, tmp_path: Path, collector: Collector) -> None:
    tracing = sending_to(collector)
    with serving(lane, tmp_path, models(), settings=Settings(tracing)) as served:
        status, _ = ask(served, "POST", INFER, BODY, {"traceparent": CALLER})
        spans = by_name(collector.wait_for(3))
    close(tracing)

    assert status == 200
    assert spans["InferRequest"].parent_id == "b7ad6b7169203331"
    assert spans["plain"].parent_id == spans["InferRequest"].span_id
    assert spans["compute"].parent_id == spans["plain"].span_id
    assert spans["plain"].attributes["triton.request_id"] == "seven"
    assert [name for name, _ in spans["InferRequest"].events][:2] == ["HTTP_RECV_START", "HTTP_RECV_END"]
    times = [ns for span in ("InferRequest", "plain", "compute") for _, ns in spans[span].events]
    assert all(spans["InferRequest"].start_ns <= ns <= spans["InferRequest"].end_ns for ns in times)
    assert not any(span.failed for span in spans.values())


def test_a_request_whose_model_breaks_has_failed_spans(lane: str, tmp_path: Path, collector: Collector) -> None:
    tracing = sending_to(collector)
    with serving(lane, tmp_path, models(), settings=Settings(tracing)) as served:
        assert ask(served, "POST", INFER.replace("plain", "failing"), BODY)[0] == 500
        spans = by_name(collector.wait_for(3))
    close(tracing)

    assert spans["InferRequest"].failed
    assert spans["failing"].failed
    assert "no luck" in spans["failing"].message


@pytest.mark.parametrize(("path", "body"), [(INFER, "{"), (INFER, "{}"), (INFER.replace("plain", "nobody"), BODY)])
def test_what_is_refused_before_it_is_a_request_is_one_failed_span(
    lane: str, tmp_path: Path, collector: Collector, path: str, body: str
) -> None:
    tracing = sending_to(collector)
    with serving(lane, tmp_path, models(), settings=Settings(tracing)) as served:
        status, document = ask(served, "POST", path, body)
        (span,) = collector.wait_for(1)
    close(tracing)

    assert status >= 400
    assert (span.name, span.failed, span.message) == ("InferRequest", True, document["error"])


def test_repeated_requests_on_one_connection_are_each_sampled_in_their_turn(lane: str, tmp_path: Path) -> None:
    tracing, kept = keeping("level=TIMESTAMPS", "rate=3")
    with serving(lane, tmp_path, models(), settings=Settings(tracing)) as served:
        connection = HTTPConnection(served.host, served.port, timeout=20)
        for _ in range(9):
            connection.request("POST", INFER, BODY)
            assert connection.getresponse().read()
        connection.close()
        until(lambda: len(kept.traces) == 3)

    assert all(trace.compute_end_ns and trace.send_end_ns for trace in kept.traces)


def test_generate_is_traced_as_infer_is(lane: str, tmp_path: Path) -> None:
    tracing, kept = keeping("level=TIMESTAMPS", "rate=1")
    with serving(lane, tmp_path, models(), settings=Settings(tracing)) as served:
        status, _ = ask(served, "POST", "/v2/models/plain/generate", '{"INPUT0": [1, 2]}')
        until(lambda: len(kept.traces) == 1)

    assert status == 200
    assert kept.traces[0].compute_end_ns


def test_the_trace_of_a_request_whose_client_left_ends_too(lane: str, tmp_path: Path) -> None:
    tracing, kept = keeping("level=TIMESTAMPS", "rate=1")
    with serving(lane, tmp_path, models(), settings=Settings(tracing)) as served:
        head = f"POST {INFER.replace('plain', 'slow')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n"
        with socket.create_connection((served.host, served.port)) as whole:
            whole.sendall(head.encode() + BODY.encode())
            served.models["slow"].wait_until_it_runs()
        served.models["slow"].release.set()
        with socket.create_connection((served.host, served.port)) as cut_short:
            cut_short.sendall(head.encode() + b"{")
        until(lambda: len(kept.traces) == 2)

    assert all(trace.setting.all_collected for trace in kept.traces)


def test_nothing_is_begun_while_tracing_is_off(lane: str, tmp_path: Path) -> None:
    begun: list[str] = []

    class Off:
        active = False

        def begin(self, model: str, *_: Any) -> None:
            begun.append(model)

    class WithoutTracing(Settings):
        sampler = Off()

    with serving(lane, tmp_path, models(), settings=WithoutTracing()) as served:
        assert ask(served, "POST", INFER, BODY, {"traceparent": CALLER})[0] == 200

    assert begun == []


def test_tracing_is_turned_on_and_off_while_the_server_runs(lane: str, tmp_path: Path) -> None:
    tracing, kept = keeping("rate=1")
    with serving(lane, tmp_path, models(), settings=Settings(tracing)) as served:
        ask(served, "POST", INFER, BODY)
        own = "/v2/models/plain/trace/setting"
        status, document = ask(served, "POST", own, '{"trace_level": ["TIMESTAMPS"]}')
        ask(served, "POST", INFER, BODY)
        ask(served, "POST", INFER.replace("plain", "failing"), BODY)
        ask(served, "POST", own, '{"trace_level": null}')
        ask(served, "POST", INFER, BODY)

    assert (status, document["trace_level"], document["trace_rate"]) == (200, ["TIMESTAMPS"], "1")
    assert [trace.model for trace in kept.traces] == ["plain"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ('{"trace_rate": 5}', 500, "attempt to access JSON non-string as string"),
        ('{"trace_count": true}', 500, "attempt to access JSON non-string as string"),
        ('{"trace_level": "TIMESTAMPS"}', 500, "attempt to access JSON non-array as array"),
        ('{"trace_level": [1]}', 500, "attempt to access JSON non-string as string"),
        ('{"trace_level": ["OFF", "TENSORS"]}', 400, "Expect only one trace level 'OFF' is specified"),
        ('{"trace_rate": "x"}', 400, "Unable to parse 'trace_rate', got: x"),
        ('{"trace_file": null}', 501, "trace file location can not be updated through network protocol"),
        (
            '{"trace_rate": "0", "trace_level": ["TENSORS"]}',
            400,
            "Attempting to set invalid trace setting :sample rate",
        ),
        ("{", 500, "failed to parse the request JSON buffer: Missing a name for object member. at 1"),
    ],
)
def test_a_wrong_trace_setting_is_refused_as_by_the_real_triton(
    tmp_path: Path, body: str, status: int, text: str
) -> None:
    tracing, _ = keeping()
    with serving("asgi", tmp_path, models(), settings=Settings(tracing)) as served:
        answer = ask(served, "POST", SETTING, body)

        assert answer[0] == status
        assert answer[1]["error"].startswith(text)
        assert ask(served, "GET", SETTING)[1]["trace_rate"] == "1000"


@pytest.mark.parametrize("body", ["", "[]", "1", "null", '"x"', "{}", '{"trace_level": []}', '{"trace_mode": "x"}'])
def test_a_body_that_asks_for_nothing_is_answered_with_the_settings(tmp_path: Path, body: str) -> None:
    tracing, _ = keeping()
    with serving("asgi", tmp_path, models(), settings=Settings(tracing)) as served:
        assert ask(served, "POST", SETTING, body) == (200, ask(served, "GET", SETTING)[1])


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ('{"log_info": 1}', 500, "attempt to access JSON non-boolean as boolean"),
        ('{"log_verbose_level": -1}', 500, "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ('{"log_verbose_level": true}', 500, "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ('{"log_format": 1}', 500, "attempt to access JSON non-string as string"),
        ('{"log_format": "iso8601"}', 503, "invalid argument for --log_format, got: iso8601"),
        ('{"log_file": "x", "log_info": false}', 501, "log file location can not be updated through network protocol"),
    ],
)
def test_a_wrong_log_setting_is_refused_as_by_the_real_triton(
    tmp_path: Path, body: str, status: int, text: str
) -> None:
    with serving("asgi", tmp_path, models(), settings=Settings(None, LogSettings())) as served:
        assert ask(served, "POST", "/v2/logging", body) == (status, {"error": text})
        assert ask(served, "GET", "/v2/logging")[1]["log_info"] is True


def test_what_stands_before_a_mistake_holds(tmp_path: Path, restored: None) -> None:
    with serving("asgi", tmp_path, models(), settings=Settings(None, LogSettings())) as served:
        ask(served, "POST", "/v2/logging", '{"log_format": "x", "log_verbose_level": 2, "log_file": null}')

        assert ask(served, "GET", "/v2/logging")[1] == {
            "log_file": "",
            "log_info": True,
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 2,
            "log_format": "default",
        }


# --- gRPC -------------------------------------------------------------------------------------------------------------


def infer_grpc(client: Any, headers: Mapping[str, str] | None = None) -> None:
    tensor = grpc_client.InferInput("INPUT0", [2], "FP32")
    tensor.set_data_from_numpy(np.array([1, 2], np.float32))
    client.infer("plain", [tensor], request_id="seven", headers=dict(headers or {}))


@pytest.fixture
def over_grpc(tmp_path: Path) -> Callable[[Settings], Any]:
    return lambda settings: serving_grpc(tmp_path, models(), settings=settings)


def test_a_request_over_grpc_is_three_spans_below_its_caller_s(
    over_grpc: Callable[[Settings], Any], collector: Collector
) -> None:
    tracing = sending_to(collector)
    with over_grpc(Settings(tracing)) as served, grpc_client.InferenceServerClient(served.url) as client:
        infer_grpc(client, {"traceparent": CALLER})
        spans = by_name(collector.wait_for(3))
    close(tracing)

    assert spans["InferRequest"].parent_id == "b7ad6b7169203331"
    assert spans["compute"].parent_id == spans["plain"].span_id
    assert next(name for name, _ in spans["InferRequest"].events) == "GRPC_WAITREAD_START"


def test_the_stock_client_reads_and_changes_trace_settings(over_grpc: Callable[[Settings], Any]) -> None:
    tracing, kept = keeping("rate=1")
    with over_grpc(Settings(tracing)) as served, grpc_client.InferenceServerClient(served.url) as client:
        changed = client.update_trace_settings(
            "plain", {"trace_level": ["TIMESTAMPS"], "trace_count": "2"}, as_json=True
        )
        for _ in range(3):
            infer_grpc(client)
        read = client.get_trace_settings("plain", as_json=True)
        cleared = client.update_trace_settings("plain", {"trace_level": None, "trace_count": None}, as_json=True)

    assert changed["settings"]["trace_level"]["value"] == ["TIMESTAMPS"]
    assert read["settings"]["trace_count"]["value"] == ["0"]
    assert cleared["settings"]["trace_level"]["value"] == ["OFF"]
    assert len(kept.traces) == 2


def test_the_stock_client_reads_and_changes_log_settings(over_grpc: Callable[[Settings], Any], restored: None) -> None:
    with over_grpc(Settings(None, LogSettings())) as served, grpc_client.InferenceServerClient(served.url) as client:
        changed = client.update_log_settings({"log_verbose_level": 1, "log_format": "ISO8601"}, as_json=True)

        assert changed["settings"]["log_verbose_level"] == {"uint32_param": 1}
        assert changed["settings"]["log_format"] == {"string_param": "ISO8601"}
        assert client.get_log_settings(as_json=True) == changed


TRACE = "update_trace_settings"
LOGS = "update_log_settings"
NO_FILE = "file location can not be updated through network protocol"


@pytest.mark.parametrize(
    ("call", "arguments", "status", "text"),
    [
        ("get_trace_settings", ("nobody",), "INVALID_ARGUMENT", "Request for unknown model : nobody"),
        (TRACE, (None, {"trace_rate": "x"}), "INVALID_ARGUMENT", "Unable to parse 'trace_rate', got: x"),
        (TRACE, (None, {"trace_rate": ["1", "2"]}), "INVALID_ARGUMENT", "expect only 1 value for 'trace_rate'"),
        (TRACE, (None, {"trace_file": "x"}), "UNIMPLEMENTED", f"trace {NO_FILE}"),
        (LOGS, ({"log_file": "x"},), "UNIMPLEMENTED", f"log {NO_FILE}"),
        (LOGS, ({"log_format": "x"},), "INVALID_ARGUMENT", "invalid argument for log_format, got: x"),
    ],
)
def test_wrong_settings_over_grpc_have_triton_s_status_and_words(
    over_grpc: Callable[[Settings], Any], call: str, arguments: tuple[Any, ...], status: str, text: str
) -> None:
    tracing, _ = keeping()
    with (
        over_grpc(Settings(tracing, LogSettings())) as served,
        grpc_client.InferenceServerClient(served.url) as client,
        pytest.raises(InferenceServerException) as refused,
    ):
        getattr(client, call)(*arguments)

    assert (refused.value.status(), refused.value.message()) == (f"StatusCode.{status}", text)


@pytest.mark.parametrize(
    ("name", "field", "value", "text"),
    [
        ("log_info", "uint32_param", 1, "expect boolean for 'log_info'"),
        ("log_verbose_level", "string_param", "1", "expect int32 for 'log_verbose_level'"),
        ("log_format", "bool_param", True, "expect string for 'log_format'"),
    ],
)
def test_a_log_setting_of_another_type_is_refused_over_grpc(
    over_grpc: Callable[[Settings], Any], name: str, field: str, value: Any, text: str
) -> None:
    request = service_pb2.LogSettingsRequest()
    setattr(request.settings[name], field, value)
    with over_grpc(Settings(None, LogSettings())) as served, grpc.insecure_channel(served.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.LogSettings(request)

    assert refused.value.details() == text
