import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the level of our loggers back, which log settings change."""
    ours = logging.getLogger("jubako")
    before = ours.level
    yield
    ours.setLevel(before)
