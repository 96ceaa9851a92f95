import subprocess
import sys
from pathlib import Path

import pytest

from jubako.backends.base import BackendOptions
from jubako.backends.onnxruntime import OnnxRuntime
from jubako.backends.registry import BackendRegistry
from jubako.errors import InvalidArgument, Unsupported


def test_a_backend_is_made_once_with_its_options() -> None:
    options = BackendOptions(default_max_batch_size=9)
    registry = BackendRegistry({"onnxruntime": options})

    first = registry.get("onnxruntime")

    assert isinstance(first, OnnxRuntime)
    assert first.options is options
    assert registry.get("onnxruntime") is first


@pytest.mark.parametrize(
    "name", ["tensorrt", "placement", "registry", "base", "", "..errors", "onnxruntime.checks", "ONNXRUNTIME", "a/b"]
)
def test_an_unknown_backend_is_refused_in_tritons_words(name: str) -> None:
    with pytest.raises(InvalidArgument) as failure:
        BackendRegistry().get(name)

    assert str(failure.value) == (
        f"unable to find backend library for backend '{name}', try specifying runtime on the model configuration."
    )


def test_a_backend_whose_package_is_not_installed_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wanting.py").write_text("import a_package_that_nobody_has.part\n")
    (tmp_path / "broken.py").write_text("raise OSError('/opt/secret/libfoo.so: cannot open')\n")
    import jubako.backends

    monkeypatch.setattr(jubako.backends, "__path__", [*jubako.backends.__path__, str(tmp_path)])

    with pytest.raises(Unsupported) as missing:
        BackendRegistry().get("wanting")
    with pytest.raises(Unsupported) as broken:
        BackendRegistry().get("broken")

    assert str(missing.value) == (
        "backend 'wanting' needs the Python package 'a_package_that_nobody_has', which is not installed: run "
        "`pip install a_package_that_nobody_has`"
    )
    assert "/opt" not in str(broken.value)


def test_frameworks_are_imported_by_their_own_backend_only() -> None:
    code = """
import sys
import jubako.backends.placement, jubako.backends.gpus
from jubako.backends.registry import BackendRegistry
registry = BackendRegistry()
assert not {"torch", "onnxruntime"} & set(sys.modules), "before use"
registry.get("onnxruntime")
assert "onnxruntime" in sys.modules
assert "torch" not in sys.modules, "torch with onnxruntime"
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
