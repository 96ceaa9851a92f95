"""Which headers become parameters."""

import pytest

from jubako.errors import InvalidArgument
from jubako.protocols.forwarding import NO_FORWARDING, Forwarding

SENT = [("my_header_1", "one"), ("x-my_header_2", "two"), ("other", "three"), ("my_header_1", "again")]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("my_header", ["my_header_1", "x-my_header_2"]),
        ("^my_header.*$", ["my_header_1"]),
        ("MY_HEADER_1", ["my_header_1"]),
        ("(?-i)MY_HEADER_1", []),
        ("(?-i)my_header_1", ["my_header_1"]),
        (".*", ["my_header_1", "x-my_header_2", "other"]),
        ("none", []),
        ("", []),
    ],
)
def test_what_the_pattern_matches_anywhere_is_forwarded(pattern: str, names: list[str]) -> None:
    assert list(Forwarding(pattern).parameters(SENT)) == names


def test_values_of_one_name_are_joined() -> None:
    assert Forwarding("my_header_1").parameters(SENT) == {"my_header_1": "one, again"}


@pytest.mark.parametrize(
    "name",
    [
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
        "triton_x",
    ],
)
def test_a_name_of_the_protocols_own_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"Header '{name}' is reserved for Triton usage and cannot be forwarded."):
        Forwarding(".*").parameters([(name, "1")])
    assert Forwarding("my").parameters([(name, "1")]) == {}


def test_keys_of_access_rules_are_never_forwarded() -> None:
    assert Forwarding(".*", {"authorization"}).parameters([("authorization", "secret"), ("a", "b")]) == {"a": "b"}


def test_nothing_is_forwarded_without_a_pattern() -> None:
    assert not NO_FORWARDING
    assert NO_FORWARDING.parameters(SENT) == {}
    with pytest.raises(InvalidArgument, match="is not a regular expression"):
        Forwarding("(")
