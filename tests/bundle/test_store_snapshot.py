import os
from pathlib import Path

import bentoml
import pytest
from bentoml import Tag
from store_samples import a_home, a_version, bentoml_store, contents, footprints, tags

from jubako.bundle.store import (
    Home,
    VersionFiles,
    entries_from_bento,
    import_all,
    import_version,
    read_snapshot,
    write_snapshot,
)
from jubako.repository import BrokenModel, Snapshot, StoredVersion


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return a_home(tmp_path)


@pytest.fixture
def stored(home: Home, tmp_path: Path) -> Snapshot:
    """Three versions in the store: one model with two, and an ensemble, which has no files in its version."""
    repository = tmp_path / "repository"
    config = repository / "Ensemble" / "config.pbtxt"
    config.parent.mkdir(parents=True)
    config.write_text('platform: "ensemble"')
    ensemble = VersionFiles("Ensemble", 1, str(repository), [("config.pbtxt", config)])
    return import_all([a_version(repository, "digits", 1), a_version(repository, "digits", 2), ensemble], home)


def moved(snapshot: Snapshot, here: Home, there: Home) -> list[StoredVersion]:
    """Return the versions as they are in another store."""
    return [
        StoredVersion(v.model, v.version, v.repository, v.digest, v.tag, there.models / v.root.relative_to(here.models))
        for v in snapshot.versions
    ]


def test_a_bentos_model_set_comes_from_its_entries(home: Home, stored: Snapshot) -> None:
    store = bentoml_store(home)

    by_tag = entries_from_bento([version.tag for version in stored.versions], store)
    by_model = entries_from_bento([store.get(version.tag) for version in stored.versions], store)

    assert by_tag == by_model == stored


def test_bentomls_own_descriptions_of_a_model_are_understood(home: Home, stored: Snapshot) -> None:
    from bentoml._internal.bento.bento import BentoModelInfo
    from bentoml.models import BentoModel

    tag = stored.versions[0].tag

    found = entries_from_bento([BentoModelInfo(tag), BentoModel(tag), Tag.from_str(tag)], bentoml_store(home))

    assert list(found.versions) == [stored.versions[0]] * 3


def test_models_of_others_in_a_bento_are_not_ours_to_serve(
    home: Home, stored: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "true")
    with bentoml.models.create("theirs", _model_store=bentoml_store(home)):
        pass

    assert entries_from_bento(["theirs", stored.versions[2].tag], bentoml_store(home)) == Snapshot(
        versions=(stored.versions[2],)
    )


def test_a_damaged_entry_breaks_its_model_and_no_other(home: Home, stored: Snapshot) -> None:
    os.truncate(stored.versions[0].root / "1/model.onnx", 10)

    found = entries_from_bento([version.tag for version in stored.versions], bentoml_store(home))

    assert [version.model for version in found.versions] == ["Ensemble"]
    assert [(broken.model, broken.repository) for broken in found.broken] == [("digits", stored.versions[0].repository)]
    assert "'1/model.onnx' has 10 bytes instead of 7000" in found.broken[0].reason


def test_rot_in_an_entry_is_found_when_asked_for(home: Home, stored: Snapshot) -> None:
    (stored.versions[0].root / "1/model.onnx").write_bytes(bytes(7000))
    tags_of_all = [version.tag for version in stored.versions]

    assert entries_from_bento(tags_of_all, bentoml_store(home)).broken == ()
    assert [b.model for b in entries_from_bento(tags_of_all, bentoml_store(home), thorough=True).broken] == ["digits"]


def test_an_entry_that_is_gone_is_reported(home: Home, stored: Snapshot) -> None:
    found = entries_from_bento(["digits:1-0000000000000000"], bentoml_store(home))

    assert found == Snapshot(
        broken=(
            BrokenModel(
                "digits:1-0000000000000000",
                "",
                "entry digits:1-0000000000000000 is not in the model store, or is damaged",
            ),
        )
    )


@pytest.mark.parametrize("suffix", ["bentomodel", "zip", "folder"])
def test_an_entry_survives_export_and_import(home: Home, stored: Snapshot, tmp_path: Path, suffix: str) -> None:
    other = a_home(tmp_path / "other")
    for version in stored.versions:
        path = str(tmp_path / "out" / f"{version.model}-{version.version}.{suffix}")
        (tmp_path / "out").mkdir(exist_ok=True)
        form = "folder" if suffix == "folder" else None
        exported = bentoml.models.export_model(version.tag, path, form, _model_store=bentoml_store(home))
        bentoml.models.import_model(exported, form, _model_store=bentoml_store(other))

    found = entries_from_bento([version.tag for version in stored.versions], bentoml_store(other), thorough=True)

    assert list(found.versions) == moved(stored, home, other)
    assert [contents(version.root) for version in found.versions] == [contents(v.root) for v in stored.versions]
    assert all((version.root / str(version.version)).is_dir() for version in found.versions)


def test_an_imported_archive_is_not_copied_again_from_the_repository(
    home: Home, stored: Snapshot, tmp_path: Path
) -> None:
    other, version = a_home(tmp_path / "other"), stored.versions[0]
    exported = bentoml.models.export_model(version.tag, str(tmp_path), _model_store=bentoml_store(home))
    bentoml.models.import_model(exported, _model_store=bentoml_store(other))
    before = footprints(other)

    import_version(a_version(tmp_path / "repository", "digits", 1), other)

    assert footprints(other) == before


def test_bentoml_gets_and_deletes_an_entry(home: Home, stored: Snapshot) -> None:
    store, version = bentoml_store(home), stored.versions[1]

    assert bentoml.models.get(version.tag, _model_store=store).path == str(version.root.parent)
    bentoml.models.delete(version.tag, _model_store=store)

    assert version.tag not in tags(home)
    assert str(bentoml.models.get("digits", _model_store=store).tag) == stored.versions[0].tag


def test_a_snapshot_survives_its_file(tmp_path: Path, stored: Snapshot) -> None:
    snapshot = Snapshot(stored.versions, (BrokenModel("b\udc80d", "r", "file '1/model.onnx' cannot be read"),))

    write_snapshot(tmp_path / "snapshot.json", snapshot)

    assert read_snapshot(tmp_path / "snapshot.json") == snapshot
    assert [path.name for path in tmp_path.glob("snapshot*")] == ["snapshot.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"versions": [{}], "broken": []}', '{"versions": 1, "broken": []}']
)
def test_what_is_not_a_snapshot_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "snapshot.json").write_text(content)

    with pytest.raises(ValueError, match=r"snapshot|Expecting value"):
        read_snapshot(tmp_path / "snapshot.json")
