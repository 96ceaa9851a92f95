from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelVersionPolicy

from jubako.errors import InvalidArgument, NotFound
from jubako.repository import (
    NOT_UNIQUE,
    BrokenModel,
    Choice,
    FoundModel,
    chosen_versions,
    load_config,
    scan,
    stored_files,
    version_folders,
)
from jubako.storage import LocalStorage

VERSIONS = st.sets(st.integers(0, 2**63 - 1), max_size=8)


def _repository(root: Path, files: Mapping[str, str]) -> LocalStorage:
    root.mkdir(exist_ok=True)
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return LocalStorage(root)


def _only_model(root: Path, files: Mapping[str, str]) -> FoundModel:
    found = scan([_repository(root, {f"m/{path}": content for path, content in files.items()})])
    assert found.broken == ()
    (model,) = found.models
    return model


def _reason(root: Path, files: Mapping[str, str]) -> str:
    found = scan([_repository(root, {f"m/{path}": content for path, content in files.items()})])
    assert found.models == ()
    (broken,) = found.broken
    return broken.reason


@settings(deadline=None)
@given(VERSIONS, st.integers(0, 10))
def test_latest_takes_the_largest_numbers(present: set[int], count: int) -> None:
    policy = ModelVersionPolicy(latest=ModelVersionPolicy.Latest(num_versions=count))

    choice = chosen_versions(policy, present)

    assert set(choice.versions) <= present
    assert len(choice.versions) == min(count, len(present))
    assert all(left < chosen for chosen in choice.versions for left in present - set(choice.versions))
    assert choice.missing == ()


@settings(deadline=None)
@given(VERSIONS)
def test_one_version_is_taken_by_default_and_every_one_by_all(present: set[int]) -> None:
    assert chosen_versions(None, present) == Choice(tuple(sorted(present)[-1:]))
    assert chosen_versions(ModelVersionPolicy(all=ModelVersionPolicy.All()), present) == Choice(tuple(sorted(present)))


@settings(deadline=None)
@given(VERSIONS, st.lists(st.integers(0, 2**63 - 1), max_size=8), st.data())
def test_specific_takes_what_is_there_and_tells_what_is_not(
    present: set[int], others: list[int], data: st.DataObject
) -> None:
    wanted = others + data.draw(st.lists(st.sampled_from(sorted(present)), max_size=4) if present else st.just([]))
    policy = ModelVersionPolicy(specific=ModelVersionPolicy.Specific(versions=wanted))

    choice = chosen_versions(policy, present)

    assert list(choice.versions) == sorted(set(wanted) & present)
    assert list(choice.missing) == sorted(set(wanted) - present)


def test_a_policy_without_a_choice_takes_every_version() -> None:
    assert chosen_versions(ModelVersionPolicy(), [3, 1]) == Choice((1, 3))


def test_version_folders_are_numbers_without_leading_zeros() -> None:
    names = ["10", "9", "0", "01", "1abc", "abc", "-1", "1.5", "²", "٣", "9" * 30, str(2**63 - 1), str(2**63)]

    versions, warnings = version_folders([*names, "warmup", "initial_state", "configs"])

    assert versions == [0, 9, 10, 2**63 - 1]
    assert "ignore version directory '01' which contains leading zeros in its directory name" in warnings
    assert "ignore version directory '1abc' which fails to convert to integral number" in warnings
    assert len(warnings) == len(names) - len(versions)


def test_a_model_is_a_folder_with_versions(tmp_path: Path) -> None:
    model = _only_model(
        tmp_path, {"1/model.onnx": "", "3/model.onnx": "abc", "3/deep/weights": "", "old/model.onnx": ""}
    )

    assert (model.name, model.repository, model.folder) == ("m", str(tmp_path), "m")
    assert model.config is None
    assert model.backend == "onnxruntime"
    assert model.versions == (3,)
    assert [file.path for file in model.files_of(3)] == ["3/deep/weights", "3/model.onnx"]
    assert model.warnings == ("ignore version directory 'old' which fails to convert to integral number",)


def test_an_entry_has_the_files_that_its_version_needs_and_no_others(tmp_path: Path) -> None:
    model = _only_model(
        tmp_path,
        {
            "config.pbtxt": 'backend: "onnxruntime" version_policy { all { } }'
            ' output { name: "a" label_filename: "labels/a.txt" } output { name: "b" label_filename: "labels/a.txt" }'
            ' output { name: "c" label_filename: "missing.txt" }',
            "labels/a.txt": "one\n",
            "labels/unused.txt": "",
            "README.md": "",
            "warmup/x.bin": "",
            "initial_state/deep/s.bin": "",
            "configs/other.pbtxt": "",
            "1/model.onnx": "",
            "2/model.onnx": "",
        },
    )

    shared = ["config.pbtxt", "labels/a.txt", "warmup/x.bin", "initial_state/deep/s.bin"]
    assert [file.path for file in model.files_of(1)] == [*shared, "1/model.onnx"]
    assert [file.path for file in model.files_of(2)] == [*shared, "2/model.onnx"]
    assert all(path is not None and path.is_file() for path in (model.local_path(file) for file in model.files_of(2)))


def test_only_folders_are_models_and_links_to_folders_count(tmp_path: Path) -> None:
    _repository(tmp_path / "elsewhere", {"1/model.py": ""})
    storage = _repository(tmp_path / "repository", {"README.md": "", "real/1/model.py": ""})
    (tmp_path / "repository" / "linked").symlink_to(tmp_path / "elsewhere")

    assert [model.name for model in scan([storage]).models] == ["linked", "real"]


def test_versions_that_are_named_but_not_there_are_warned_about(tmp_path: Path) -> None:
    model = _only_model(
        tmp_path,
        {"config.pbtxt": 'backend: "python" version_policy { specific { versions: [ 7, 1 ] } }', "1/model.py": ""},
    )

    assert model.versions == (1,)
    assert model.warnings == ("version 7 is specified for model 'm', but the version directory is not present",)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("name: ", "failed to read text proto from m/config.pbtxt at line 1, column 7: "),
        ('name: "n"', "unexpected directory name 'm' for model 'n', directory name must equal model name"),
        (
            'backend: "python" version_policy { specific { versions: 2 } }',
            "at least one version must be available under the version policy of model 'm'",
        ),
        (
            'backend: "python" version_policy { latest { } }',
            "at least one version must be available under the version policy of model 'm'",
        ),
        (
            'output { name: "y" label_filename: "../labels.txt" }',
            "label file path '../labels.txt' for output 'y' in model 'm' is outside model directory",
        ),
    ],
    ids=["syntax", "name", "no such version", "no version", "labels"],
)
def test_a_bad_model_is_broken_with_its_reason_and_the_others_are_found(
    config: str, reason: str, tmp_path: Path
) -> None:
    storage = _repository(tmp_path, {"m/config.pbtxt": config, "m/1/model.py": "", "good/1/model.py": ""})

    found = scan([storage])

    assert [model.name for model in found.models] == ["good"]
    assert [(model.model, model.repository) for model in found.broken] == [("m", str(tmp_path))]
    assert found.broken[0].reason.startswith(reason)


def test_a_model_without_a_version_or_an_artefact_is_broken(tmp_path: Path) -> None:
    assert _reason(tmp_path / "a", {"config.pbtxt": 'backend: "python"'}) == (
        "at least one version must be available under the version policy of model 'm'"
    )
    assert _reason(tmp_path / "b", {"1/weights.bin": ""}).startswith("Invalid model name: Could not determine backend")


def test_a_configuration_that_is_no_text_breaks_its_model_only(tmp_path: Path) -> None:
    storage = _repository(tmp_path, {"m/1/model.py": "", "good/1/model.py": ""})
    (tmp_path / "m" / "config.pbtxt").write_bytes(b"\xff\xfe")

    found = scan([storage])

    assert [model.name for model in found.models] == ["good"]
    assert found.broken[0].reason == "m/config.pbtxt is not UTF-8 text"


def test_label_files_behind_a_link_that_leads_out_break_the_model(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    files = {"config.pbtxt": 'output { name: "y" label_filename: "labels.txt" }', "1/model.py": ""}
    storage = _repository(tmp_path / "repository", {f"m/{path}": content for path, content in files.items()})
    (tmp_path / "repository" / "m" / "labels.txt").symlink_to("../../secret")

    assert "is outside model directory" in scan([storage]).broken[0].reason


def test_a_model_in_two_repositories_is_served_from_neither(tmp_path: Path) -> None:
    first = _repository(tmp_path / "first", {"twin/1/model.py": "", "a/1/model.py": ""})
    second = _repository(tmp_path / "second", {"twin/1/model.py": "", "b/1/model.py": ""})

    found = scan([first, second])

    assert [(model.name, model.repository) for model in found.models] == [("a", first.url), ("b", second.url)]
    assert found.broken == (BrokenModel("twin", first.url, NOT_UNIQUE),)


def test_the_lexicographically_first_version_tells_the_backend(tmp_path: Path) -> None:
    assert _only_model(tmp_path, {"2/model.pt": "", "10/model.onnx": "", ".git/model.py": ""}).backend == "onnxruntime"


def test_an_ensemble_needs_no_files(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text('platform: "ensemble" ensemble_scheduling { }')

    (model,) = scan([LocalStorage(tmp_path)]).models

    assert (model.backend, model.versions, model.of_version) == ("", (1,), {1: ()})


def test_a_repository_that_is_gone_is_an_error(tmp_path: Path) -> None:
    storage = _repository(tmp_path / "repository", {})
    (tmp_path / "repository").rmdir()

    with pytest.raises(NotFound):
        scan([storage])


def test_a_stored_entry_gives_back_its_configuration_and_its_files(tmp_path: Path) -> None:
    _repository(tmp_path, {"config.pbtxt": 'backend: "python"', "3/model.py": "", "3/lib/a.py": ""})

    config = load_config(tmp_path, "m")

    assert config is not None
    assert (config.name, config.backend) == ("", "python")
    assert stored_files(tmp_path, 3) == ("lib/a.py", "model.py")


def test_a_stored_entry_without_a_configuration_has_none(tmp_path: Path) -> None:
    assert load_config(tmp_path, "m") is None


def test_a_stored_configuration_must_bear_the_model_s_name(tmp_path: Path) -> None:
    _repository(tmp_path, {"config.pbtxt": 'name: "n"'})

    with pytest.raises(InvalidArgument, match="unexpected directory name 'm' for model 'n'"):
        load_config(tmp_path, "m")
