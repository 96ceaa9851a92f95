"""The real perf_analyzer, which PyPI has only inside an old wheel: `python -m benchmarks.perf_analyzer [OPTIONS]`.

PyPI's package `perf-analyzer` is an empty stub. The binary is in the wheels of tritonclient up to 2.51.0 that still run
on glibc 2.36. It wants two libraries that no wheel brings along: libb64, here from Debian or Ubuntu, and libcudart,
from NVIDIA's wheel; neither is installed, both lie beside the binary. Linux on x86-64 alone.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

VERSION: Final = "2.51.0"
WHEELS: Final = (f"tritonclient=={VERSION}", "nvidia-cuda-runtime-cu12<13")
DEBIAN_PACKAGE: Final = "libb64-0d"
BINARY: Final = "perf_analyzer"
LIBRARIES: Final = ("libb64.so.0d", "libcudart.so.12")
PREPARE: Final = "python -m benchmarks.perf_analyzer --prepare"


class NotPrepared(Exception):
    """The binary could not be put together here; the text says what was missing."""


def home() -> Path:
    """Return the folder where it is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "jubako" / f"perf_analyzer-{VERSION}"


def find() -> Path | None:
    """Return the path of the binary, if it has been prepared."""
    binary = home() / BINARY
    return binary if binary.is_file() else None


def environment() -> dict[str, str]:
    """Return the environment in which the binary finds its libraries."""
    before = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": f"{home()}:{before}" if before else str(home())}


def prepare() -> Path:
    """Return the path of the binary, after getting all of it where that has not been done.

    Raises:
        NotPrepared: this machine cannot run it, or something could not be downloaded.
    """
    found = find()
    if found is not None:
        return found
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NotPrepared("there are binaries for Linux on x86-64 alone")
    home().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home().parent, prefix="preparing-") as folder:
        parts = Path(folder) / "parts"
        ready = Path(folder) / "ready"
        ready.mkdir()
        for path in _downloaded(parts):
            if path.name == BINARY or path.name in LIBRARIES:
                shutil.copy(path, ready / path.name)  # follows the links of libraries
        missing = [name for name in (BINARY, *LIBRARIES) if not (ready / name).exists()]
        if missing:
            raise NotPrepared(f"the packages did not hold {' and '.join(missing)}")
        (ready / BINARY).chmod(0o755)
        ready.rename(home())  # all of it or nothing: `find` looks no further than the binary
    return home() / BINARY


def _downloaded(folder: Path) -> Iterator[Path]:
    """Download everything, unpack it into `folder`, and yield each file."""
    wheels, debian = folder / "wheels", folder / "debian"
    debian.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run(["apt-get", "download", "-qq", DEBIAN_PACKAGE], debian)
    _run([*pip, "--dest", str(wheels), *WHEELS], folder)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / wheel.stem)
    for package in debian.glob("*.deb"):
        _run(["dpkg", "-x", package.name, "unpacked"], debian)
    yield from (path for path in folder.rglob("*") if path.is_file())


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotPrepared(f"there is no {command[0]} on this machine") from None
    if done.returncode:
        raise NotPrepared(f"{' '.join(command)} failed (apt-get update may help):\n{done.stderr or done.stdout}")


def main(arguments: Sequence[str]) -> int:
    """Prepare the binary and run it with `arguments`; return its exit status."""
    try:
        binary = prepare()
    except NotPrepared as error:
        print(f"perf_analyzer is not there: {error}", file=sys.stderr)
        return 1
    if arguments == ["--prepare"]:
        print(binary)
        return 0
    return subprocess.run([binary, *arguments], env=environment()).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
