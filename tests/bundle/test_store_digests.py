import hashlib
import os
from pathlib import Path

import pytest

from jubako.bundle.store.digests import Digests, FileChanged, sha256, stamp

LATER_NS = 10_000_000_000


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def much_later(path: Path) -> int:
    return path.stat().st_ctime_ns + LATER_NS


def test_an_unchanged_file_is_answered_from_memory(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    digests = Digests(lambda: much_later(file))
    assert digests.of(file)[1] == digest_of(b"weights")

    file.chmod(0)  # root could read it still: what tells is that the digest is known

    assert digests.known(file, stamp(file)) is None  # the change time moved
    file.chmod(0o644)
    digests.of(file)
    assert digests.known(file, stamp(file)) == digest_of(b"weights")


def test_a_file_with_restored_times_and_the_same_size_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    digests = Digests(lambda: much_later(file))
    seen, _ = digests.of(file)

    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(seen.mtime_ns, seen.mtime_ns))

    assert digests.of(file)[1] == digest_of(b"WEIGHTS")


@pytest.mark.parametrize(("age_ns", "remembered"), [(1_999_999_999, False), (2_000_000_000, True)])
def test_a_file_written_within_two_seconds_of_its_stat_is_not_remembered(
    tmp_path: Path, age_ns: int, remembered: bool
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    digests = Digests(lambda: file.stat().st_ctime_ns + age_ns)

    digests.of(file)

    assert (digests.known(file, stamp(file)) is not None) == remembered


def test_the_memory_survives_in_its_file(tmp_path: Path) -> None:
    file, cache = tmp_path / "m\udc80del", tmp_path / "digests.json"
    file.write_bytes(b"weights")
    first = Digests(lambda: much_later(file))
    first.of(file)
    first.save(cache)

    second = Digests()
    second.read(cache)

    assert second.known(file, stamp(file)) == digest_of(b"weights")


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "foreign", "binary", "list"])
def test_a_damaged_memory_is_ignored(tmp_path: Path, damage: str) -> None:
    file, cache = tmp_path / "model.onnx", tmp_path / "digests.json"
    file.write_bytes(b"weights")
    digests = Digests(lambda: much_later(file))
    digests.of(file)
    digests.save(cache)
    whole = cache.read_bytes()
    listing = b"[1]"
    cache.write_bytes(
        {
            "torn": whole[:-10],
            "flipped": whole.replace(digest_of(b"weights").encode(), digest_of(b"other").encode()),
            "empty": b"",
            "foreign": b'{"hello": 1}',
            "binary": bytes(range(256)),
            "list": digest_of(listing).encode() + b"\n" + listing,
        }[damage]
    )

    again = Digests()
    again.read(cache)

    assert again.known(file, stamp(file)) is None


def test_a_memory_without_news_is_not_written(tmp_path: Path) -> None:
    cache = tmp_path / "digests.json"

    Digests().save(cache)

    assert not cache.exists()


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    digests = Digests(lambda: much_later(file))
    digests.of(file)

    digests.save(tmp_path / "missing" / "digests.json")

    assert digests.of(file)[1] == digest_of(b"weights")


def test_a_pipe_is_refused_instead_of_read_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="not a regular file"):
        Digests().of(tmp_path / "pipe")


def test_a_file_that_grows_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    read = hashlib.file_digest

    def read_while_it_grows(*arguments: object) -> object:
        digest = read(*arguments)  # type: ignore[arg-type]
        with file.open("ab") as writer:
            writer.write(b"more")
        return digest

    monkeypatch.setattr(hashlib, "file_digest", read_while_it_grows)

    with pytest.raises(FileChanged):
        sha256(file)
