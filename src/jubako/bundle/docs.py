"""BentoML's OpenAPI document with `/v2` in it: what its docs page shows, and what a Bento carries."""

from typing import Any

import attr
from bentoml._internal.service.openapi.specification import OpenAPISpecification, PathItem, Tag

from jubako.protocols.rest import openapi


def with_v2(specification: OpenAPISpecification) -> OpenAPISpecification:
    """Return BentoML's document of its own pages and the service's API, with the calls of `/v2` behind them."""
    components: Any = specification.components or {}  # a plain dictionary, whatever its type says
    merged: Any = {**components, "schemas": {**components.get("schemas", {}), **openapi.components()}}
    return attr.evolve(
        specification,
        openapi=openapi.OPENAPI,
        tags=[*(specification.tags or []), *(Tag(**tag) for tag in openapi.tags())],
        paths={**specification.paths, **{path: PathItem(**item) for path, item in openapi.paths().items()}},
        components=merged,
    )
