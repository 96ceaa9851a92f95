from pathlib import Path

import psutil

from jubako.bundle.memory import usable_bytes

MACHINE = psutil.virtual_memory().total


def test_a_container_has_what_its_limit_says(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n")

    assert usable_bytes((tmp_path / "nowhere", limit)) == 1 << 20


def test_without_a_limit_it_is_the_machines_memory(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")

    assert usable_bytes((limit,)) == MACHINE
