import os
import sys
from pathlib import Path

import pytest

from jubako.errors import Internal, InvalidArgument, JubakoError, NotFound, Unsupported
from jubako.storage import FileInfo, LocalStorage, open_storage


def _write(root: Path, path: str, content: str = "x") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def test_folders_are_those_of_one_level_in_order_links_and_hidden_ones_included(tmp_path: Path) -> None:
    for path in ("m/10/a", "m/2/b", "m/.hidden/c", "m/file", "elsewhere/d"):
        _write(tmp_path, path)
    (tmp_path / "m" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "m" / "dangling").symlink_to(tmp_path / "nothing")

    assert LocalStorage(tmp_path).folders("m") == [".hidden", "10", "2", "linked"]


def test_files_are_found_at_any_depth_with_size_and_time(tmp_path: Path) -> None:
    file = _write(tmp_path, "m/1/variables/weights", "12345")
    _write(tmp_path, "m/1/model.py", "12")
    os.utime(file, ns=(7, 1_234_567_890))

    found = LocalStorage(tmp_path).files("m/1")

    assert [(file.path, file.size) for file in found] == [("model.py", 2), ("variables/weights", 5)]
    assert found[1].mtime_ns == 1_234_567_890


def test_links_are_followed_but_not_round_in_a_circle(tmp_path: Path) -> None:
    _write(tmp_path, "data/weights")
    _write(tmp_path, "m/1/model.onnx")
    (tmp_path / "m" / "1" / "data").symlink_to(tmp_path / "data")
    (tmp_path / "m" / "1" / "again").symlink_to(tmp_path / "m")

    assert [file.path for file in LocalStorage(tmp_path).files("m")] == ["1/data/weights", "1/model.onnx"]


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path, "m/1/model.onnx")
    os.mkfifo(tmp_path / "m" / "1" / "pipe")

    assert [file.path for file in LocalStorage(tmp_path).files("m/1")] == ["model.onnx"]
    assert LocalStorage(tmp_path).stat("m/1/pipe") is None


def test_a_link_to_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    _write(tmp_path, "m/1/model.onnx")
    (tmp_path / "m" / "1" / "weights").symlink_to(tmp_path / "nothing")

    with pytest.raises(NotFound, match=r"^failed to read 'm/1/weights' in the model repository: No such file"):
        LocalStorage(tmp_path).files("m/1")


def test_stat_and_text_of_one_file(tmp_path: Path) -> None:
    _write(tmp_path, "m/config.pbtxt", "name: 'ä'")
    storage = LocalStorage(tmp_path)

    found = storage.stat("m/config.pbtxt")

    assert isinstance(found, FileInfo)
    assert (found.path, found.size) == ("m/config.pbtxt", 10)
    assert storage.read_text("m/config.pbtxt") == "name: 'ä'"
    assert storage.stat("m/none") is None
    assert storage.stat("m/config.pbtxt/deeper") is None
    assert storage.stat("m") is None


def test_text_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_bytes(b"\xff")

    with pytest.raises(Internal, match=r"config.pbtxt is not UTF-8 text"):
        LocalStorage(tmp_path).read_text("config.pbtxt")


@pytest.mark.parametrize("ask", ["folders", "files", "read_text"])
def test_what_is_missing_is_named_relative_to_the_root(ask: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as failure:
        getattr(LocalStorage(tmp_path), ask)("m/1")

    assert str(failure.value) == "failed to read 'm/1' in the model repository: No such file or directory"


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take names in UTF-8 only")
def test_names_that_are_no_text_are_errors_and_not_crashes(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/caf\xe9/1")
    _write(tmp_path, "m/1/model.onnx")
    with open(os.fsencode(tmp_path) + b"/m/1/caf\xe9", "wb"):
        pass
    storage = LocalStorage(tmp_path)

    assert storage.folders("") == ["caf�", "m"]
    with pytest.raises(NotFound):
        storage.folders("caf�")
    with pytest.raises(Internal, match="is not UTF-8"):
        storage.files("m/1")


def test_a_file_behind_a_link_that_leads_out_is_not_contained(tmp_path: Path) -> None:
    _write(tmp_path, "secret")
    _write(tmp_path, "m/..data/labels.txt")
    (tmp_path / "m" / "labels.txt").symlink_to("..data/labels.txt")
    (tmp_path / "m" / "stolen.txt").symlink_to("../secret")
    storage = LocalStorage(tmp_path)

    assert storage.contains("m", "m/labels.txt")
    assert not storage.contains("m", "m/stolen.txt")
    assert not storage.contains("m", "m/../secret")


def test_a_model_folder_that_is_a_link_contains_its_files(tmp_path: Path) -> None:
    _write(tmp_path, "elsewhere/labels.txt")
    (tmp_path / "m").symlink_to("elsewhere")

    assert LocalStorage(tmp_path).contains("m", "m/labels.txt")


def test_a_copy_has_the_same_bytes_and_is_a_file_of_its_own(tmp_path: Path) -> None:
    _write(tmp_path, "repository/m/1/model.onnx", "bytes")
    storage = LocalStorage(tmp_path / "repository")

    storage.copy_to("m/1/model.onnx", tmp_path / "copy")

    assert (tmp_path / "copy").read_text() == "bytes"
    assert storage.local_path("m/1/model.onnx").samefile(tmp_path / "repository" / "m" / "1" / "model.onnx")
    with pytest.raises(NotFound):
        storage.copy_to("m/1/none", tmp_path / "none")


def test_a_root_is_remembered_as_it_was_written_and_survives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "repository/m/1/model.onnx")
    monkeypatch.chdir(tmp_path)
    storage = open_storage("repository/")

    monkeypatch.chdir("/")

    assert storage.url == "repository/"
    assert storage.folders("") == ["m"]


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "file")

    for path in ("file", "nothing"):
        with pytest.raises(InvalidArgument, match=r"^repository path is not a valid directory"):
            open_storage(str(tmp_path / path))


@pytest.mark.parametrize("url", ["gs://bucket/path", "s3://bucket", "as://account/container"])
def test_cloud_storage_is_refused_by_name(url: str) -> None:
    with pytest.raises(Unsupported, match=url.split(":")[0] + ":// file-system not supported"):
        open_storage(url)


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(JubakoError, match="failed to read 'm' in the model repository: Permission denied"):
            LocalStorage(tmp_path).folders("m")
    finally:
        folder.chmod(0o700)
