"""Traces and the log, as the service is told of them."""

from pathlib import Path

import pytest

from jubako.bundle.arguments import settle
from jubako.bundle.translate import log_settings_of, trace_options_of
from jubako.cli.parsing import parse
from jubako.cli.serve import service_arguments
from jubako.errors import InvalidArgument
from jubako.log_settings import LogSettings
from jubako.tracing import output
from jubako.tracing.settings import Level, Mode, Values


def test_trace_config_stands_above_the_old_options() -> None:
    given = {"trace_rate": "5", "trace_level": "MIN", "trace_file": "/t", "trace_config": "rate=7;count=3"}

    options = trace_options_of(settle(given, {}).arguments, {})

    assert options.values == Values(frozenset({Level.TIMESTAMPS}), rate=7, count=3)
    assert options.file == "/t"


def test_opentelemetry_without_its_exporter_ends_the_start_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = settle({"trace_config": "mode=opentelemetry"}, {}).arguments
    monkeypatch.setattr(output, "EXPORTER", "there_is.no_such.package")

    with pytest.raises(InvalidArgument, match=r"opentelemetry-exporter-otlp-proto-http.*jubako\[tracing\]"):
        trace_options_of(arguments, {})


def test_with_its_exporter_opentelemetry_is_taken() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    arguments = settle({"trace_config": "mode=opentelemetry"}, {}).arguments

    assert trace_options_of(arguments, {}).mode is Mode.OPENTELEMETRY


def test_the_command_line_makes_the_path_of_the_file_absolute() -> None:
    given = parse(["--trace-config=triton,file=t.json", "--trace-config=rate=2", "--trace-file", "old.json"])

    arguments = service_arguments(given.options, Path("/elsewhere"))

    assert arguments["trace_config"] == ["triton,file=/elsewhere/t.json", "rate=2"]
    assert arguments["trace_file"] == "/elsewhere/old.json"


def test_the_log_starts_as_the_options_say() -> None:
    given = {"log_verbose": "2", "log_info": "false", "log_format": "ISO8601"}

    assert log_settings_of(settle(given, {}).arguments) == LogSettings(info=False, verbose_level=2, format="ISO8601")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid argument for --log-format"):
        settle({"log_format": "x"}, {})
