"""The look at uvicorn's insides: it knows the installed one, and notices each thing that could change."""

from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jubako.protocols.rest.internals import RELIED_ON, unknown_internals

CASES = [(method, name) for method, names in sorted(RELIED_ON.items()) for name in sorted(names)]


def without(method: str, name: str) -> type:
    """Return uvicorn's protocol with a method that no longer knows `name`."""
    original = getattr(HttpToolsProtocol, method)
    code = original.__code__
    names = tuple("renamed" if known == name else known for known in code.co_names)
    changed: Any = type(original)(code.replace(co_names=names), original.__globals__, method)
    return type("Other", (HttpToolsProtocol,), {method: changed})


def test_the_installed_uvicorn_is_known() -> None:
    assert unknown_internals() is None


@pytest.mark.parametrize(("method", "name"), CASES)
def test_a_name_that_uvicorn_no_longer_uses_is_noticed(method: str, name: str) -> None:
    assert unknown_internals(without(method, name)) == f"uvicorn's {method} no longer uses {name}"


@pytest.mark.parametrize("method", sorted(RELIED_ON))
def test_a_method_that_is_gone_is_noticed(method: str) -> None:
    others = {name: getattr(HttpToolsProtocol, name) for name in RELIED_ON if name != method}

    assert unknown_internals(type("Other", (), others)) == f"uvicorn's HTTP protocol has no method {method}"


@pytest.mark.parametrize("method", sorted(RELIED_ON))
@pytest.mark.parametrize("other", [staticmethod(lambda: None), property(lambda self: None), len])
def test_what_is_no_plain_method_any_more_is_noticed(method: str, other: object) -> None:
    protocol = type("Other", (HttpToolsProtocol,), {method: other})

    assert unknown_internals(protocol) == f"uvicorn's HTTP protocol has no method {method}"
