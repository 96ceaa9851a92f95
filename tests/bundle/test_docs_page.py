"""The document behind BentoML's docs page."""

import json
from typing import Any

import pytest

from jubako.protocols.rest import openapi

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own imports


def own() -> Any:
    """Return BentoML's document of a small service."""
    import bentoml
    from _bentoml_sdk.service.openapi import generate_spec  # type: ignore[import-untyped]

    class Small:
        @bentoml.api  # type: ignore[untyped-decorator]
        def double(self, number: int) -> int:
            return 2 * number

    return generate_spec(bentoml.service(Small))


def merged() -> Any:
    from jubako.bundle.docs import with_v2

    return with_v2(own())


def test_the_docs_page_shows_bentomls_calls_and_those_of_v2() -> None:
    before, after = own().asdict(), merged().asdict()

    assert after["openapi"] == "3.1.0"
    assert {*before["paths"], *openapi.paths()} == set(after["paths"])
    assert after["paths"]["/double"] == before["paths"]["/double"]
    assert after["paths"]["/v2/models/{model}/infer"] == openapi.paths()["/v2/models/{model}/infer"]
    assert after["info"] == before["info"]


def test_no_schema_takes_the_place_of_one_of_bentomls() -> None:
    before, after = own().asdict()["components"]["schemas"], merged().asdict()["components"]["schemas"]

    assert not set(before) & set(openapi.components())
    assert set(after) == {*before, *openapi.components()}


def test_it_can_be_shown_and_packed() -> None:
    import yaml  # type: ignore[import-untyped]

    assert json.dumps(merged().asdict())
    assert yaml.safe_load(yaml.dump(merged()))["paths"]["/v2"]["get"]["summary"]
