"""docs/metrics.md has every family, and no other."""

import re
from pathlib import Path

from .test_page import CACHE, CACHED, CACHED_SUMMARIES, CPU, GPU, OURS, PER_MODEL, SUMMARIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_document_has_every_family_with_its_type() -> None:
    table = DOCUMENT.read_text().partition("checked by tests/metrics/test_documented.py -->")[2].partition("<!--")[0]

    documented = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE))

    known = PER_MODEL | SUMMARIES | OURS | CPU | GPU | {"nv_inference_first_response_histogram_ms": "histogram"}
    known |= CACHED | CACHED_SUMMARIES | CACHE
    known["jubako_rejected_total"] = known.pop("jubako_rejected")
    assert documented == known
