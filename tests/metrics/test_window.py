"""Quantiles of the last minute."""

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jubako.statistics.window import Window

SECOND_NS = 1_000_000_000


def test_there_is_no_quantile_of_nothing() -> None:
    assert all(isnan(value) for value in Window().quantiles([0.5, 0.99], now_ns=0))


@given(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0, 1))
def test_a_quantile_is_right_to_within_a_hundredth(values: list[int], quantile: float) -> None:
    window = Window()
    for value in values:
        window.add(value, now_ns=0)

    (found,) = window.quantiles([quantile], now_ns=0)

    exact = next(value for passed, value in enumerate(sorted(values), 1) if passed >= quantile * len(values))
    assert found == pytest.approx(exact, rel=0.01)


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    window = Window()
    window.add(1000, now_ns=0)
    window.add(10, now_ns=45 * SECOND_NS)

    assert window.quantiles([1.0], now_ns=49 * SECOND_NS)[0] > 900
    assert window.quantiles([1.0], now_ns=60 * SECOND_NS) == [10]
    assert isnan(window.quantiles([1.0], now_ns=120 * SECOND_NS)[0])
