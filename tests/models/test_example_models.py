"""The committed repository, model by model, run by onnxruntime and torch without any server."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc.model_config_pb2 import ModelConfig

from models.digits_data import held_out, training

REPOSITORY = Path(__file__).resolve().parents[2] / "repository"
DIGIT_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

Array = NDArray[Any]


def run_onnx(path: str, **inputs: Array) -> dict[str, Array]:
    """Run the model at `path` in the repository once; outputs by name."""
    session = onnxruntime.InferenceSession(REPOSITORY / path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def digits_scores(version: int, images: Array) -> Array:
    return run_onnx(f"digits/{version}/model.onnx", IMAGE=images)["SCORES"]


def torchscript_scores(images: Array) -> Array:
    with pytest.warns(DeprecationWarning, match="load"):
        network = torch.jit.load(REPOSITORY / "digits_torchscript/1/model.pt")  # type: ignore[no-untyped-call]
    return np.asarray(network(torch.tensor(images)))


def config_of(model: str) -> ModelConfig:
    return text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), ModelConfig())


def words(*rows: list[str]) -> Array:
    return np.array(rows, dtype=object)


def test_simple_adds_and_subtracts_each_row() -> None:
    first = np.arange(32, dtype=np.int32).reshape(2, 16)
    second = np.full((2, 16), 5, dtype=np.int32)

    outputs = run_onnx("simple/1/model.onnx", INPUT0=first, INPUT1=second)

    np.testing.assert_array_equal(outputs["OUTPUT0"], first + second)
    np.testing.assert_array_equal(outputs["OUTPUT1"], first - second)


def test_simple_wraps_around_as_int32_does() -> None:
    largest = np.full((1, 16), 2**31 - 1, dtype=np.int32)

    outputs = run_onnx("simple/1/model.onnx", INPUT0=largest, INPUT1=np.ones_like(largest))

    assert set(outputs["OUTPUT0"].ravel()) == {-(2**31)}


def test_the_held_out_scans_are_360_that_training_does_not_hold() -> None:
    learnt = {image.tobytes() for image in training().images}

    assert held_out().images.shape == (360, 1, 8, 8)
    assert held_out().images.max() == 16
    assert not learnt & {image.tobytes() for image in held_out().images}


@pytest.mark.parametrize("version", [1, 2])
def test_each_version_of_digits_reads_97_percent_of_the_held_out_scans(version: int) -> None:
    scores = digits_scores(version, held_out().images)

    assert np.mean(scores.argmax(axis=1) == held_out().labels) >= 0.97


def test_the_versions_of_digits_differ_in_width() -> None:
    sizes = [(REPOSITORY / f"digits/{version}/model.onnx").stat().st_size for version in (1, 2)]

    assert sizes[1] > 2 * sizes[0]


@pytest.mark.parametrize("version", [1, 2])
def test_a_scan_gets_the_same_scores_alone_and_in_a_batch_of_64(version: int) -> None:
    images = held_out().images[:64]

    alone = np.concatenate([digits_scores(version, image[None]) for image in images])

    np.testing.assert_allclose(digits_scores(version, images), alone, rtol=0, atol=1e-5)


def test_scores_are_probabilities() -> None:
    scores = digits_scores(2, held_out().images)

    assert scores.min() >= 0
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_torchscript_gives_the_answers_of_version_2() -> None:
    images = held_out().images

    expected, scores = digits_scores(2, images), torchscript_scores(images)

    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))


def test_torchscript_takes_any_batch() -> None:
    images = held_out().images

    alone = np.concatenate([torchscript_scores(images[row : row + 1]) for row in range(3)])

    np.testing.assert_allclose(torchscript_scores(images)[:3], alone, rtol=0, atol=1e-5)


def test_the_model_without_a_configuration_is_version_2_of_digits() -> None:
    folder = REPOSITORY / "digits_auto"

    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")] == ["1/model.onnx"]
    assert (folder / "1/model.onnx").read_bytes() == (REPOSITORY / "digits/2/model.onnx").read_bytes()


@pytest.mark.parametrize("model", ["digits", "digits_torchscript"])
def test_line_n_of_the_label_file_names_digit_n(model: str) -> None:
    label_file = REPOSITORY / model / config_of(model).output[0].label_filename

    assert label_file.read_text().splitlines() == DIGIT_WORDS


def test_strings_joins_element_by_element() -> None:
    first, second = words(["good", ""], ["", "日本"]), words(["morning", "x"], ["", "語"])

    text = run_onnx("strings/1/model.onnx", FIRST=first, SECOND=second)["TEXT"]

    assert text.tolist() == [["good morning", " x"], [" ", "日本 語"]]


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_summary_takes_vectors_of_any_length(length: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, length)).astype(np.float32)

    outputs = run_onnx("summary/1/model.onnx", VALUES=values)

    powers = np.exp(values.astype(np.float64))
    np.testing.assert_allclose(outputs["SUM"], values.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outputs["MEAN"], values.mean(axis=1, keepdims=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(outputs["MAX"], values.max(axis=1, keepdims=True))
    np.testing.assert_allclose(outputs["SHARE"], powers / powers.sum(axis=1, keepdims=True), rtol=1e-4)
