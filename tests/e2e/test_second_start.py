"""What a second start leaves as it is: everything that the first has stored."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from e2e.models import EXAMPLES
from e2e.serving import PROJECT, Serve, Served, clean_environment, status

pytestmark = pytest.mark.slow

EXAMPLE_VERSIONS = sum(path.name.isdigit() for path in EXAMPLES.glob("*/*"))


def listed(home: Path) -> list[dict[str, Any]]:
    """What `bentoml models list` prints, by tag."""
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "models", "list", "-o", "json"],
        cwd=PROJECT,
        env=clean_environment(home),
        capture_output=True,
        check=True,
    )
    return sorted(json.loads(done.stdout), key=lambda row: str(row["tag"]))


def stored(home: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of modification of every file and folder in the model store."""
    models = home / "models"
    found = {path.relative_to(models).as_posix(): path.stat() for path in models.rglob("*")}
    return {name: (one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found.items()}


def test_a_second_start_stores_nothing_again(example: Served, served: Serve) -> None:
    before = listed(example.home), stored(example.home)
    started_ns = time.time_ns()

    second = served(EXAMPLES, home=example.home, wait="/v2/health/live")

    assert second.process.poll() is None
    assert status(f"{second.url}/v2/health/live") == 200
    assert second.stop() == 0
    assert "imported '" in example.output()
    assert "imported '" not in second.output()
    after = listed(example.home), stored(example.home)
    assert after == before
    assert len(after[0]) == EXAMPLE_VERSIONS
    assert all(modified_ns < started_ns for _, _, modified_ns in after[1].values())
