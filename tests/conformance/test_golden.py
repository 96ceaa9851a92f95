"""Jubako held to what the real Triton answers, case by case, over both lanes."""

import json
from pathlib import Path
from typing import Any

import pytest

from .cases import CASES, Case
from .differences import BETTER, CLOSE, LATER, NEWER, OWN_ROWS, OWN_WORDS, Answered, Instead
from .record import Answer

GOLDEN: dict[str, Answer] = json.loads((Path(__file__).parent / "golden.json").read_text())
NOT_COMPARED = {"platform", "backend", "default_model_filename"}
"""Keys whose values say what the models are made of: Python files there, ONNX files here."""


def test_every_case_has_a_golden_answer_and_every_difference_a_case() -> None:
    names = [case.name for case in CASES]

    assert len(set(names)) == len(names)
    assert set(names) == set(GOLDEN)
    assert set(names) >= {*NEWER, *BETTER, *CLOSE, *OWN_WORDS}
    assert not set(NEWER) & set(BETTER)
    assert all(any(name.startswith(start) for name in names) for start in LATER)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_is_the_real_tritons(case: Case, answers: dict[str, Answer]) -> None:
    for start, reason in LATER.items():
        if case.name.startswith(start):
            pytest.skip(reason)

    assert comparable(case.name, answers[case.name]) == comparable(case.name, expected(case.name))


def expected(name: str) -> Answer:
    """Return the golden answer, or the one that the tables put in its place."""
    difference = NEWER.get(name) or BETTER.get(name)
    if difference is None:
        return GOLDEN[name]
    if isinstance(difference, Instead):
        body = {"body": ""} if difference.error is None else {"json": {"error": difference.error}}
        return {"status": difference.status, **body}
    if isinstance(difference, Answered):
        return {"status": 200, "content_type": "application/json", "json": dict(difference.document)}
    return GOLDEN[difference.case]


def comparable(name: str, answer: Answer) -> Answer:
    """Return what must agree of an answer, as text where numbers must be of one kind (1 is not 1.0, NaN is NaN).

    The content type must agree where there is something to read; Triton labels some of its JSON errors as text.
    """
    if name in OWN_WORDS or name in CLOSE:
        return {"status": answer["status"]}
    kept = {key: value for key, value in answer.items() if key != "content_type"}
    if answer["status"] == 200 and answer.get("body") != "":
        kept["content_type"] = answer.get("content_type")
    if "json" in kept:
        kept["json"] = json.dumps(neutral(kept["json"]), indent=1)
    return kept


def neutral(document: Any) -> Any:
    """Return `document` without what two servers of the same models cannot share."""
    if isinstance(document, list):
        return [neutral(item) for item in document if not (isinstance(item, dict) and item.get("name") in OWN_ROWS)]
    if not isinstance(document, dict):
        return document
    left_out = {"version", "extensions"} if "extensions" in document else NOT_COMPARED
    return {key: "…" if key in left_out else neutral(value) for key, value in document.items()}


def test_the_extensions_named_are_some_of_tritons_in_its_order(answers: dict[str, Answer]) -> None:
    ours = answers["route/GET /v2"]["json"]["extensions"]
    known = GOLDEN["route/GET /v2"]["json"]["extensions"]

    assert ours == [name for name in known if name in ours]


def test_a_model_that_cannot_be_served_is_in_the_index_with_its_reason(answers: dict[str, Answer]) -> None:
    rows = {row["name"]: row for row in answers["index/empty body"]["json"]}

    assert rows["broken"]["state"] == rows["invalid"]["state"] == "UNAVAILABLE"
    assert rows["broken"]["reason"]
    assert "preserve_ordering" in rows["invalid"]["reason"]


def test_a_run_that_failed_is_counted_as_a_failure(answers: dict[str, Answer]) -> None:
    (counted,) = answers["statistics/after a run that failed"]["json"]["model_stats"]

    assert counted["inference_stats"]["fail"]["count"] == 1
    assert counted["inference_stats"]["success"]["count"] == 1
    assert counted["inference_count"] == 1
