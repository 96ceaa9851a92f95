"""What clients write, in the words of the real Triton where it is wrong (recorded from release 2.51)."""

import pytest

from jubako.errors import InvalidArgument, Unsupported
from jubako.tracing.settings import Level
from jubako.tracing.wire import parse_update


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("trace_rate", "5", "rate", 5),
        ("trace_rate", "5x", "rate", 5),
        ("trace_rate", " 6", "rate", 6),
        ("trace_rate", "+3", "rate", 3),
        ("trace_rate", "0x10", "rate", 0),
        ("trace_rate", "4294967295", "rate", 4294967295),
        ("trace_count", "-1", "count", -1),
        ("log_frequency", "7", "log_frequency", 7),
    ],
)
def test_a_number_is_read_as_c_reads_it(name: str, text: str, field: str, value: int) -> None:
    assert parse_update({name: [text]}) == {field: value}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trace_rate", "x", "Unable to parse 'trace_rate', got: x"),
        ("trace_rate", "", "Unable to parse 'trace_rate', got: "),
        (
            "trace_rate",
            "4294967296",
            "Unable to parse 'trace_rate', value is out of range [ 0, 4294967295 ], got: 4294967296",
        ),
        (
            "trace_rate",
            "9" * 30,
            f"Unable to parse 'trace_rate', value is out of range [ 0, 4294967295 ], got: {'9' * 30}",
        ),
        ("trace_rate", "-1", "Unable to parse 'trace_rate', value is out of range [ 0, 4294967295 ], got: -1"),
        ("trace_count", "-2", "Unable to parse 'trace_count'. Expecting value >= -1, got:-2"),
        (
            "trace_count",
            "2147483648",
            "Unable to parse 'trace_count', value is out of range [ -1, 2147483647 ], got: 2147483648",
        ),
        ("trace_count", "q", "Unable to parse 'trace_count', got: q"),
        ("log_frequency", "q", "Unable to parse 'log_frequency', got: q"),
    ],
)
def test_what_is_no_number_or_out_of_range_is_refused_in_triton_s_words(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_update({name: [text]})

    assert str(refused.value) == message


def test_levels_are_taken_together_and_unknown_ones_are_passed_over() -> None:
    both = frozenset({Level.TIMESTAMPS, Level.TENSORS})

    assert parse_update({"trace_level": ["TENSORS", "WHAT", "TIMESTAMPS"]}) == {"level": both}
    assert parse_update({"trace_level": ["OFF"]}) == {"level": frozenset()}
    assert parse_update({"trace_level": ["WHAT", "timestamps", "MAX"]}) == {}


@pytest.mark.parametrize("levels", [["OFF", "TIMESTAMPS"], ["TENSORS", "OFF"]])
def test_off_stands_alone(levels: list[str]) -> None:
    with pytest.raises(InvalidArgument, match=r"^Expect only one trace level 'OFF' is specified$"):
        parse_update({"trace_level": levels})


def test_nothing_clears_a_value_and_an_unknown_name_is_ignored() -> None:
    assert parse_update({"trace_rate": None, "trace_mode": ["x"], "other": ["y"]}) == {"rate": None}


@pytest.mark.parametrize("value", [["x"], None])
def test_the_file_cannot_be_changed_whatever_else_is_said(value: list[str] | None) -> None:
    with pytest.raises(Unsupported, match=r"^trace file location can not be updated through network protocol$"):
        parse_update({"trace_rate": ["x"], "trace_file": value})


def test_a_number_is_one_value() -> None:
    with pytest.raises(InvalidArgument, match=r"^expect only 1 value for 'trace_rate'$"):
        parse_update({"trace_rate": ["1", "2"]})
