"""Models that cannot be served, among models that can."""

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http

from e2e.models import copy_examples
from e2e.serving import Serve, Served, status, wait_until

pytestmark = pytest.mark.slow

Break = Callable[[Path], object]


def edit(folder: Path, pattern: str, replacement: str) -> None:
    """Change one place of a model's configuration."""
    config = folder / "config.pbtxt"
    text, found = re.subn(pattern, replacement, config.read_text())
    assert found == 1
    config.write_text(text)


def edited(pattern: str, replacement: str) -> Break:
    return lambda folder: edit(folder, pattern, replacement)


def holding(content: bytes) -> Break:
    return lambda folder: (folder / "1" / "model.onnx").write_bytes(content)


BREAKS: dict[str, tuple[Break, str]] = {
    "misspelt": (edited("size: 8", "size: eight"), "misspelt/config.pbtxt at line 6, column 17.*Couldn't parse"),
    "unparsable": (edited(r"\]\noutput", "output"), "unparsable/config.pbtxt at line 11, column 1"),
    "renamed": (edited('name: "renamed"', 'name: "else"'), "unexpected directory name 'renamed' for model 'else'"),
    "noise": (holding(b"no model at all"), "Load model from model.onnx failed:Protobuf parsing failed"),
    "hollow": (holding(b""), "Load model from model.onnx failed"),
    "missing": (lambda folder: (folder / "1" / "model.onnx").unlink(), "unable to find '1/model.onnx'"),
    "without_gpu": (edited("KIND_CPU", "KIND_GPU"), "without_gpu has kind KIND_GPU but no GPUs are available"),
    "other_input": (edited('"INPUT1"', '"INPUT2"'), "unexpected inference input 'INPUT2', allowed inputs are"),
    "other_shape": (edited(r'("INPUT1".*)\[ 16 \]', r"\1[ 17 ]"), r"'INPUT1': .* complete shape \[-1,17\]"),
    "unknown_backend": (edited("onnxruntime", "fortran"), "unable to find backend library for backend 'fortran'"),
}
"""By name of the model: how `simple` is made into it, and what its reason says."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`simple`, `digits` whose second version is damaged, and every kind of broken model."""
    folder = copy_examples(tmp_path_factory.mktemp("repository"), "simple", "digits")
    (folder / "digits" / "2" / "model.onnx").write_bytes(b"no model at all")
    for name, (breaking, _) in BREAKS.items():
        (folder / "simple").rename(folder / name)  # copies under another name
        copy_examples(folder, "simple")
        edit(folder / name, 'name: "simple"', f'name: "{name}"')
        breaking(folder / name)
    return folder


@pytest.fixture(scope="module")
def strict(repository: Path, served_for_all: Serve) -> Served:
    """The server of that repository, on a machine without GPUs."""
    server = served_for_all(repository, environment={"CUDA_VISIBLE_DEVICES": "-1"}, wait="/v2/models/simple/ready")
    wait_until(lambda: "LOADING" not in {row["state"] for row in index(server)}, what="the end of loading")
    return server


def index(server: Served) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"{server.url}/v2/repository/index", method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        rows: list[dict[str, Any]] = json.load(response)
        return rows


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_model_is_unavailable_and_its_reason_is_in_index_and_log(strict: Served, name: str) -> None:
    (row,) = [row for row in index(strict) if row["name"] == name]

    assert row["state"] == "UNAVAILABLE"
    assert re.search(BREAKS[name][1], row["reason"]), row["reason"]
    (line, *_) = [line for line in strict.output().splitlines() if re.match(r"E\d{4} ", line) and f"'{name}'" in line]
    assert f"failed to load '{name}'" in line
    assert re.search(BREAKS[name][1], line), line
    assert status(f"{strict.url}/v2/models/{name}/ready") != 200


def test_no_reason_tells_where_files_are_on_the_machine(strict: Served, repository: Path) -> None:
    reasons = [row.get("reason", "") for row in index(strict)]

    assert [reason for reason in reasons if str(repository) in reason or str(strict.home) in reason] == []


def test_a_broken_version_leaves_the_others_of_its_model(strict: Served) -> None:
    states = {row["version"]: row["state"] for row in index(strict) if row["name"] == "digits"}

    assert states == {"1": "READY", "2": "UNAVAILABLE"}
    assert status(f"{strict.url}/v2/models/digits/ready") == 200
    assert status(f"{strict.url}/v2/models/digits/versions/2/ready") == 503


def test_the_models_that_are_whole_answer(strict: Served) -> None:
    vector = np.arange(16, dtype=np.int32).reshape(1, 16)
    given = [tritonclient.http.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    for tensor in given:
        tensor.set_data_from_numpy(vector)

    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{strict.port}") as client:
        answer = client.infer("simple", given)

    np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), 2 * vector)


def test_with_strict_readiness_no_health_route_calls_the_server_ready(strict: Served) -> None:
    assert status(f"{strict.url}/v2/health/live") == 200
    assert status(f"{strict.url}/v2/health/ready") == 503
    assert status(f"{strict.url}/readyz") == 503
    assert status(f"{strict.url}/livez") == 200


def test_without_strict_readiness_the_server_is_ready_all_the_same(repository: Path, served: Serve) -> None:
    lenient = served(
        repository, environment={"CUDA_VISIBLE_DEVICES": "-1"}, strict_readiness="false", wait="/v2/health/ready"
    )

    assert status(f"{lenient.url}/readyz") == 200
    assert {row["state"] for row in index(lenient)} == {"READY", "UNAVAILABLE"}
