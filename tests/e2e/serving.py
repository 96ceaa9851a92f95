"""What the tests that start real servers share. The fixtures themselves are in conftest.py."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

PROJECT = Path(__file__).parents[2]
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs until its test ends."""

    url: str
    port: int
    pid: int
    log: Path
    home: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    grpc_port: int = 0
    """0 where it serves no gRPC, or was not told at which port."""

    def output(self) -> str:
        """What the server has written so far."""
        return self.log.read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM, within_s: float = 40.0) -> int:
        """Ask the server to end and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(within_s)


class Serve(Protocol):
    """Starts a server for `repository`; `arguments` are those of the service (`--arg name=value`).

    There is no gRPC unless `grpc_port` is given, because servers of other tests run at the same time; None takes the
    server's own default.
    """

    def __call__(
        self,
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
        """Return once `wait` answers 200 (at once if it is None)."""


def free_port() -> int:
    """Return a port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(url: str, timeout_s: float = 5.0) -> int:
    """Return the HTTP status that a GET of `url` is answered with."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def wait_until(condition: Callable[[], bool], within_s: float = START_S, what: str = "the condition") -> None:
    """Return as soon as `condition` holds; fail when it has not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {within_s} s")
        time.sleep(0.05)


def answers(url: str, wanted: int = 200) -> bool:
    """Tell whether a GET of `url` is answered with `wanted`."""
    try:
        return status(url) == wanted
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def clean_environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without settings of the machine that would reach the server, and with gRPC off."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUBAKO_", "BENTOML_"))}
    own = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "JUBAKO_GRPC_PORT": "0"}
    return kept | own | dict(more or {})


def stop_all(processes: list[subprocess.Popen[bytes]]) -> None:
    """End the processes that still run, the patient way first."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Serve]:
    """Give a function that starts `bentoml serve` on a free port; what it started ends with the context.

    Logs, and a BENTOML_HOME for each server that is not given one, are in `folder`.
    """
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
        home = home or folder / f"bentoml-{number}"
        home.mkdir(parents=True, exist_ok=True)
        log = folder / f"server-{number}.log"
        if repository is not None:
            arguments["model_repository"] = repository
        environment = clean_environment(home, environment)
        if "grpc_port" in arguments:
            environment["JUBAKO_GRPC_PORT"] = str(arguments["grpc_port"])
            if arguments.pop("grpc_port") is None:
                del environment["JUBAKO_GRPC_PORT"]
        given = [part for name, value in arguments.items() for part in ("--arg", f"{name}={value}")]
        command = [str(python or sys.executable), "-m", "bentoml", "serve", target]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port), *given],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=cwd or PROJECT,
                env=environment,
            )
        processes.append(process)
        told = int(environment.get("JUBAKO_GRPC_PORT", 0))
        server = Served(f"http://127.0.0.1:{port}", port, process.pid, log, home, process, told)
        if wait is not None:
            deadline = time.monotonic() + START_S
            while not answers(server.url + wait):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the server did not start (status {process.poll()}):\n{server.output()}")
                time.sleep(0.1)
        return server

    try:
        yield start
    finally:
        stop_all(processes)
