"""An import that is killed, and imports that meet."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from store_samples import a_home, a_version, bentoml_store, contents, footprints, kill_at, leftovers, tags

from jubako.bundle.store import Home, Point, VersionFiles, import_all, import_version

# A fork server starts a process in milliseconds and, unlike a fork of this one, without its threads.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["jubako.bundle.store", "bentoml._internal.models.model"])

KILLS = list(Point)


def import_and_die(home: Home, found: Sequence[VersionFiles], point: Point) -> None:
    import_all(found, home, checkpoint=kill_at(point))


def killed_import(home: Home, found: Sequence[VersionFiles], point: Point) -> None:
    process = PROCESSES.Process(target=import_and_die, args=(home, found, point))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL  # the point was reached


@pytest.mark.parametrize("point", KILLS)
def test_a_killed_import_leaves_a_store_that_lists_and_the_next_one_completes_it(tmp_path: Path, point: Point) -> None:
    home, repository = a_home(tmp_path), tmp_path / "repository"
    old = import_version(a_version(repository, "digits", 1), home)
    found = [a_version(repository, "digits", 1), a_version(repository, "digits", 2), a_version(repository, "Strings")]

    killed_import(home, found, point)

    assert old.tag in tags(home)
    for model in bentoml_store(home).list():
        assert contents(Path(model.path)).keys() >= {"model.yaml", "jubako.json", "model/config.pbtxt"}
    assert bentoml_store(home).get("digits").tag.name == "digits"

    snapshot = import_all(found, home)

    assert sorted(tags(home)) == sorted(version.tag for version in snapshot.versions)
    for version, files in zip(snapshot.versions, found, strict=True):
        assert contents(version.root) == {name: source.read_bytes() for name, source in files.files}
    assert str(bentoml_store(home).get("digits").tag) == snapshot.versions[1].tag
    assert leftovers(home) == []


@pytest.mark.parametrize("point", KILLS[: KILLS.index(Point.ENTERED) + 1])
def test_a_killed_repair_leaves_a_store_that_the_next_one_repairs(tmp_path: Path, point: Point) -> None:
    home, repository = a_home(tmp_path), tmp_path / "repository"
    found = a_version(repository)
    stored = import_version(found, home)
    os.truncate(stored.root / "1/model.onnx", 10)

    killed_import(home, [found], point)

    assert tags(home) in ([stored.tag], [])
    assert import_version(found, home) == stored
    assert (stored.root / "1/model.onnx").read_bytes() == b"weights" * 1000
    assert tags(home) == [stored.tag]
    assert leftovers(home) == []


@pytest.mark.slow
@pytest.mark.parametrize("point", [Point.FILE_BEGUN, Point.ENTERED])
def test_the_command_line_lists_the_store_after_a_kill(tmp_path: Path, point: Point) -> None:
    home, repository = a_home(tmp_path), tmp_path / "repository"
    old = import_version(a_version(repository, "digits", 1), home)

    killed_import(home, [a_version(repository, "Strings")], point)

    listed = subprocess.run(
        [Path(sys.executable).parent / "bentoml", "models", "list", "-o", "json"],
        env=os.environ | {"BENTOML_HOME": str(home.root), "BENTOML_DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert old.tag in listed
    assert ("strings-" in listed) == (point == Point.ENTERED)


def import_and_tell(home: Home, found: Sequence[VersionFiles], start: Barrier, answer: Connection) -> None:
    start.wait(60)
    answer.send(import_all(found, home))
    answer.close()


def test_imports_of_the_same_repository_at_once_agree_and_copy_once(tmp_path: Path) -> None:
    home, repository = a_home(tmp_path), tmp_path / "repository"
    found = [a_version(repository, f"model_{index}") for index in range(5)]
    start = PROCESSES.Barrier(3)
    pipes = [PROCESSES.Pipe(duplex=False) for _ in range(3)]
    processes = [PROCESSES.Process(target=import_and_tell, args=(home, found, start, writer)) for _, writer in pipes]
    for process in processes:
        process.start()

    snapshots = [reader.recv() for reader, _ in pipes]

    for process in processes:
        process.join(60)
    assert snapshots[0] == snapshots[1] == snapshots[2]
    assert len(snapshots[0].versions) == len(tags(home)) == 5
    assert leftovers(home) == []
    before = footprints(home)
    import_all(found, home)
    assert footprints(home) == before
