"""The committed repository as a whole: configurations agree with files, it is small, and the recipes write it."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from models.folder import write_model

PROJECT = Path(__file__).resolve().parents[2]
REPOSITORY = PROJECT / "repository"
PIPELINE = {"digits_normalise", "digits_label", "digits_pipeline"}
MODELS = {"simple", "digits", "digits_torchscript", "digits_auto", "strings", "summary", *PIPELINE}
CONFIGURED = sorted(MODELS - {"digits_auto"})
ONNX_FILES = sorted(REPOSITORY.rglob("model.onnx"))


def config_of(model: str) -> ModelConfig:
    return text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), ModelConfig())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def signature(session: onnxruntime.InferenceSession) -> Iterator[tuple[str, int, list[int]]]:
    """Yield each tensor's name, config datatype and dims, as a batching model's config.pbtxt should have them."""
    numbers = {
        "tensor(float)": model_config_pb2.TYPE_FP32,
        "tensor(uint8)": model_config_pb2.TYPE_UINT8,
        "tensor(int32)": model_config_pb2.TYPE_INT32,
        "tensor(string)": model_config_pb2.TYPE_STRING,
    }
    for tensor in (*session.get_inputs(), *session.get_outputs()):
        batch, *dims = (size if isinstance(size, int) else -1 for size in tensor.shape)
        assert batch == -1
        yield tensor.name, numbers[tensor.type], dims


def test_the_repository_holds_the_example_models_and_nothing_else() -> None:
    assert {path.name for path in REPOSITORY.iterdir()} == MODELS


def test_the_repository_is_under_a_megabyte() -> None:
    assert sum(map(len, contents(REPOSITORY).values())) < 1_000_000


@pytest.mark.parametrize("model", CONFIGURED)
def test_a_configuration_bears_its_folders_name_and_batches(model: str) -> None:
    config = config_of(model)

    assert config.name == model
    assert config.max_batch_size > 1


@pytest.mark.parametrize("model", sorted(set(CONFIGURED) - {"digits_torchscript", "digits_pipeline"}))
def test_a_configuration_has_the_tensors_of_each_of_its_files(model: str) -> None:
    config = config_of(model)
    configured = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in (*config.input, *config.output)]

    for file in (REPOSITORY / model).rglob("model.onnx"):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        assert list(signature(session)) == configured


def test_all_versions_of_digits_are_served() -> None:
    assert config_of("digits").version_policy.WhichOneof("policy_choice") == "all"
    assert {path.name for path in (REPOSITORY / "digits").iterdir() if path.is_dir()} == {"1", "2"}


@pytest.mark.parametrize("file", ONNX_FILES, ids=lambda file: file.relative_to(REPOSITORY).as_posix())
def test_an_onnx_file_is_one_that_the_oldest_supported_onnxruntime_reads(file: Path) -> None:
    model = onnx.load(file, load_external_data=False)

    assert model.ir_version <= 10
    assert all(opset.version <= 21 for opset in model.opset_import)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def unpacked(path: Path) -> bytes:
    """The bytes of a file, or of all records of an archive, which may be compressed."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(map(archive.read, archive.namelist()))


def test_no_file_tells_where_it_was_made() -> None:
    origins = (b"site-packages", b"models/digits_network.py", str(PROJECT).encode())

    files = [path for path in REPOSITORY.rglob("*") if path.is_file()]

    assert [path for path in files if any(origin in unpacked(path) for origin in origins)] == []


def test_writing_a_model_again_leaves_unchanged_files_alone_and_removes_stale_ones(tmp_path: Path) -> None:
    write_model("m", {"config.pbtxt": b"a", "1/model.onnx": b"b", "3/old/model.onnx": b"c"}, tmp_path)
    os.utime(tmp_path / "m/config.pbtxt", (1, 1))

    write_model("m", {"config.pbtxt": b"a", "1/model.onnx": b"changed"}, tmp_path)

    assert contents(tmp_path) == {"m/config.pbtxt": b"a", "m/1/model.onnx": b"changed"}
    assert (tmp_path / "m/config.pbtxt").stat().st_mtime == 1
    assert not (tmp_path / "m/3").exists()


def test_a_recipe_runs_as_a_file_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "models/simple.py"), "--repository", str(tmp_path)]

    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)

    assert contents(tmp_path / "simple") == contents(REPOSITORY / "simple")


def make_all(repository: Path, hash_seed: int) -> dict[str, bytes]:
    """Make every model in a fresh process; the files by path."""
    subprocess.run(
        [sys.executable, "-m", "models", "--repository", str(repository)],
        check=True,
        cwd=PROJECT,
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
    )
    return contents(repository)


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository made anew."""
    repository = tmp_path_factory.mktemp("remade")
    make_all(repository, hash_seed=1)
    return repository


@pytest.mark.slow
def test_all_recipes_make_the_same_bytes_in_another_process(remade: Path, tmp_path: Path) -> None:
    assert make_all(tmp_path, hash_seed=2) == contents(remade)


@pytest.mark.slow
def test_what_torch_does_not_export_is_remade_byte_for_byte(remade: Path) -> None:
    def by_hand(repository: Path) -> dict[str, bytes]:
        exported = ("digits/1/", "digits/2/", "digits_auto/1/", "digits_torchscript/1/")
        return {path: content for path, content in contents(repository).items() if not path.startswith(exported)}

    assert by_hand(remade) == by_hand(REPOSITORY)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["digits/1/model.onnx", "digits/2/model.onnx", "digits_auto/1/model.onnx"])
def test_an_exported_graph_is_remade_with_the_same_weights(remade: Path, file: str) -> None:
    def weights(repository: Path) -> dict[str, Any]:
        graph = onnx.load(repository / file).graph
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}

    committed, made = weights(REPOSITORY), weights(remade)

    names = [name for name in committed if name.endswith((".weight", ".bias"))]
    assert len(names) == 6
    for name in names:
        np.testing.assert_array_equal(made[name], committed[name])


@pytest.mark.slow
def test_the_torchscript_file_is_remade_with_the_same_weights(remade: Path) -> None:
    def weights(repository: Path) -> dict[str, torch.Tensor]:
        with pytest.warns(DeprecationWarning, match="load"):
            network = torch.jit.load(repository / "digits_torchscript/1/model.pt")  # type: ignore[no-untyped-call]
        return dict(network.state_dict())

    committed, made = weights(REPOSITORY), weights(remade)

    assert made.keys() == committed.keys()
    assert all(torch.equal(made[name], committed[name]) for name in committed)
