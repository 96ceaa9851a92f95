"""The log: what is let through, how a line looks, and that a line stays one."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jubako.bundle.log_format import JsonFormatter, LineFormatter, StandardStreams, escaped, install
from jubako.errors import InvalidArgument, Unsupported
from jubako.log_settings import LogSettings

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
NASTY = "a\r\nb\x1b[31m\x00\t\x7f\x85\x9b\u2028\u2029\u202e\u2066\ufeff\ud800é漢"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave our loggers as they were."""
    ours = logging.getLogger("jubako")
    before = ours.level, list(ours.handlers), ours.propagate
    yield
    ours.setLevel(before[0])
    ours.handlers, ours.propagate = before[1], before[2]


def a_record(message: str, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("jubako.x", level, "/a/file.py", 56, message, arguments, None)
    record.created = 1704164645.678901
    record.process = 1234
    vars(record).update(extra)
    return record


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (LogSettings(), [False, True, True, True]),
        (LogSettings(verbose_level=1), [True, True, True, True]),
        (LogSettings(info=False), [False, False, True, True]),
        (LogSettings(warning=False), [False, True, False, True]),
        (LogSettings(info=False, warning=False, error=False), [False, False, False, False]),
        (LogSettings(info=False, error=False), [False, False, True, False]),
    ],
)
def test_each_kind_of_record_has_a_switch_of_its_own(settings: LogSettings, allowed: list[bool]) -> None:
    assert [settings.allows(level) for level in LEVELS] == allowed


def test_a_change_holds_at_once_for_every_logger_of_ours() -> None:
    settings = LogSettings()
    settings.apply()
    assert not logging.getLogger("jubako.rest").isEnabledFor(logging.DEBUG)

    settings.set("log_verbose_level", 1)
    assert logging.getLogger("jubako.rest").isEnabledFor(logging.DEBUG)

    settings.set("log_verbose_level", 0)
    settings.set("log_info", False)
    assert not logging.getLogger("jubako.rest").isEnabledFor(logging.INFO)


def test_nothing_is_logged_with_every_switch_off() -> None:
    LogSettings(info=False, warning=False, error=False).apply()

    assert not logging.getLogger("jubako").isEnabledFor(logging.CRITICAL)


def test_the_file_cannot_be_changed_and_a_format_must_be_known() -> None:
    with pytest.raises(Unsupported, match="log file location can not be updated through network protocol"):
        LogSettings().set("log_file", "x")
    with pytest.raises(InvalidArgument, match="invalid argument for log_format, got: x"):
        LogSettings().set("log_format", "x")


def test_a_line_looks_as_triton_s_in_the_format_of_the_moment() -> None:
    settings = LogSettings()
    formatter = LineFormatter(settings)
    record = a_record("hello %s", "you", level=logging.WARNING)

    default = formatter.format(record)
    settings.set("log_format", "ISO8601")

    assert default == "W0102 03:04:05.678901 1234 file.py:56] hello you"
    assert formatter.format(record) == "2024-01-02T03:04:05Z W 1234 file.py:56] hello you"


def test_control_characters_are_written_so_that_they_can_be_read() -> None:
    assert escaped(NASTY) == (r"a\r\nb\x1b[31m\x00\t\x7f\x85\x9b\u2028\u2029\u202e\u2066\ufeff\ud800" + "é漢")


@given(st.text(st.characters()), st.sampled_from(["default", "ISO8601", "json"]))
def test_whatever_a_client_sends_a_record_is_one_line_that_can_be_printed(text: str, kind: str) -> None:
    formatter = JsonFormatter() if kind == "json" else LineFormatter(LogSettings(format=kind))

    line = formatter.format(a_record("id %s", text))

    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    line.encode()


def test_a_traceback_is_part_of_its_line() -> None:
    try:
        raise ValueError("no\nluck")
    except ValueError:
        record = a_record("it broke")
        record.exc_info = sys.exc_info()

    line = LineFormatter(LogSettings()).format(record)

    assert "\n" not in line
    assert line.endswith(r"ValueError: no\nluck")


def test_a_json_line_says_when_what_and_which_request() -> None:
    line = JsonFormatter().format(a_record("hello %s", NASTY, request_id="r\n1"))

    assert json.loads(line) == {
        "time": "2024-01-02T03:04:05.678901Z",
        "level": "INFO",
        "logger": "jubako.x",
        "message": f"hello {NASTY}",
        "request_id": "r\n1",
    }
    assert "request_id" not in json.loads(JsonFormatter().format(a_record("hello")))


def test_warnings_go_to_the_standard_error_and_the_rest_to_the_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(LogSettings(), as_json=False)

    for level in LEVELS:
        logging.getLogger("jubako.x").log(level, "%s", level)

    captured = capsys.readouterr()
    assert [line.rpartition(" ")[2] for line in captured.out.splitlines()] == ["20"]
    assert [line.rpartition(" ")[2] for line in captured.err.splitlines()] == ["30", "40"]


def test_the_switches_hold_where_the_level_alone_would_let_a_record_through(capsys: pytest.CaptureFixture[str]) -> None:
    settings = LogSettings()
    install(settings, as_json=False)
    settings.set("log_warning", False)

    logging.getLogger("jubako.x").warning("no")

    assert capsys.readouterr() == ("", "")


def test_a_stream_that_takes_ascii_alone_is_no_reason_to_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace"))
    handler = StandardStreams(LogSettings())
    handler.setFormatter(LineFormatter(LogSettings()))

    handler.emit(a_record("é漢"))

    sys.stdout.seek(0)
    assert "漢" not in sys.stdout.read()


def test_with_json_the_lines_of_others_are_json_too() -> None:
    program = """
import logging
logging.basicConfig(level=logging.INFO)
from jubako.bundle.log_format import install
from jubako.log_settings import LogSettings
install(LogSettings(), as_json=True)
logging.getLogger("someone").info("a\\nb")
logging.getLogger("jubako.x").info("ours", extra={"request_id": "r"})
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    lines = [json.loads(line) for line in (ran.stderr + ran.stdout).splitlines()]
    assert [(line["logger"], line["message"]) for line in lines] == [("someone", "a\nb"), ("jubako.x", "ours")]
    assert lines[1]["request_id"] == "r"
