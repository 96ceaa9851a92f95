"""`jubako serve` in the place of `tritonserver`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import psutil
import pytest
import tritonclient.grpc

from e2e.serving import PROJECT, answers, clean_environment, free_port, status, stop_all, wait_until

pytestmark = pytest.mark.slow

Running = subprocess.Popen[bytes]


class Start(Protocol):
    """Runs `jubako serve` with the words given; what it writes goes to `log`."""

    log: Path

    def __call__(self, *words: str, cwd: Path, environment: Mapping[str, str] | None = None) -> Running:
        """Return at once."""


@pytest.fixture(scope="module")
def jubako(tmp_path_factory: pytest.TempPathFactory, bare_python: Path) -> Path:
    """The command, installed from a wheel into an environment that has nothing else of this project."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, PROJECT], check=True, cwd=folder)
    environment = folder / "environment"
    shutil.copytree(bare_python.parents[1], environment, symlinks=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", environment / "bin" / "python", "install", "--no-deps", wheel], check=True)
    return environment / "bin" / "jubako"


@pytest.fixture
def start(tmp_path: Path, jubako: Path) -> Iterator[Start]:
    """Start `jubako serve`; it ends with the test."""
    processes: list[Running] = []

    def run(*words: str, cwd: Path, environment: Mapping[str, str] | None = None) -> Running:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [jubako, "serve", *words],
                cwd=cwd,
                env=clean_environment(tmp_path / "home", environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return process

    log = tmp_path / "serve.log"
    run.log = log  # type: ignore[attr-defined]
    yield run  # type: ignore[misc]
    stop_all(processes)


def one_model(folder: Path, name: str = "simple") -> Path:
    """Return a repository in `folder` with one of this project's models."""
    shutil.copytree(PROJECT / "repository" / name, folder / name)
    return folder


def index(port: int) -> dict[str, str]:
    """Return the states of the models by name."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/repository/index", b"")
    with urllib.request.urlopen(request) as response:
        return {row["name"]: row.get("state", "") for row in json.load(response)}


def wait_for_line(start: Start, line: str) -> None:
    """Return once the server has written `line`."""
    wait_until(lambda: line in start.log.read_text(errors="replace"), what=repr(line))


def test_two_repositories_one_of_them_relative_from_an_empty_folder(tmp_path: Path, empty: Path, start: Start) -> None:
    one_model(tmp_path / "first")
    second = one_model(tmp_path / "second", "strings")
    port = free_port()

    process = start(
        "--model-repository=../first", "--model-store", str(second), f"--http-port={port}", "--http-address=127.0.0.1",
        cwd=empty,
    )  # fmt: skip
    wait_for_line(start, f"Started HTTPService at 127.0.0.1:{port}")

    assert index(port) == {"simple": "READY", "strings": "READY"}
    assert "| simple  | 1       | READY  |" in start.log.read_text()
    assert list(empty.iterdir()) == []
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_options_that_are_not_built_warn_by_name_and_the_others_hold(tmp_path: Path, empty: Path, start: Start) -> None:
    port = free_port()
    repository = one_model(tmp_path / "models")

    process = start(
        f"--model-repository={repository}", f"--http-port={port}", "--http-address=127.0.0.1",
        "--grpc-infer-thread-count=4", "--id=mine", "--log-verbose=1", cwd=empty, environment={"JUBAKO_ID": "not mine"},
    )  # fmt: skip
    wait_for_line(start, "Started HTTPService")

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2") as response:
        assert json.load(response)["name"] == "mine"
    assert "--grpc-infer-thread-count is ignored" in start.log.read_text()
    assert "Started GRPCInferenceService" not in start.log.read_text()
    process.terminate()
    assert process.wait(20) == 0


def test_grpc_is_announced_before_http_and_may_have_an_address_of_its_own(
    tmp_path: Path, empty: Path, start: Start
) -> None:
    http_port, grpc_port = free_port(), free_port()
    repository = one_model(tmp_path / "models")

    process = start(
        f"--model-repository={repository}", f"--http-port={http_port}", f"--grpc-port={grpc_port}",
        "--grpc-address=localhost", cwd=empty,
    )  # fmt: skip
    wait_for_line(start, "Started HTTPService")

    lines = start.log.read_text().splitlines()
    grpc_line = f"Started GRPCInferenceService at localhost:{grpc_port}"
    assert lines.index(grpc_line) + 1 == lines.index(f"Started HTTPService at 0.0.0.0:{http_port}")
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        assert client.is_model_ready("simple")
    process.terminate()
    assert process.wait(20) == 0


def test_a_model_that_cannot_be_loaded_ends_the_start_with_1(tmp_path: Path, empty: Path, start: Start) -> None:
    repository = one_model(tmp_path / "models")
    (repository / "simple" / "1" / "model.onnx").write_bytes(b"no model")

    process = start(f"--model-repository={repository}", f"--http-port={free_port()}", cwd=empty)

    assert process.wait(60) == 1
    written = start.log.read_text()
    assert "| simple | 1       | UNAVAILABLE: " in written
    assert "error: creating server: Internal - failed to load all models" in written
    assert "Started HTTPService" not in written


def test_a_model_that_cannot_be_loaded_is_put_up_with_when_told_so(tmp_path: Path, empty: Path, start: Start) -> None:
    repository = one_model(tmp_path / "models")
    (repository / "bad").mkdir()
    port = free_port()

    start(
        f"--model-repository={repository}", f"--http-port={port}", "--exit-on-error=false", "--strict-readiness=false",
        cwd=empty,
    )  # fmt: skip
    wait_for_line(start, "Started HTTPService")

    assert status(f"http://127.0.0.1:{port}/v2/health/ready") == 200
    assert index(port) == {"simple": "READY", "bad": "UNAVAILABLE"}


@pytest.mark.parametrize("name", ["HTTP", "GRPC"])
def test_a_port_in_use_is_told_in_tritons_words(tmp_path: Path, empty: Path, start: Start, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"HTTP": free_port(), "GRPC": free_port()} | {name: taken.getsockname()[1]}

        process = start(
            f"--model-repository={tmp_path}", "--http-address=127.0.0.1", f"--http-port={ports['HTTP']}",
            f"--grpc-port={ports['GRPC']}", cwd=empty,
        )  # fmt: skip

        assert process.wait(30) == 1
    wanted = f"failed to start {name} service: Unavailable - Socket '127.0.0.1:{ports[name]}' already in use "
    assert wanted in start.log.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: creating server: Invalid argument - --model-repository must be specified"),
        (["--modle"], "unrecognized option '--modle'"),
        (["--model-repository=/m", "--model-control-mode=poll"], "not built yet; only 'none' is"),
        (["--model-repository=/m", "--http-restricted-api=helth:k=v"], "unknown restricted api 'helth' "),
        (["--model-repository=/m", "--http-restricted-api=health:k=$NONE"], "environment variable NONE is not set"),
    ],
)
def test_a_wrong_command_line_ends_with_1_and_the_reason_last(
    empty: Path, start: Start, words: list[str], message: str
) -> None:
    process = start(*words, cwd=empty)

    assert process.wait(30) == 1
    assert message in start.log.read_text().splitlines()[-1]


def test_nothing_of_the_options_can_be_read_in_the_process_table(tmp_path: Path, empty: Path, start: Start) -> None:
    port = free_port()
    repository = one_model(tmp_path / "models")

    process = start(f"--model-repository={repository}", f"--http-port={port}", "--id=s3cret", cwd=empty)
    wait_for_line(start, "Started HTTPService")

    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    assert not any("s3cret" in word for child in children for word in child.cmdline())


def test_a_killed_command_leaves_no_server_behind(tmp_path: Path, empty: Path, start: Start) -> None:
    port = free_port()
    repository = one_model(tmp_path / "models")
    process = start(f"--model-repository={repository}", f"--http-port={port}", "--http-address=127.0.0.1", cwd=empty)
    wait_for_line(start, "Started HTTPService")
    children = psutil.Process(process.pid).children(recursive=True)

    os.kill(process.pid, signal.SIGKILL)

    wait_until(lambda: not any(child.is_running() for child in children), within_s=20, what="the end of all processes")
    assert not answers(f"http://127.0.0.1:{port}/v2/health/live")
