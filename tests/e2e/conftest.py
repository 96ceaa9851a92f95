"""Real servers for the tests: `bentoml serve` in a process of its own, with a BENTOML_HOME of its own."""

import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.models import EXAMPLES
from e2e.serving import Serve, Served, free_port, servers


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serve]:
    """Start servers that end with the test."""
    with servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def served_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start servers that end with the module: for tests that only ask."""
    with servers(tmp_path_factory.mktemp("servers")) as start:
        yield start


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server of the example repository, with gRPC, for all tests that only ask."""
    with servers(tmp_path_factory.mktemp("example")) as start:
        yield start(EXAMPLES, grpc_port=free_port())


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a virtual environment that has all that jubako needs, and not jubako."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    installed = Path(sysconfig.get_path("purelib"))
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for entry in installed.iterdir():
        if not entry.name.startswith(("jubako", "_jubako", "_editable_impl_jubako")) and entry.suffix != ".pth":
            (borrowed / entry.name).symlink_to(entry)
    (own / "borrowed.pth").write_text(f"{borrowed}\n")
    python = folder / "bin" / "python"
    probe = subprocess.run([python, "-c", "import bentoml, jubako"], cwd=folder, capture_output=True, text=True)
    assert "No module named 'jubako'" in probe.stderr
    return python
