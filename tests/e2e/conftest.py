"""Real servers for the tests: `bentoml serve` in a process of its own, with a BENTOML_HOME of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from e2e.serving import PROJECT, START_S, Serve, Served, answers, clean_environment, free_port, stop_all


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts `bentoml serve` on a free port; what it started ends with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(
        repository: Path | None,
        *,
        target: str = "service:service",
        home: Path | None = None,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        python: Path | None = None,
        wait: str | None = "/v2/health/ready",
        **arguments: object,
    ) -> Served:
        port = free_port()
        number = len(processes)
        home = home or tmp_path / f"bentoml-{number}"
        home.mkdir(parents=True, exist_ok=True)
        log = tmp_path / f"server-{number}.log"
        if repository is not None:
            arguments["model_repository"] = repository
        given = [part for name, value in arguments.items() for part in ("--arg", f"{name}={value}")]
        command = [str(python or sys.executable), "-m", "bentoml", "serve", target]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port), *given],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=cwd or PROJECT,
                env=clean_environment(home, environment),
            )
        processes.append(process)
        server = Served(f"http://127.0.0.1:{port}", port, process.pid, log, home, process)
        if wait is not None:
            deadline = time.monotonic() + START_S
            while not answers(server.url + wait):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the server did not start (status {process.poll()}):\n{server.output()}")
                time.sleep(0.1)
        return server

    yield start
    stop_all(processes)
