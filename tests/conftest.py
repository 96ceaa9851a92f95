"""What tests of several folders share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fakes import LANES, FakeModel, Served, serving
from hypothesis import HealthCheck, settings

# A configuration has a hundred fields and a busy machine is slow: time says nothing of correctness.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    """Over which lane inference goes: inside uvicorn's protocol, or through ASGI alone."""
    return str(request.param)


@pytest.fixture
def serve(lane: str, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start servers of fake models over `lane`; each is stopped at the end of the test."""
    with ExitStack() as servers:
        count = 0

        def start(models: dict[str, FakeModel], **options: Any) -> Served:
            nonlocal count
            count += 1
            return servers.enter_context(serving(lane, tmp_path / str(count), models, **options))

        yield start
