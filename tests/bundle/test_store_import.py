import errno
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import bentoml
import pytest
from store_samples import a_home, a_version, bentoml_store, contents, footprints, leftovers, tags

from jubako.bundle.store import Home, Point, VersionFiles, import_all, import_version
from jubako.bundle.store.digests import Digests, stamp
from jubako.bundle.store.naming import tag_name
from jubako.errors import Unavailable


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return a_home(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def in_a_minute() -> int:
    """A clock by which every file of the test is old enough for its times to be believed."""
    return time.time_ns() + 60_000_000_000


def test_an_entry_holds_the_files_of_its_version(home: Home, repository: Path) -> None:
    found = a_version(repository, "digits", 2, {"labels.txt": b"zero\none", "2/data/weights.bin": b"\0" * 3_000_000})

    stored = import_version(found, home)

    assert contents(stored.root) == contents(repository / "digits")
    assert (stored.model, stored.version, stored.repository) == ("digits", 2, str(repository))
    assert tags(home) == [stored.tag] == [f"digits:2-{stored.digest[:16]}"]
    assert leftovers(home) == []


def test_bentoml_knows_the_true_names_of_an_entry(home: Home, repository: Path) -> None:
    stored = import_version(a_version(repository, "DenseNet.ONNX", 3), home)

    info = bentoml_store(home).get(stored.tag).info

    names = {"model": "DenseNet.ONNX", "repository": str(repository), "digest": stored.digest, "backend": "onnxruntime"}
    assert info.labels == names | {"version": "3"}
    assert info.metadata == {"jubako": names | {"version": 3, "files": 2, "bytes": 7022}}
    assert (info.module, info.context.framework_name, info.options.to_dict()) == ("jubako", "onnxruntime", {})


def test_a_file_of_the_model_cannot_pose_as_one_of_ours(home: Home, repository: Path) -> None:
    found = a_version(repository, files={"model.yaml": b"name: evil", "jubako.json": b"{}", "custom_objects.pkl": b"!"})

    stored = import_version(found, home)

    assert (stored.root / "model.yaml").read_bytes() == b"name: evil"
    assert bentoml_store(home).get(stored.tag).custom_objects == {}


@pytest.mark.parametrize("files", [0o755, 0o644])
def test_of_a_files_mode_the_right_to_execute_is_kept(home: Home, repository: Path, files: int) -> None:
    found = a_version(repository, files={"1/stub": b"#!"})
    (repository / "digits/1/stub").chmod(files)

    stored = import_version(found, home)

    assert os.access(stored.root / "1/stub", os.X_OK) == bool(files & 0o100)


def test_editing_the_users_file_in_place_does_not_change_the_entry(home: Home, repository: Path) -> None:
    stored = import_version(a_version(repository), home)

    with (repository / "digits/1/model.onnx").open("r+b") as file:
        file.write(b"CHANGED")

    assert (stored.root / "1/model.onnx").read_bytes() == b"weights" * 1000


def test_a_version_without_files_of_its_own_has_its_folder(home: Home, repository: Path) -> None:
    config = repository / "pipeline" / "config.pbtxt"
    config.parent.mkdir(parents=True)
    config.write_text('platform: "ensemble"')

    stored = import_version(VersionFiles("pipeline", 1, str(repository), [("config.pbtxt", config)]), home)

    assert (stored.root / "1").is_dir()


def test_a_second_import_touches_nothing_in_the_store(home: Home, repository: Path) -> None:
    found = [a_version(repository, "digits", 1), a_version(repository, "digits", 2), a_version(repository, "Strings")]
    first = import_all(found, home)
    before = footprints(home)

    second = import_all(found, home)

    assert second == first
    assert footprints(home) == before


OPENED = """
import sys
from pathlib import Path
from jubako.bundle.store import Home, VersionFiles, import_version

opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
repository, home = map(Path, sys.argv[1:])
files = [(name, repository / "digits" / name) for name in ("config.pbtxt", "1/model.onnx")]
import_version(VersionFiles("digits", 1, str(repository), files, "onnxruntime"), Home.at(home))
print(sum(name.endswith("model.onnx") for name in opened))
"""


def weights_opened_by_a_start(repository: Path, home: Home) -> int:
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(repository), str(home.root)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_second_start_reads_no_unchanged_weights_in_repository_or_store(home: Home, repository: Path) -> None:
    import_version(a_version(repository), home, now_ns=in_a_minute)

    assert weights_opened_by_a_start(repository, home) == 0

    home.digests.write_bytes(b"torn")
    assert weights_opened_by_a_start(repository, home) > 0  # or the line above would prove nothing


def test_a_changed_file_makes_a_new_entry_and_the_old_one_stays(home: Home, repository: Path) -> None:
    old = import_version(a_version(repository), home)
    before = contents(old.root)

    new = import_version(a_version(repository, files={"1/model.onnx": b"better"}), home)

    assert sorted(tags(home)) == sorted([old.tag, new.tag])
    assert contents(old.root) == before
    assert bentoml_store(home).get("digits").tag.version == new.tag.partition(":")[2]


@pytest.mark.parametrize("changed", ["config.pbtxt", "labels.txt"])
def test_configuration_and_labels_are_part_of_the_content(home: Home, repository: Path, changed: str) -> None:
    old = import_version(a_version(repository, files={"labels.txt": b"a"}), home)

    new = import_version(a_version(repository, files={"labels.txt": b"a"} | {changed: b"b"}), home)

    assert new.tag != old.tag


def test_the_same_bytes_elsewhere_are_the_same_entry(home: Home, tmp_path: Path) -> None:
    here = import_version(a_version(tmp_path / "here"), home)
    before = footprints(home)

    there = import_version(a_version(tmp_path / "there"), home)

    assert (there.tag, there.root, there.repository) == (here.tag, here.root, str(tmp_path / "there"))
    assert footprints(home) == before


def test_going_back_to_older_files_finds_their_entry(home: Home, repository: Path) -> None:
    old = import_version(a_version(repository), home)
    import_version(a_version(repository, files={"1/model.onnx": b"better"}), home)
    before = footprints(home)

    assert import_version(a_version(repository), home) == old
    assert footprints(home) == before


def test_names_that_bentoml_could_not_tell_apart_live_side_by_side(home: Home, repository: Path) -> None:
    models = ["A", "a", "DenseNet.ONNX", "densenet.onnx", "x" * 200, "x" * 199 + "y", "模型", tag_name("A")]

    snapshot = import_all([a_version(repository, model) for model in models], home)

    assert [version.model for version in snapshot.versions] == models
    assert len({version.root for version in snapshot.versions}) == len(set(tags(home))) == len(models)
    assert [bentoml_store(home).get(v.tag).info.labels["model"] for v in snapshot.versions] == models


def test_a_missing_file_breaks_its_model_and_no_other(home: Home, repository: Path) -> None:
    found = [a_version(repository, "bad", 1), a_version(repository, "bad", 2), a_version(repository, "good")]
    (repository / "bad/2/model.onnx").unlink()

    snapshot = import_all(found, home)

    assert [version.model for version in snapshot.versions] == ["good"]
    assert [(broken.model, broken.reason) for broken in snapshot.broken] == [
        ("bad", "file '2/model.onnx' cannot be read: No such file or directory")
    ]


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "1/../../outside", ""])
def test_a_path_that_leaves_the_model_is_refused(home: Home, repository: Path, name: str) -> None:
    (repository / "outside").parent.mkdir()
    (repository / "outside").write_bytes(b"secret")

    with pytest.raises(Unavailable, match="is not the relative path of a file"):
        import_version(VersionFiles("digits", 1, str(repository), [(name, repository / "outside")]), home)

    assert tags(home) == []


def test_a_file_that_changes_once_while_it_is_copied_is_imported_as_it_is_then(home: Home, repository: Path) -> None:
    found = a_version(repository)
    changes = [b"half", None]

    def change_once(point: Point) -> None:
        if point == Point.FILE_COPIED and changes and (content := changes.pop(0)):
            (repository / "digits/1/model.onnx").write_bytes(content)

    stored = import_version(found, home, checkpoint=change_once)

    assert (stored.root / "1/model.onnx").read_bytes() == b"half"
    assert tags(home) == [stored.tag]


def test_a_digest_that_is_remembered_wrongly_is_noticed_by_the_copy(
    home: Home, repository: Path, tmp_path: Path
) -> None:
    found = a_version(repository)
    digests = Digests(in_a_minute)
    digests.trust(repository / "digits/1/model.onnx", stamp(repository / "digits/1/model.onnx"), "0" * 64)
    home.digests.parent.mkdir()
    digests.save(home.digests)

    stored = import_version(found, home)

    assert stored.tag == import_version(found, a_home(tmp_path / "without a memory")).tag
    assert tags(home) == [stored.tag]


@pytest.mark.parametrize("moment", [Point.FILE_BEGUN, Point.FILE_COPIED])
def test_a_model_that_is_still_being_copied_is_broken_and_the_others_go_on(
    home: Home, repository: Path, moment: Point
) -> None:
    found = [a_version(repository, "growing"), a_version(repository, "good")]
    weights = repository / "growing/1/model.onnx"

    def grow(point: Point) -> None:
        if point == moment:
            with weights.open("ab") as file:
                file.write(b"more")

    snapshot = import_all(found, home, checkpoint=grow)

    assert [version.model for version in snapshot.versions] == ["good"]
    assert [broken.reason for broken in snapshot.broken] == [
        "file '1/model.onnx' changed while it was imported; load the model once its files are complete"
    ]
    assert len(tags(home)) == 1
    assert leftovers(home) == []


BEFORE_THE_ENTRY = list(Point)[list(Point).index(Point.STAGED) : list(Point).index(Point.ENTERED)]


@pytest.mark.parametrize("moment", BEFORE_THE_ENTRY)
def test_a_disk_that_is_full_leaves_no_half_entry(home: Home, repository: Path, moment: Point) -> None:
    found = [a_version(repository, "big"), a_version(repository, "small")]

    snapshot = import_all(found, home, checkpoint=full_disk(moment, times=1))

    assert [version.model for version in snapshot.versions] == ["small"]
    assert [broken.reason for broken in snapshot.broken] == [
        "version 1 cannot be copied into the model store: No space left on device"
    ]
    assert tags(home) == [snapshot.versions[0].tag]
    assert leftovers(home) == []
    assert len(import_all(found, home).versions) == 2


def full_disk(moment: Point, times: int) -> Callable[[Point], None]:
    left = [moment] * times

    def checkpoint(point: Point) -> None:
        if point in left:
            left.remove(point)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return checkpoint


def test_a_store_that_cannot_be_written_breaks_what_is_not_in_it(home: Home, repository: Path) -> None:
    there = import_version(a_version(repository, "there"), home)
    home.lock.unlink()
    home.lock.mkdir()

    snapshot = import_all([a_version(repository, "new"), a_version(repository, "there")], home)

    assert list(snapshot.versions) == [there]
    assert [broken.model for broken in snapshot.broken] == ["new"]
    assert snapshot.broken[0].reason.startswith("the model store cannot be written: ")


@pytest.mark.parametrize("damaged", ["model/1/model.onnx", "model/config.pbtxt", "model.yaml", "jubako.json"])
@pytest.mark.parametrize("how", ["truncated", "removed", "zeroed"])
def test_a_damaged_entry_is_imported_again(home: Home, repository: Path, damaged: str, how: str) -> None:
    found = a_version(repository)
    stored = import_version(found, home)
    entry = stored.root.parent
    whole = contents(stored.root)
    size = (entry / damaged).stat().st_size
    match how:
        case "truncated":
            os.truncate(entry / damaged, size // 2)
        case "removed":
            (entry / damaged).unlink()
        case "zeroed":
            (entry / damaged).write_bytes(bytes(size))

    again = import_version(found, home)

    assert again == stored
    assert contents(again.root) == whole
    assert tags(home) == [stored.tag]
    assert leftovers(home) == []


def test_damage_behind_the_back_of_every_stat_is_found_when_asked_for(home: Home, repository: Path) -> None:
    found = a_version(repository)
    stored = import_version(found, home)
    weights = stored.root / "1/model.onnx"
    rotten = bytes(7000)
    weights.write_bytes(rotten)
    remember_as_whole(home, weights)

    import_version(found, home)
    assert weights.read_bytes() == rotten

    import_version(found, home, thorough=True)
    assert weights.read_bytes() == b"weights" * 1000


def remember_as_whole(home: Home, weights: Path) -> None:
    """Make the digest cache believe that the file is what it was: what a rotten sector looks like from above."""
    digests = Digests(in_a_minute)
    digests.read(home.digests)
    source = weights.parent / "good"
    source.write_bytes(b"weights" * 1000)
    digests.trust(weights, stamp(weights), digests.of(source)[1])
    digests.save(home.digests)
    source.unlink()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"gone", b"..", b"../digits", b"\0", None])
def test_a_corrupted_latest_is_put_right(home: Home, repository: Path, content: bytes | None) -> None:
    found = [a_version(repository, "digits", 1), a_version(repository, "digits", 2)]
    snapshot = import_all(found, home)
    latest = home.models / "digits/latest"
    latest.unlink() if content is None else latest.write_bytes(content)

    import_all(found, home)

    assert str(bentoml_store(home).get("digits").tag) == snapshot.versions[1].tag
    assert latest.read_text() == snapshot.versions[1].tag.partition(":")[2]


def test_latest_stays_with_a_newer_model_of_the_users_own(
    home: Home, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "true")
    found = a_version(repository)
    import_version(found, home)
    with bentoml.models.create("digits:mine", _model_store=bentoml_store(home)):
        pass

    import_version(found, home)

    assert bentoml_store(home).get("digits").tag.version == "mine"


def test_a_start_with_nothing_to_import_does_not_wait_for_another_import(home: Home, repository: Path) -> None:
    there = a_version(repository, "there")
    stored = import_version(there, home)
    copying, go_on = threading.Event(), threading.Event()

    def pause(point: Point) -> None:
        if point == Point.FILE_COPIED:
            copying.set()
            go_on.wait(30)

    slow = threading.Thread(
        target=import_version, args=(a_version(repository, "slow"), home), kwargs={"checkpoint": pause}
    )
    slow.start()
    assert copying.wait(30)

    assert import_version(there, home) == stored  # would hang
    assert len(leftovers(home)) == 1  # and does not sweep what is still in the making

    go_on.set()
    slow.join(30)
    assert len(tags(home)) == 2


@pytest.mark.parametrize("known", [True, False])
def test_what_a_killed_import_left_is_swept_at_the_next_start(home: Home, repository: Path, known: bool) -> None:
    found = a_version(repository)
    if known:
        import_version(found, home)
    stale = home.staging / "jubako-import-x1y2" / "entry"
    stale.mkdir(parents=True)
    (stale / "model.onnx").write_bytes(b"half")
    (home.staging / "bentoml-build").mkdir()

    import_version(found, home)

    assert leftovers(home) == ["bentoml-build"]


def test_the_default_home_is_that_of_bentoml(tmp_path: Path, repository: Path) -> None:
    a_version(repository)
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from jubako.bundle.store import VersionFiles, import_version
        path = Path(sys.argv[1])
        print(import_version(VersionFiles("digits", 1, "r", [("config.pbtxt", path)])).root)
        """
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(repository / "digits/config.pbtxt")],
        env=os.environ | {"BENTOML_HOME": str(tmp_path / "bentoml")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "bentoml" / "models" / "digits")
