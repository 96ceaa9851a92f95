"""The example repository, asked by the stock Triton client over real HTTP."""

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pytest
import tritonclient.http
from numpy.typing import NDArray

from e2e.models import EXAMPLES
from e2e.serving import Served, status
from models.digits_data import held_out
from models.digits_network import LABEL_FILE

pytestmark = pytest.mark.slow

WORDS = LABEL_FILE.decode().split()
PIECE = 60
"""Images a request: 360 are more than a batch of 64."""
Scores = NDArray[np.float32]


@pytest.fixture(scope="module")
def client(example: Served) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{example.port}") as made:
        yield made


def scores(client: Any, model: str, version: str = "", *, binary: bool = True, piece: int = PIECE) -> Scores:
    """The answer to all held-out images, in their order."""
    torchscript = model == "digits_torchscript"
    source, target = ("INPUT__0", "OUTPUT__0") if torchscript else ("IMAGE", "SCORES")
    answers = []
    for images in pieces(held_out().images, piece):
        given = tritonclient.http.InferInput(source, images.shape, "FP32")
        given.set_data_from_numpy(images, binary_data=binary)
        wanted = tritonclient.http.InferRequestedOutput(target, binary_data=binary)
        answers.append(client.infer(model, [given], model_version=version, outputs=[wanted]).as_numpy(target))
    return np.concatenate(answers)


A = TypeVar("A", bound=np.generic)


def pieces(array: NDArray[A], size: int) -> Iterator[NDArray[A]]:
    return (array[start : start + size] for start in range(0, len(array), size))


def accuracy(given: Scores) -> float:
    return float(np.mean(given.argmax(axis=1) == held_out().labels))


@cache
def expected_words() -> list[str]:
    return [WORDS[label] for label in held_out().labels]


def test_a_healthy_server_says_so_on_both_health_routes(example: Served) -> None:
    assert status(f"{example.url}/v2/health/live") == 200
    assert status(f"{example.url}/v2/health/ready") == 200


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize(
    ("model", "version"), [("digits", ""), ("digits", "1"), ("digits", "2"), ("digits_torchscript", "")]
)
def test_the_held_out_digits_are_read(client: Any, model: str, version: str, binary: bool) -> None:
    answer = scores(client, model, version, binary=binary)

    assert answer.shape == (360, 10)
    assert accuracy(answer) >= 0.97


def test_json_and_binary_tensors_give_the_same_scores(client: Any) -> None:
    np.testing.assert_array_equal(scores(client, "digits", binary=False), scores(client, "digits", binary=True))


def test_both_backends_agree_on_every_label_and_nearly_on_every_score(client: Any) -> None:
    onnx, torchscript = scores(client, "digits", "2"), scores(client, "digits_torchscript")

    np.testing.assert_array_equal(onnx.argmax(axis=1), torchscript.argmax(axis=1))
    np.testing.assert_allclose(onnx, torchscript, atol=1e-4)


def test_a_request_without_a_version_is_answered_by_the_newest(client: Any) -> None:
    newest = scores(client, "digits")

    np.testing.assert_array_equal(newest, scores(client, "digits", "2"))
    assert not np.array_equal(newest, scores(client, "digits", "1"))


@pytest.mark.parametrize(("model", "target"), [("digits", "SCORES"), ("digits_torchscript", "OUTPUT__0")])
@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_the_classification_extension_names_the_digits(client: Any, model: str, target: str, binary: bool) -> None:
    images = held_out().images[:PIECE]
    given = tritonclient.http.InferInput("IMAGE" if model == "digits" else "INPUT__0", images.shape, "FP32")
    given.set_data_from_numpy(images)
    wanted = tritonclient.http.InferRequestedOutput(target, class_count=2, binary_data=binary)

    classes = client.infer(model, [given], outputs=[wanted]).as_numpy(target)

    assert classes.shape == (PIECE, 2)
    read = [as_text(first).split(":") for first, _ in classes]
    assert np.mean([word == right for (_, _, word), right in zip(read, expected_words(), strict=False)]) >= 0.97
    assert all(WORDS[int(number)] == word for _, number, word in read)
    assert all(float(as_text(a).split(":")[0]) >= float(as_text(b).split(":")[0]) for a, b in classes)


def as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_a_model_without_a_configuration_is_completed_from_its_file(client: Any) -> None:
    config = client.get_model_config("digits_auto")

    assert config["name"] == "digits_auto"
    assert config["backend"] == "onnxruntime"
    assert config["max_batch_size"] == 4
    assert "dynamic_batching" in config
    assert [(one["name"], one["data_type"], one["dims"]) for one in config["input"]] == [
        ("IMAGE", "TYPE_FP32", [1, 8, 8])
    ]
    assert [(one["name"], one["data_type"], one["dims"]) for one in config["output"]] == [("SCORES", "TYPE_FP32", [10])]


def test_a_completed_model_answers_as_the_configured_one(client: Any) -> None:
    completed = scores(client, "digits_auto", piece=4)

    np.testing.assert_allclose(completed, scores(client, "digits"), atol=1e-5)


def test_metadata_tells_versions_and_shapes_with_the_batch_dimension(client: Any) -> None:
    assert client.get_model_metadata("digits") == {
        "name": "digits",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "SCORES", "datatype": "FP32", "shape": [-1, 10]}],
    }


def test_every_model_of_the_repository_is_ready(client: Any) -> None:
    index = client.get_model_repository_index()

    assert {row["name"] for row in index} == {path.name for path in EXAMPLES.iterdir()}
    assert {row["state"] for row in index} == {"READY"}
    assert all(client.is_model_ready(row["name"], row["version"]) for row in index)


@pytest.mark.parametrize("binary_out", [False, True], ids=["json out", "binary out"])
@pytest.mark.parametrize("binary_in", [False, True], ids=["json in", "binary in"])
def test_strings_of_any_alphabet_are_joined(client: Any, binary_in: bool, binary_out: bool) -> None:
    first = np.array([["お", "", "a\n"], ["½", "x" * 300, "\0"]], dtype=object)
    second = np.array([["弁当", "", "b"], ["¼", "y", '"']], dtype=object)
    given = [tritonclient.http.InferInput(name, [2, 3], "BYTES") for name in ("FIRST", "SECOND")]
    for tensor, texts in zip(given, (first, second), strict=True):
        tensor.set_data_from_numpy(texts, binary_data=binary_in)
    wanted = tritonclient.http.InferRequestedOutput("TEXT", binary_data=binary_out)

    joined = client.infer("strings", given, outputs=[wanted]).as_numpy("TEXT")

    assert [[as_text(text) for text in row] for row in joined] == [
        [f"{a} {b}" for a, b in zip(*row, strict=True)] for row in zip(first, second, strict=True)
    ]


def test_bytes_that_are_no_text_are_refused_by_the_name_of_their_input(client: Any) -> None:
    given = [tritonclient.http.InferInput(name, [1, 1], "BYTES") for name in ("FIRST", "SECOND")]
    for tensor in given:
        tensor.set_data_from_numpy(np.array([[b"\xff"]], dtype=object))

    with pytest.raises(tritonclient.utils.InferenceServerException, match=r"input 'FIRST'.*not valid UTF-8"):
        client.infer("strings", given)


@pytest.mark.parametrize("length", [1, 7, 1000])
@pytest.mark.parametrize("rows", [1, 16])
def test_vectors_of_any_length_are_summed_up(client: Any, length: int, rows: int) -> None:
    values = np.random.default_rng(length).normal(size=(rows, length)).astype(np.float32)
    given = tritonclient.http.InferInput("VALUES", values.shape, "FP32")
    given.set_data_from_numpy(values)

    answer = client.infer("summary", [given])

    share = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    for name, expected in {
        "SUM": values.sum(axis=1, keepdims=True),
        "MEAN": values.mean(axis=1, keepdims=True),
        "MAX": values.max(axis=1, keepdims=True),
        "SHARE": share,
    }.items():
        np.testing.assert_allclose(answer.as_numpy(name), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_the_client_may_compress_both_ways(client: Any, coding: str) -> None:
    values = np.ones((4, 1000), dtype=np.float32)
    given = tritonclient.http.InferInput("VALUES", values.shape, "FP32")
    given.set_data_from_numpy(values)

    answer = client.infer(
        "summary", [given], request_compression_algorithm=coding, response_compression_algorithm=coding
    )

    np.testing.assert_allclose(answer.as_numpy("SUM"), np.full((4, 1), 1000.0))
    assert answer.get_response()["model_name"] == "summary"
