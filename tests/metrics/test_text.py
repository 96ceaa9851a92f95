"""The text format: escapes, numbers, order, and samples put into a page that is there already."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jubako.metrics.text import Family, Kind, insert, number, render, sample, tag_label

from .page import Page, faults


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_label_value_comes_back_as_it_was(value: str) -> None:
    family = Family("f", Kind.GAUGE, "help")
    family.add({"model": value}, 1)

    (found,) = Page(render([family])).samples

    assert found.labels == {"model": value}


def test_labels_are_in_alphabetical_order_and_whole_numbers_have_no_point() -> None:
    line = sample("nv_inference_request_success", {"version": "1", "model": "m", "_a": "b"}, 5)

    assert line == 'nv_inference_request_success{_a="b",model="m",version="1"} 5'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2.0, "2"),
        (0.5, "0.5"),
        (2.5e-05, "0.000025"),
        (1e22, "10000000000000000000000"),
        (2**70, str(2**70)),
        (float("nan"), "NaN"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
    ],
)
def test_a_number_is_written_as_plain_decimal(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_comes_back_as_it_was(value: float) -> None:
    assert float(number(value)) == float(value)
    assert "e" not in number(value).lower()


def test_a_family_without_samples_is_not_shown() -> None:
    assert render([Family("f", Kind.COUNTER, "help")]) == ""


def test_buckets_are_cumulative_and_end_with_all() -> None:
    family = Family("d", Kind.HISTOGRAM, "help")

    family.add_buckets({"model": "m"}, (0.5, 2.0), (3, 0, 4), 9.25)

    assert family.lines == [
        'd_bucket{le="0.5",model="m"} 3',
        'd_bucket{le="2",model="m"} 3',
        'd_bucket{le="+Inf",model="m"} 7',
        'd_count{model="m"} 7',
        'd_sum{model="m"} 9.25',
    ]
    assert faults(render([family])) == []


def test_the_key_of_a_tag_becomes_a_label_that_prometheus_takes() -> None:
    assert tag_label("cost-centre/ü") == "_cost_centre__"


def test_samples_go_behind_those_that_their_family_has_already() -> None:
    page = '# HELP a_total x\n# TYPE a_total counter\na_total{e="1"} 1.0\n# HELP b x\n# TYPE b gauge\nb 1.0\n'
    family = Family("a_total", Kind.COUNTER, "x")
    family.add({"e": "2"}, 3)

    page = insert(page, family)

    assert page.splitlines()[2:4] == ['a_total{e="1"} 1.0', 'a_total{e="2"} 3']
    assert faults(page) == []
    assert Page(page).value("b") == 1


def test_samples_of_a_family_that_is_not_there_bring_its_head() -> None:
    family = Family("a_total", Kind.COUNTER, "x")
    family.add({"e": "2"}, 3)

    page = insert("# HELP a_total_other x\n# TYPE a_total_other gauge\na_total_other 1\n", family)

    assert faults(page) == []
    assert Page(page).types == {"a_total_other": "gauge", "a": "counter"}


@pytest.mark.parametrize(
    "text",
    ["# HELP f x\n# TYPE f gauge\nf 1\nf 2\n", "# HELP f x\n# HELP f x\n# TYPE f gauge\nf 1\n", "f 1\n"],
    ids=["a sample twice", "help twice", "no type"],
)
def test_a_page_that_is_wrong_is_found_out(text: str) -> None:
    assert faults(text) != []
