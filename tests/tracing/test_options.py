"""`--trace-config`."""

import pytest

from jubako.errors import InvalidArgument
from jubako.tracing.options import DEFAULT_URL, TraceOptions, parse_trace_config
from jubako.tracing.settings import Level, Mode, Values


def test_without_a_word_nothing_is_traced_and_triton_s_defaults_hold() -> None:
    options = parse_trace_config([], {})

    assert options == TraceOptions()
    assert options.values == Values(frozenset(), 1000, -1, 0)
    assert options.url == DEFAULT_URL
    assert options.resource == {"service.name": "triton-inference-server"}


def test_settings_of_all_modes_and_of_one_are_read() -> None:
    entries = ["rate=2", "count=5", "level=TIMESTAMPS", "level=tensors", "triton,file=/t", "triton,log-frequency=3"]

    options = parse_trace_config(entries, {})

    assert options.values == Values(frozenset(Level), 2, 5, 3)
    assert options.file == "/t"


@pytest.mark.parametrize("level", ["MIN", "MAX", "TIMESTAMPS"])
def test_the_old_names_of_levels_are_timestamps(level: str) -> None:
    assert parse_trace_config([f"level={level}"], {}).values.level == {Level.TIMESTAMPS}


def test_opentelemetry_has_options_of_its_own_and_they_are_shown() -> None:
    entries = ["mode=opentelemetry", "opentelemetry,url=http://c", "opentelemetry,resource=a=b=c"]

    options = parse_trace_config([*entries, "opentelemetry,bsp_schedule_delay=200"], {})

    assert options.mode is Mode.OPENTELEMETRY
    assert options.shown == {
        "url": "http://c",
        "resource": "service.name=triton-inference-server,a=b=c",
        "bsp_max_queue_size": "2048",
        "bsp_schedule_delay": "200",
        "bsp_max_export_batch_size": "512",
    }


def test_opentelemetry_s_own_variables_stand_between_the_options_and_the_defaults() -> None:
    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_SCHEDULE_DELAY": "20"}

    options = parse_trace_config(["opentelemetry,bsp_schedule_delay=30"], environ)

    assert (options.bsp_max_queue_size, options.bsp_schedule_delay) == (10, 30)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("level=WHAT", "invalid value for trace level option: what"),
        ("mode=x", 'invalid value for trace mode option: x. Available options are "triton" and "opentelemetry"'),
        ("zipkin,a=b", 'invalid value for trace mode option: zipkin. Available options are "triton" and '),
        ("rate=x", "--trace-config rate: Invalid option value. Got x"),
        ("rate=-1", r"--trace-config rate: value is out of range \[ 0, 4294967295 \], got: -1"),
        ("count=-5", "--trace-config count: value is out of range"),
        ("rate", "--trace-config option format is"),
        ("foo=1", "--trace-config: there is no setting foo"),
        ("triton,url=1", "--trace-config: there is no setting triton,url"),
        ("opentelemetry,bsp_max_queue_size=0", "--trace-config bsp_max_queue_size: value is out of range"),
    ],
)
def test_a_mistake_is_named(entry: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        parse_trace_config([entry], {})
