"""The ensemble of the example repository, asked by the stock Triton clients over HTTP and gRPC."""

import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray

from e2e.models import EXAMPLES, copy_examples
from e2e.serving import Serve, free_port
from models.digits_data import held_out
from models.digits_network import LABEL_FILE

pytestmark = pytest.mark.slow

WORDS = LABEL_FILE.decode().split()
PIECE = 60
"""Images a request: 360 are more than a batch of 64."""
MODELS = ("digits_pipeline", "digits_normalise", "digits_label", "digits")
Clients = dict[str, Any]


@pytest.fixture(scope="module")
def clients(served_for_all: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    repository = copy_examples(tmp_path_factory.mktemp("pipeline"), *MODELS)
    (repository / "digits_pipeline" / "1" / ".gitkeep").unlink()  # a version folder may be empty
    port = free_port()
    server = served_for_all(repository, grpc_port=port)
    with (
        tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}") as http,
        tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as grpc,
    ):
        yield {"http": http, "grpc": grpc, "url": server.url}


def pixels() -> NDArray[np.uint8]:
    """The held-out scans as a scanner gives them, from 0 (black) to 255 (white)."""
    return np.round(255 - held_out().images[:, 0] * 255 / 16).astype(np.uint8)


def ask(clients: Clients, protocol: str, images: NDArray[np.uint8], *outputs: str, classes: int = 0) -> Any:
    module = tritonclient.http if protocol == "http" else tritonclient.grpc
    given = module.InferInput("PIXELS", images.shape, "UINT8")
    given.set_data_from_numpy(images)
    wanted = [module.InferRequestedOutput(output, class_count=classes) for output in outputs]
    return clients[protocol].infer("digits_pipeline", [given], outputs=wanted or None)


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_ensemble_says_what_its_models_say_one_after_the_other(clients: Clients, protocol: str) -> None:
    images = pixels()
    ink = ((255 - images.astype(np.float32)) * np.float32(16 / 255))[:, None]
    direct = onnxruntime.InferenceSession(EXAMPLES / "digits/2/model.onnx", providers=["CPUExecutionProvider"])
    (expected,) = direct.run(["SCORES"], {"IMAGE": ink})

    answers = [ask(clients, protocol, images[start : start + PIECE]) for start in range(0, len(images), PIECE)]
    scores = np.concatenate([answer.as_numpy("SCORES") for answer in answers])
    labels = [text(label) for answer in answers for (label,) in answer.as_numpy("LABEL")]

    assert len(labels) == 360
    assert labels == [WORDS[digit] for digit in expected.argmax(axis=1)]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.mean(scores.argmax(axis=1) == held_out().labels) >= 0.97


def test_an_answer_says_which_sequence_it_is_of(clients: Clients) -> None:
    answer = ask(clients, "http", pixels()[:1]).get_response()

    assert answer["parameters"] == {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    assert (answer["model_name"], answer["model_version"]) == ("digits_pipeline", "1")


def test_what_is_not_asked_for_does_not_run(clients: Clients) -> None:
    def successes() -> list[int]:
        found = [clients["http"].get_inference_statistics(name)["model_stats"] for name in MODELS]
        return [sum(int(version["inference_stats"]["success"]["count"]) for version in stats) for stats in found]

    before = successes()
    ask(clients, "http", pixels()[:3], "SCORES")

    assert [after - b for b, after in zip(before, successes(), strict=True)] == [1, 1, 0, 1]


def test_the_scores_have_the_class_names_of_the_model_that_makes_them(clients: Clients) -> None:
    answer = ask(clients, "http", pixels()[:PIECE], "SCORES", classes=1).as_numpy("SCORES")

    for (entry,) in answer:
        _, number, word = text(entry).split(":")
        assert WORDS[int(number)] == word


def test_the_ensemble_shows_itself_as_triton_shows_one(clients: Clients) -> None:
    client = clients["http"]

    assert client.get_model_metadata("digits_pipeline")["platform"] == "ensemble"
    assert client.get_model_config("digits_pipeline")["instance_group"] == []
    assert client.is_model_ready("digits_pipeline")


def test_the_ensemble_has_metrics_of_its_own(clients: Clients) -> None:
    ask(clients, "http", pixels()[:1])

    with urllib.request.urlopen(clients["url"] + "/metrics") as page:
        lines = page.read().decode().splitlines()

    (line,) = (line for line in lines if line.startswith('nv_inference_exec_count{model="digits_pipeline"'))
    assert float(line.rpartition(" ")[2]) >= 1
