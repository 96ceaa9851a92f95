"""The servers under test: started on free ports of the loopback, watched, and stopped."""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

PROJECT: Final = Path(__file__).parents[1]
START_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    name: str
    port: int
    pid: int
    command: str
    speaks_v2: bool = True
    grpc_port: int = 0

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def cpu_ns(self) -> int:
        """Return the processor time, user and system, that the server's processes have taken so far."""
        process = psutil.Process(self.pid)
        return sum(_cpu_ns(one) for one in [process, *process.children(recursive=True)])


def _cpu_ns(process: psutil.Process) -> int:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it has just ended
            return time.clock_gettime_ns((~process.pid << 3) | 2)  # clock_getcpuclockid(3): /proc counts in 10 ms
        return 0
    times = process.cpu_times()
    return int((times.user + times.system) * 1e9)


@contextlib.contextmanager
def jubako(folder: Path) -> Iterator[Server]:
    """Run `bentoml serve service:service` on the example repository, with its store in `folder`."""
    port, grpc_port = _free_port(), _free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "service:service", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--arg", f"grpc_port={grpc_port}"]
    with _running("jubako", command, port, "/v2/health/ready", folder, grpc_port) as server:
        yield server


@contextlib.contextmanager
def echo(folder: Path) -> Iterator[Server]:
    """Run the echo app on a bare uvicorn, with the loop and the parser that Jubako has."""
    port = _free_port()
    options = "--loop uvloop --http httptools --lifespan off --no-access-log --log-level warning"
    command = [sys.executable, "-m", "uvicorn", "benchmarks.echo:app", "--port", str(port), *options.split()]
    with _running("echo", command, port, None, folder) as server:
        yield server


@contextlib.contextmanager
def grpc_echo(folder: Path) -> Iterator[Server]:
    """Run the bare gRPC server."""
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks.grpc_echo", "--port", str(port)]
    with _running("gRPC echo", command, port, None, folder, port) as server:
        yield server


@contextlib.contextmanager
def peer(name: str, template: str, folder: Path) -> Iterator[Server]:
    """Run any other server of the v2 protocol; `{port}` in the command is where it must listen."""
    port = _free_port()
    command = shlex.split(template.replace("{port}", str(port)))
    with _running(name, command, port, "/v2/health/ready", folder) as server:
        yield server


@contextlib.contextmanager
def _running(
    name: str,
    command: Sequence[str],
    port: int,
    ready_path: str | None,
    folder: Path,
    grpc_port: int = 0,
) -> Iterator[Server]:
    log = folder / f"{name}.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUBAKO_", "BENTOML_"))}
    environment = kept | {"BENTOML_HOME": str(folder / f"{name}.bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=PROJECT, env=environment
        )
    shown = _shown(command, {port: "PORT", grpc_port: "GRPC_PORT"} if grpc_port != port else {port: "PORT"})
    server = Server(name, port, process.pid, shown, ready_path is not None, grpc_port)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(server, ready_path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start: {server.command}\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _shown(command: Sequence[str], ports: Mapping[int, str]) -> str:
    words = ["python" if word == sys.executable else word for word in command]
    for port, name in ports.items():
        words = [word.replace(str(port), name) for word in words] if port else words
    return shlex.join(words)


def _answers(server: Server, ready_path: str | None) -> bool:
    try:
        if ready_path is None:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return True
        with urllib.request.urlopen(f"http://{server.host}{ready_path}", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
