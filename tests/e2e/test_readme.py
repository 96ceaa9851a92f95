"""The quick start of the README does what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.serving import PROJECT, Served

pytestmark = pytest.mark.slow

TESTED = re.compile(r"^<!-- run by tests -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def quick_start() -> str:
    """The README's section of that name."""
    _, _, rest = (PROJECT / "README.md").read_text().partition("\n## Quick start\n")
    section, _, _ = rest.partition("\n## ")
    assert section
    return section


def code(language: str, server: Served) -> list[str]:
    """What the quick start says to run in `language`, to be run against `server`."""
    blocks = [text for word, text in TESTED.findall(quick_start()) if word == language]
    assert blocks
    ports = {"localhost:8000": server.port, "localhost:8001": server.grpc_port}
    for said, port in ports.items():
        blocks = [block.replace(said, f"127.0.0.1:{port}") for block in blocks]
    assert all("127.0.0.1:" in block for block in blocks)
    return blocks


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shell_commands_print_the_answer_that_is_shown(example: Served, tmp_path: Path) -> None:
    answers = [json.loads(run(["bash", "-euc", block], tmp_path)) for block in code("bash", example)]

    assert answers == [json.loads(shown) for shown in SHOWN.findall(quick_start())]


def test_the_python_code_runs_and_prints_three_classes_over_either_protocol(example: Served, tmp_path: Path) -> None:
    over_http, over_grpc = [run([sys.executable, "-c", block], tmp_path) for block in code("python", example)]

    assert len(re.findall(r"0\.\d+:\d:\w+|\de-\d+:\d:\w+", over_http)) == 3, over_http
    assert over_grpc == over_http
