"""Several repositories, written as users write them."""

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from e2e.models import copy_examples
from e2e.serving import PROJECT, Serve, Served, status

pytestmark = pytest.mark.slow


def index(server: Served) -> dict[str, dict[str, Any]]:
    request = urllib.request.Request(f"{server.url}/v2/repository/index", method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        return {row["name"]: row for row in json.load(response)}


def test_two_repositories_one_of_them_relative_serve_what_is_not_in_both(tmp_path: Path, served: Serve) -> None:
    copy_examples(tmp_path / "first", "simple", "strings")
    copy_examples(tmp_path / "second", "summary", "strings")
    (tmp_path / "somewhere").mkdir()
    shutil.copy(PROJECT / "service.py", tmp_path / "somewhere")

    server = served(
        None,
        model_repository=f"../first,{tmp_path / 'second'}",
        cwd=tmp_path / "somewhere",
        wait="/v2/models/summary/ready",
    )

    rows = index(server)
    assert {name: row["state"] for name, row in rows.items()} == {
        "simple": "READY",
        "strings": "UNAVAILABLE",
        "summary": "READY",
    }
    assert rows["strings"]["reason"] == "model appears in two or more repositories"
    assert status(f"{server.url}/v2/health/ready") == 503
    assert sorted(path.name for path in (tmp_path / "somewhere").iterdir() if path.name != "__pycache__") == [
        "service.py"
    ]
