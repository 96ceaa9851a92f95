"""`python -m benchmarks --quick`: that it measures and checks, not how fast anything is."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]


def bench(tmp_path: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the benchmark; return how it ended, and its raw results."""
    output = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--output", str(output)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    return done, json.loads(output.read_text()) if output.exists() else {}


@pytest.mark.slow
def test_the_quick_benchmark_has_all_its_rows_and_every_answer_is_right(tmp_path: Path) -> None:
    done, result = bench(tmp_path, "--quick")

    assert done.returncode == 0, done.stderr
    assert [(row["workload"], row["connections"], row["server"]) for row in result["rows"]] == [
        (workload, connections, server)
        for workload, connections in (
            ("simple, binary", 1),
            ("simple, binary", 8),
            ("simple, binary", 32),
            ("simple, JSON", 8),
            ("digits, binary", 32),
            ("simple, gRPC", 16),
            ("simple, gRPC stream", 16),
        )
        for server in ("echo", "jubako")
    ]
    assert all(row["requests"] > 0 and row["wrong"] == 0 for row in result["rows"])
    assert all(row["mean_batch"] >= 1 and row["cpu_ratio"] > 0 for row in result["rows"] if row["server"] == "jubako")
    assert "built-in (asyncio sockets)" in result["header"]["load generator"]
    assert re.search(r"\| digits, binary +\| 32 \| jubako \|", done.stdout)
    assert {"decode simple, binary", "encode 12,288 floats, JSON"} <= {timing["name"] for timing in result["micro"]}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_benchmark_runs_with_wrk(tmp_path: Path) -> None:
    done, result = bench(
        tmp_path, "--quick", "--generator", "wrk", "--only", "simple, binary", "--connections", "8", "--no-micro"
    )

    assert done.returncode == 0, done.stderr
    assert "wrk" in result["header"]["load generator"]
    assert [row["wrong"] for row in result["rows"]] == [0, 0]


def test_without_wrk_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    done, _ = bench(tmp_path, "--generator", "wrk")

    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr


def test_the_documented_table_is_the_reference_result() -> None:
    reference = PROJECT / "benchmarks" / "results" / "reference.json"

    rendered = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--render", str(reference)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout

    assert rendered.strip() in (PROJECT / "docs" / "benchmarks.md").read_text()
