"""How long to look for trouble: a moment with every run of the tests, minutes with `make fuzz`."""

import os
import time
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, settings

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "0"))
"""For all of the fuzz tests together; 0 stands for as few examples as each names."""
ROUND: Final = 100
"""Examples between two looks at the clock."""
PATIENCE_S: Final = 10.0
"""A server that says nothing for so long hangs."""


def explore(law: Callable[[], None], *, examples: int, share: float) -> None:
    """Try a law (a function with `@given`) on `examples` examples, or on more and more for `share` of the time."""
    tried = settings(
        max_examples=ROUND if SECONDS else examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )(law)
    end_s = time.monotonic() + share * SECONDS
    tried()
    while time.monotonic() < end_s:
        tried()
