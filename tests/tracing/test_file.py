"""Triton's trace files: which traces are in which, and what an entry says."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jubako.errors import Unavailable
from jubako.tensor import BY_NAME
from jubako.tracing.entries import data_text
from jubako.tracing.file import MAX_HELD, TraceFile
from jubako.tracing.options import parse_trace_config
from jubako.tracing.settings import TraceSetting, Values
from jubako.tracing.trace import Front, Trace
from jubako.tracing.tracing import Tracing
from jubako.tracing.wire import level_texts

from .scene import a_request, a_setting, close, run, trace_one


def tracing_to(file: Path, *config: str) -> tuple[Tracing, TraceFile]:
    output = TraceFile(str(file))
    entries = ["level=TIMESTAMPS", "rate=1", f"triton,file={file}", *config]
    return Tracing(parse_trace_config(entries, {}), output, lambda model: True), output


def ids(file: Path) -> list[int]:
    """Return the traces in a file, in their order."""
    return list(dict.fromkeys(entry["id"] for entry in json.loads(file.read_text())))


def test_without_a_limit_all_traces_make_one_file(tmp_path: Path) -> None:
    tracing, _ = tracing_to(tmp_path / "t")

    for _ in range(3):
        assert trace_one(tracing)
    close(tracing)

    assert [file.name for file in tmp_path.iterdir()] == ["t"]
    assert ids(tmp_path / "t") == [1, 2, 3]


def test_as_many_traces_as_the_log_frequency_make_a_file_and_the_rest_the_next(tmp_path: Path) -> None:
    tracing, _ = tracing_to(tmp_path / "t", "triton,log-frequency=2")

    for _ in range(5):
        trace_one(tracing)
    close(tracing)

    assert {file.name: ids(file) for file in tmp_path.iterdir()} == {"t.0": [1, 2], "t.1": [3, 4], "t.2": [5]}


def test_the_last_of_a_limited_number_completes_a_file(tmp_path: Path) -> None:
    tracing, _ = tracing_to(tmp_path / "t", "count=2")

    assert [trace_one(tracing) for _ in range(3)] == [True, True, False]
    close(tracing)

    assert {file.name: ids(file) for file in tmp_path.iterdir()} == {"t.0": [1, 2]}


def test_what_an_old_setting_has_sampled_is_written_once_its_last_request_ends(tmp_path: Path) -> None:
    tracing, output = tracing_to(tmp_path / "t")
    trace_one(tracing)
    under_way = tracing.begin("m", Front.HTTP, 5)
    assert under_way is not None

    tracing.update("", {"trace_level": ["OFF"]})
    run(under_way)
    close(output)

    assert ids(tmp_path / "t") == [1, 2]


def test_a_file_that_grows_is_written_in_parts_and_stays_one_array(tmp_path: Path) -> None:
    tracing, _ = tracing_to(tmp_path / "t")

    for _ in range(MAX_HELD * 2 + 1):
        trace_one(tracing)
    close(tracing)

    assert ids(tmp_path / "t") == list(range(1, MAX_HELD * 2 + 2))


def test_a_file_that_cannot_be_written_is_an_error_in_the_log_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracing, _ = tracing_to(tmp_path / "missing" / "t")

    trace_one(tracing)
    with caplog.at_level(logging.ERROR):
        close(tracing)

    assert "failed to write 1 traces" in caplog.text


def entries_of(trace_levels: str, tmp_path: Path, **how: Any) -> list[dict[str, Any]]:
    output = TraceFile(str(tmp_path / "t"))
    level = frozenset.union(*(parse_trace_config([f"level={each}"], {}).values.level for each in trace_levels.split()))
    setting = a_setting(level=level, rate=1)
    assert setting.sample()
    trace = Trace(output, setting, 7, "m", Front.HTTP, 1_000, None)
    run(trace, **how)
    setting.retired = True
    output.retire(setting)
    close(output)
    written: list[dict[str, Any]] = json.loads((tmp_path / "t").read_text())
    return written


def test_an_entry_says_which_request_it_was_and_every_event_in_the_order_of_time(tmp_path: Path) -> None:
    request = a_request("seven", start_ns=2_000)

    entries = entries_of("TIMESTAMPS", tmp_path, request=request)

    assert {"id": 7, "model_name": "m", "model_version": 2, "request_id": "seven"} in entries
    events = [entry["timestamps"][0] for entry in entries if "timestamps" in entry]
    assert [event["name"] for event in events] == [
        "HTTP_RECV_START",
        "HTTP_RECV_END",
        "REQUEST_START",
        "QUEUE_START",
        "COMPUTE_START",
        "COMPUTE_INPUT_END",
        "COMPUTE_OUTPUT_START",
        "COMPUTE_END",
        "INFER_RESPONSE_COMPLETE",
        "REQUEST_END",
        "HTTP_SEND_START",
        "HTTP_SEND_END",
    ]
    times = [event["ns"] for event in events]
    assert times == sorted(times)
    assert all(entry["id"] == 7 for entry in entries)


def test_tensors_are_shown_where_they_are_asked_for(tmp_path: Path) -> None:
    entries = entries_of("TENSORS", tmp_path)

    shown = {"data": "1,2,3", "shape": "3", "dtype": "INT32"}
    assert [entry for entry in entries if "activity" in entry] == [
        {"id": 7, "activity": "TENSOR_QUEUE_INPUT", "tensor": {"name": "INPUT0", **shown}},
        {"id": 7, "activity": "TENSOR_BACKEND_OUTPUT", "tensor": {"name": "OUTPUT0", **shown}},
    ]
    assert not any("timestamps" in entry for entry in entries)


def test_a_request_that_failed_has_no_answer_among_its_events(tmp_path: Path) -> None:
    entries = entries_of("TIMESTAMPS TENSORS", tmp_path, error=Unavailable("no"))

    names = [entry["timestamps"][0]["name"] for entry in entries if "timestamps" in entry]
    assert "INFER_RESPONSE_COMPLETE" not in names
    assert "REQUEST_END" in names
    assert not any(entry.get("activity") == "TENSOR_BACKEND_OUTPUT" for entry in entries)


@pytest.mark.parametrize(
    ("datatype", "values", "text"),
    [
        ("FP32", [1, 2.5, 3e10], "1,2.5,3e+10"),
        ("FP64", [0.1], "0.1"),
        ("INT64", [-1, 2**60], "-1,1152921504606846976"),
        ("BOOL", [True, False], "1,0"),
        ("FP16", [1], ""),
        ("UINT8", [], ""),
        ("UINT8", [0] * 70_000, ""),
    ],
)
def test_values_are_written_as_triton_writes_them(datatype: str, values: list[Any], text: str) -> None:
    kind = BY_NAME[datatype]

    assert data_text(kind, np.array(values, dtype=kind.dtype)) == text


def test_strings_are_in_quotes_and_what_is_no_text_is_escaped() -> None:
    array = np.array([b'a"b', b"\xff\n", "é".encode()], dtype=object)

    assert data_text(BY_NAME["BYTES"], array) == '"a"b","\\xff\n","é"'


def test_the_levels_are_shown_in_their_order() -> None:
    assert level_texts(Values(level=parse_trace_config(["level=TENSORS", "level=TIMESTAMPS"], {}).values.level)) == [
        "TIMESTAMPS",
        "TENSORS",
    ]
    assert level_texts(TraceSetting(Values(), frozenset(), None).now()) == ["OFF"]
