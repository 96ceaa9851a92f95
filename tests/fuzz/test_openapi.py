"""Requests that schemathesis makes of the OpenAPI document, good and bad: what comes back is what is described."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fakes import LANES, identity, serving, simple
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.openapi import document

from .budget import PATIENCE_S, explore
from .verdict import check

CHECKS = [content_type_conformance, response_headers_conformance, response_schema_conformance, status_code_conformance]
LIMITS = Limits(max_input_size=1 << 20, max_body_size=1 << 21)


def operations() -> list[Any]:
    """Return each call of the document."""
    results: Any = schemathesis.openapi.from_dict(document()).get_all_operations()
    return [result.ok() for result in results]


@st.composite
def cases(draw: st.DrawFn, known: list[Any]) -> Any:
    """Return a request that fits the document, or just does not; its model is mostly one that there is."""
    operation = draw(st.sampled_from(known))
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case = draw(operation.as_strategy(generation_mode=mode))
    for name, usual in (("model", ["simple", "fp32", "strings"]), ("version", ["1"]), ("region", ["r"])):
        if name in (case.path_parameters or {}) and draw(st.integers(0, 4)):
            case.path_parameters[name] = draw(st.sampled_from(usual))
    return case


@pytest.mark.parametrize("lane", LANES)
def test_what_is_described_is_what_is_served(tmp_path: Path, lane: str) -> None:
    models = {"simple": simple(), "fp32": identity("FP32"), "strings": identity("STRING")}
    with serving(lane, tmp_path, models, limits=LIMITS) as served:

        @given(cases(operations()))
        def conforms(case: Any) -> None:
            response = case.call(base_url=f"http://{served.host}:{served.port}", timeout=PATIENCE_S)
            if response.status_code != 200 and response.content:
                check(response.status_code, response.content)
            case.validate_response(response, checks=CHECKS, excluded_checks=[not_a_server_error])

        explore(conforms, examples=40, share=0.1)
