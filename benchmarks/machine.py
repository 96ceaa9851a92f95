"""Where and with what a benchmark ran: a number without it means nothing."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Final

import jubako

PROJECT: Final = Path(__file__).parents[1]
PACKAGES: Final = (
    "bentoml",
    "uvicorn",
    "uvloop",
    "httptools",
    "grpcio",
    "orjson",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
)


def header() -> dict[str, str]:
    """Return what identifies a run, as text by name."""
    return {
        "machine": f"{_cpu_model()}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "load average at start": f"{os.getloadavg()[0]:.2f} (other work on the machine adds noise)",
        "versions": ", ".join(_versions()),
        "commit": _commit(),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def _versions() -> list[str]:
    versions = [f"jubako {jubako.__version__}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "src", "service.py", "repository")
        return git("rev-parse", "--short=12", "HEAD") + (" and uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
