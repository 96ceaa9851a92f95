from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.labels import label_paths, read_labels
from jubako.config.parse import parse_text
from jubako.errors import Internal, JubakoError, Unsupported


def _config(filename: str) -> ModelConfig:
    return parse_text(f'name: "m" output {{ name: "y" label_filename: "{filename}" }} output {{ name: "z" }}', "m")


def test_each_line_is_the_label_of_its_number(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("zero\none two\r\n\ndrei ä\n".encode())

    assert read_labels(_config("labels.txt"), tmp_path) == {"y": ("zero", "one two", "", "drei ä")}


def test_the_last_line_needs_no_newline_and_an_empty_file_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb")
    (tmp_path / "empty.txt").write_text("")

    assert read_labels(_config("labels.txt"), tmp_path) == {"y": ("a", "b")}
    assert read_labels(_config("empty.txt"), tmp_path) == {"y": ()}


def test_a_label_file_may_lie_deeper_in_the_model_s_folder(tmp_path: Path) -> None:
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "labels.txt").write_text("a\n")

    assert read_labels(_config("1/../classes/./labels.txt"), tmp_path) == {"y": ("a",)}
    assert label_paths(_config("1/../classes/./labels.txt"), "m") == {"y": "classes/labels.txt"}


@pytest.mark.parametrize("filename", ["../labels.txt", "/etc/passwd", "classes/../../labels.txt", "..", "."])
def test_a_label_file_outside_the_model_s_folder_is_refused(filename: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as refusal:
        read_labels(_config(filename), tmp_path)

    assert str(refusal.value) == f"label file path '{filename}' for output 'y' in model 'm' is outside model directory"


def test_a_link_out_of_the_model_s_folder_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.mkdir()
    (tmp_path / "secret").write_text("secret\n")
    (model / "labels.txt").symlink_to(tmp_path / "secret")

    with pytest.raises(Unsupported, match="is outside model directory"):
        read_labels(_config("labels.txt"), model)


def test_a_missing_label_file_fails_the_load_without_naming_this_machine_s_folders(tmp_path: Path) -> None:
    with pytest.raises(Internal) as failure:
        read_labels(_config("labels.txt"), tmp_path)

    assert str(failure.value) == "failed to open text file for read m/labels.txt: No such file or directory"


@pytest.mark.parametrize("content", [b"caf\xe9\n", b"\xff\xfe"])
def test_labels_that_are_no_text_fail_the_load(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)

    with pytest.raises(JubakoError, match=r"label file m/labels.txt is not UTF-8 text"):
        read_labels(_config("labels.txt"), tmp_path)


def test_two_label_files_for_one_output_are_refused() -> None:
    config = parse_text('output { name: "y" label_filename: "a" } output { name: "y" label_filename: "b" }', "m")

    with pytest.raises(Internal, match="multiple label files for 'y'"):
        label_paths(config, "m")
