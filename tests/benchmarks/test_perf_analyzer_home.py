"""Where the real perf_analyzer comes from, and what is said where it cannot come."""

import platform
from pathlib import Path

import pytest

from benchmarks import perf_analyzer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_prepared_once_is_found_with_its_libraries(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    assert perf_analyzer.find() is None

    perf_analyzer.home().mkdir(parents=True)
    (perf_analyzer.home() / "perf_analyzer").touch()

    assert perf_analyzer.find() == perf_analyzer.prepare() == perf_analyzer.home() / "perf_analyzer"
    assert perf_analyzer.home().is_relative_to(cache)
    assert perf_analyzer.environment()["LD_LIBRARY_PATH"] == f"{perf_analyzer.home()}:/mine"


def test_a_machine_without_the_tools_is_told_what_is_missing_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert perf_analyzer.main(["--prepare"]) == 1

    assert "there is no apt-get on this machine" in capsys.readouterr().err
    assert list((cache / "jubako").iterdir()) == []


def test_another_machine_has_no_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    with pytest.raises(perf_analyzer.NotPrepared, match="Linux on x86-64 alone"):
        perf_analyzer.prepare()
