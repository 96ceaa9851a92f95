"""Which requests are sampled, and what an update leaves of a setting."""

from typing import Any

import pytest

from jubako.errors import InvalidArgument
from jubako.tracing.settings import Level, TraceSettings, Values

from .scene import a_setting

TIMESTAMPS = frozenset({Level.TIMESTAMPS})


def settings(needs_file: bool = False, **start: Any) -> TraceSettings:
    return TraceSettings(Values(**{"level": TIMESTAMPS, **start}), needs_file)


def test_one_request_of_as_many_as_the_rate_is_sampled() -> None:
    setting = a_setting(level=TIMESTAMPS, rate=3)

    assert [setting.sample() for _ in range(7)] == [False, False, True, False, False, True, False]


def test_no_more_than_the_count_are_sampled_and_the_rest_of_it_is_shown() -> None:
    setting = a_setting(level=TIMESTAMPS, rate=1, count=2)

    sampled = [setting.sample() for _ in range(4)]

    assert sampled == [True, True, False, False]
    assert setting.now().count == 0


def test_a_caller_that_traces_is_traced_out_of_turn_and_uses_nothing_up() -> None:
    setting = a_setting(level=TIMESTAMPS, rate=2, count=1)

    assert setting.sample(forced=True)
    assert setting.now().count == 1


@pytest.mark.parametrize("nothing", [{"rate": 0}, {"count": 0}])
def test_a_rate_or_a_count_of_zero_at_the_start_samples_those_callers_alone(nothing: dict[str, Any]) -> None:
    of_start = settings(**nothing)

    assert of_start.active
    assert not of_start.server.sample()
    assert of_start.server.sample(forced=True)


@pytest.mark.parametrize(
    ("of_start", "name"), [(settings(level=frozenset()), "off"), (settings(needs_file=True), "no file")]
)
def test_nothing_is_sampled_when_tracing_is_off_or_has_nowhere_to_go(of_start: TraceSettings, name: str) -> None:
    assert not of_start.active
    assert not of_start.server.sample(forced=True)


def test_all_are_collected_once_every_sampled_request_has_ended() -> None:
    setting = a_setting(level=TIMESTAMPS, rate=1, count=2)
    setting.sample()
    setting.sample()

    setting.collect()
    assert not setting.exhausted
    setting.collect()
    assert setting.exhausted


def test_an_update_starts_the_counting_again() -> None:
    kept = settings(rate=2)
    kept.server.sample()

    kept.update("", {"rate": 2})

    assert [kept.server.sample(), kept.server.sample()] == [False, True]


def test_clearing_a_value_of_the_server_brings_back_the_one_of_the_start() -> None:
    kept = settings(rate=7)
    kept.update("", {"rate": 5, "count": 9})

    kept.update("", {"rate": None})

    assert kept.server.now() == Values(TIMESTAMPS, rate=7, count=9)


def test_what_a_model_has_not_set_follows_the_server() -> None:
    kept = settings()
    kept.update("m", {"rate": 9})

    kept.update("", {"count": 11, "rate": 4})

    assert kept.of("m").now() == Values(TIMESTAMPS, rate=9, count=11)
    assert kept.of("other") is kept.server


def test_clearing_all_that_a_model_has_set_makes_it_go_by_the_server_again() -> None:
    kept = settings()
    kept.update("m", {"rate": 9})

    (retired,) = kept.update("m", {"rate": None})

    assert kept.of("m") is kept.server
    assert retired.values.rate == 9


def test_a_model_can_be_traced_while_the_server_is_not_and_the_other_way_round() -> None:
    kept = settings(level=frozenset())
    assert not kept.active

    kept.update("m", {"level": TIMESTAMPS, "rate": 1})

    assert kept.active
    assert kept.of("m").sample()
    assert not kept.of("other").sample()


def test_an_update_retires_the_server_s_setting_and_those_that_follow_it() -> None:
    kept = settings()
    kept.update("m", {"rate": 9})
    before = {kept.server, kept.of("m")}

    assert set(kept.update("", {"rate": 3})) == before


def test_an_update_of_the_server_leaves_a_model_alone_that_has_set_everything() -> None:
    kept = settings()
    kept.update("m", {"level": TIMESTAMPS, "rate": 9, "count": 3, "log_frequency": 2})
    own = kept.of("m")

    kept.update("", {"rate": 3})

    assert kept.of("m") is own


@pytest.mark.parametrize(
    ("update", "reason"),
    [({"rate": 0}, "sample rate must be non-zero"), ({"count": 0}, "")],
)
def test_an_update_that_would_sample_nothing_is_refused_and_changes_nothing(
    update: dict[str, int], reason: str
) -> None:
    kept = settings(rate=2)

    with pytest.raises(InvalidArgument, match=f"^Attempting to set invalid trace setting :{reason}$"):
        kept.update("", update)

    assert kept.server.now().rate == 2


def test_without_a_file_an_update_cannot_turn_tracing_on() -> None:
    kept = settings(needs_file=True, level=frozenset())

    with pytest.raises(InvalidArgument, match="trace file name is not given"):
        kept.update("", {"level": TIMESTAMPS})


def test_off_goes_with_any_other_value() -> None:
    kept = settings()

    kept.update("", {"level": frozenset(), "rate": 0})

    assert not kept.active
