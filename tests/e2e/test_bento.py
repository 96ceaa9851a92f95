"""A Bento of the service holds the package and the models: it needs neither the repository nor an installed jubako."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.serving import PROJECT, Serve, Served, clean_environment, status

pytestmark = pytest.mark.slow

ONES = [1] * 16
REQUEST = {
    "inputs": [
        {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": list(range(16))},
        {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": ONES},
    ]
}
BROKEN_CONFIG = """
backend: "onnxruntime"
input { name: "X" data_type: TYPE_FP32 dims: 1 }
output { name: "Y" data_type: TYPE_FP32 dims: 1 }
"""


@dataclass(frozen=True, slots=True)
class Built:
    """A Bento in the store of `home`, made from a repository that is gone."""

    tag: str
    home: Path

    @property
    def folder(self) -> Path:
        name, _, version = self.tag.partition(":")
        return self.home / "bentos" / name / version


def bentoml(*words: str, home: Path, cwd: Path = PROJECT) -> str:
    """Run `bentoml` and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", *words],
        cwd=cwd,
        env=clean_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(home: Path, repository: Path, **arguments: object) -> Built:
    """Build a Bento of the models in `repository`."""
    given = [part for name, value in arguments.items() for part in ("--arg", f"{name}={value}")]
    printed = bentoml("build", "--output", "tag", "--arg", f"model_repository={repository}", *given, home=home)
    return Built(printed.strip().splitlines()[-1].removeprefix("__tag__:"), home)


def infer(server: Served, model: str = "simple") -> dict[str, list[int]]:
    """Return the outputs of one inference by name."""
    request = urllib.request.Request(f"{server.url}/v2/models/{model}/infer", json.dumps(REQUEST).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        return {output["name"]: output["data"] for output in json.load(response)["outputs"]}


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A Bento with one good model and one that never loads, built with `strict_readiness=false`."""
    folder = tmp_path_factory.mktemp("bento")
    repository = folder / "repository"
    shutil.copytree(PROJECT / "repository" / "simple", repository / "simple")
    (repository / "broken" / "1").mkdir(parents=True)
    (repository / "broken" / "config.pbtxt").write_text(BROKEN_CONFIG)
    (repository / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    built = build(folder / "home", repository, strict_readiness="false")
    shutil.rmtree(repository)
    return built


def test_a_bento_holds_the_package_and_names_its_models_and_nothing_else_comes_along(bento: Built) -> None:
    source = bento.folder / "src"
    manifest = json.loads(bentoml("get", bento.tag, "--output", "json", home=bento.home))

    assert (source / "jubako" / "bundle" / "app.py").is_file()
    assert {entry.name for entry in source.iterdir()} <= {
        "service.py",
        "jubako",
        "README.md",
        "LICENSE",
        "bentofile.yaml",
    }
    assert sorted(model["tag"].partition(":")[0] for model in manifest["services"][0]["models"]) == ["broken", "simple"]


def test_a_bento_of_onnx_models_does_not_ask_for_torch(bento: Built) -> None:
    requirements = (bento.folder / "env" / "python" / "requirements.txt").read_text()

    assert "onnxruntime" in requirements
    assert "torch" not in requirements


def test_a_bento_serves_from_an_empty_folder_where_jubako_is_not_installed(
    bento: Built, bare_python: Path, empty: Path, served: Serve
) -> None:
    server = served(None, target=bento.tag, home=bento.home, cwd=empty, python=bare_python)

    assert infer(server) == {"OUTPUT0": list(range(1, 17)), "OUTPUT1": list(range(-1, 15))}
    assert f"from {bento.folder / 'src' / 'jubako'}" in server.output()
    assert "2 model versions come from the Bento" in server.output()


def test_an_exported_bento_serves_from_another_store_with_the_same_answers(
    bento: Built, bare_python: Path, empty: Path, tmp_path: Path, served: Serve
) -> None:
    elsewhere = tmp_path / "elsewhere"
    bentoml("export", bento.tag, str(tmp_path / "jubako.bento"), home=bento.home)
    bentoml("import", str(tmp_path / "jubako.bento"), home=elsewhere)

    server = served(None, target=bento.tag, home=elsewhere, cwd=empty, python=bare_python)

    assert infer(server) == {"OUTPUT0": list(range(1, 17)), "OUTPUT1": list(range(-1, 15))}
    assert f"from {elsewhere / 'bentos'}" in server.output()


def test_the_environment_overrides_what_a_bento_was_built_with(bento: Built, empty: Path, served: Serve) -> None:
    as_built = served(None, target=bento.tag, home=bento.home, cwd=empty)
    overridden = served(
        None,
        target=bento.tag,
        home=bento.home,
        cwd=empty,
        environment={"JUBAKO_STRICT_READINESS": "true"},
        wait="/v2/models/simple/ready",
    )

    assert status(as_built.url + "/readyz") == 200  # without strict readiness a broken model does not count
    assert "strict_readiness=false (argument)" in as_built.output()
    assert status(overridden.url + "/readyz") == 503
    assert "strict_readiness=true (environment)" in overridden.output()


def test_a_bento_serves_another_repository_when_the_environment_names_one(
    bento: Built, empty: Path, served: Serve
) -> None:
    server = served(
        None,
        target=bento.tag,
        home=bento.home,
        cwd=empty,
        environment={"JUBAKO_MODEL_REPOSITORY": os.fspath(PROJECT / "repository"), "JUBAKO_ID": "other"},
        wait="/v2/models/strings/ready",
    )

    assert status(server.url + "/v2/models/simple/ready") == 200
    assert status(server.url + "/v2/models/broken/ready") != 200
    assert "come from the model repository" in server.output()
