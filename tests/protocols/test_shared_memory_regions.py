"""Regions: what may be registered, what of it may be used, and for how long."""

import asyncio
import gc
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jubako.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    JubakoError,
    NotFound,
    Unavailable,
    Unsupported,
)
from jubako.protocols.shared_memory import Copies, Kind, Place, Regions
from jubako.protocols.shared_memory.regions import DISABLED, MAX_REGIONS
from jubako.tensor import Array

from .segments import Segment, a_segment, descriptors_of

TOP = 2**64 - 1


@pytest.fixture
def segment() -> Iterator[Segment]:
    with a_segment(bytes(range(256)) * 16) as made:
        yield made


@pytest.fixture
def regions() -> Regions:
    return Regions(allowed=True, device=lambda: None)


# --- what may be registered -------------------------------------------------------------------------------------------


def test_nothing_can_be_registered_unless_it_is_allowed(segment: Segment) -> None:
    regions = Regions()

    with pytest.raises(Unsupported, match=re.escape(DISABLED)):
        regions.register_system("r", segment.key, 0, 64)
    with pytest.raises(Unsupported, match=re.escape(DISABLED)):
        asyncio.run(regions.register_cuda("r", bytes(64), 0, 64))
    with pytest.raises(Unsupported, match=re.escape(DISABLED)):
        regions.unregister(Kind.SYSTEM)
    assert regions.status(Kind.SYSTEM) == regions.status(Kind.CUDA) == []


def test_a_registered_region_is_told_of(regions: Regions, segment: Segment) -> None:
    regions.register_system("b", segment.key, 8, 64)
    regions.register_system("a", segment.key.removeprefix("/"), 0, 4096)

    assert [(r.name, r.key, r.offset, r.byte_size) for r in regions.status(Kind.SYSTEM)] == [
        ("a", segment.key.removeprefix("/"), 0, 4096),
        ("b", segment.key, 8, 64),
    ]
    assert [r.name for r in regions.status(Kind.SYSTEM, "b")] == ["b"]
    assert regions.status(Kind.CUDA) == []


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 4097), (4096, 1), (4095, 2), (0, 0), (5000, 1), (TOP, 1), (0, TOP), (1, TOP)]
)
def test_a_region_must_lie_in_its_segment(regions: Regions, segment: Segment, offset: int, size: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^failed to register shared memory region 'r': invalid args$"):
        regions.register_system("r", segment.key, offset, size)

    assert regions.status(Kind.SYSTEM) == []
    assert descriptors_of(segment) == 0


def test_a_name_is_taken_once(regions: Regions, segment: Segment) -> None:
    regions.register_system("r", segment.key, 0, 64)

    with pytest.raises(AlreadyExists, match=r"^shared memory region 'r' already in manager$"):
        regions.register_system("r", segment.key, 0, 64)


@pytest.mark.parametrize(
    "key",
    [
        "/no_such_segment",
        "/../../etc/hostname",
        "../../etc/hostname",
        "/dev/shm/x",
        "..",
        "/.",
        "a/b",
        "nul\0byte",
        "\ud800",
        "x" * 5000,
    ],
)
def test_a_key_names_a_segment_and_nothing_else(regions: Regions, key: str) -> None:
    with pytest.raises(Internal) as refused:
        regions.register_system("r", key, 0, 1)

    assert str(refused.value) == f"Unable to open shared memory region: '{key}'"


def test_what_is_no_segment_is_not_opened(regions: Regions, segment: Segment, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64))
    folder = segment.file.parent
    link, pipe, inner, listener = (folder / f"{segment.file.name}_{kind}" for kind in ("link", "pipe", "dir", "sock"))
    link.symlink_to(secret)
    os.mkfifo(pipe)
    inner.mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(listener))
        try:
            for file in (link, pipe, inner, listener):
                with pytest.raises(Internal, match=r"^Unable to open shared memory region"):
                    regions.register_system("r", f"/{file.name}", 0, 1)
        finally:
            inner.rmdir()
            for file in (link, pipe, listener):
                file.unlink()


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_the_keys_of_python_models_are_reserved(regions: Regions, slashes: str) -> None:
    key = f"{slashes}triton_python_backend_shm_region_1"

    with pytest.raises(InvalidArgument) as refused:
        regions.register_system("r", key, 0, 1)

    assert str(refused.value) == (
        f"cannot register shared memory region 'r' with key '{key}' as the key contains the reserved prefix "
        "'triton_python_backend_shm_region_'"
    )


@pytest.mark.parametrize("key", ["", "/", "///"])
def test_a_key_of_slashes_is_none(regions: Regions, key: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^cannot register shared memory region 'r' - invalid shm key '{key}'$"):
        regions.register_system("r", key, 0, 1)


def test_no_more_regions_are_held_than_there_are_descriptors_for(regions: Regions, segment: Segment) -> None:
    for count in range(MAX_REGIONS):
        regions.register_system(f"r{count}", segment.key, 0, 64)

    with pytest.raises(Unavailable, match=rf"no more than {MAX_REGIONS} shared memory regions"):
        regions.register_system("one more", segment.key, 0, 64)

    regions.unregister(Kind.SYSTEM)
    assert descriptors_of(segment) == 0


# --- what of it may be used -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 1, 100, 4000])
def test_a_region_may_begin_anywhere(regions: Regions, segment: Segment, start: int) -> None:
    regions.register_system("r", segment.key, start, 64)

    assert regions.slot(Place("r", 3, 8)).read() == segment.content[start + 3 : start + 11]

    regions.slot(Place("r", 56, 8)).write("O", b"12345678")
    assert segment.content[start + 56 : start + 64] == b"12345678"


@pytest.mark.parametrize(
    ("place", "error", "text"),
    [
        (Place("x", 0, 1), NotFound, "Unable to find shared memory region: 'x'"),
        (Place("r", 64, 0), InvalidArgument, "Invalid offset for shared memory region: 'r'"),
        (Place("r", TOP, 1), InvalidArgument, "Invalid offset for shared memory region: 'r'"),
        (Place("r", -1, 1), InvalidArgument, "Invalid offset for shared memory region: 'r'"),
        (Place("r", 0, 65), InvalidArgument, "Invalid offset + byte size for shared memory region: 'r'"),
        (Place("r", 63, 2), InvalidArgument, "Invalid offset + byte size for shared memory region: 'r'"),
        (Place("r", 63, -1), InvalidArgument, "Invalid offset + byte size for shared memory region: 'r'"),
        (
            Place("r", 1, TOP),
            InvalidArgument,
            f"Integer overflow detected: byte_size ({TOP}) + offset (1) exceeds maximum value ({TOP}) for region 'r'",
        ),
    ],
)
def test_a_place_must_lie_in_its_region(
    regions: Regions, segment: Segment, place: Place, error: type[JubakoError], text: str
) -> None:
    regions.register_system("r", segment.key, 0, 64)

    with pytest.raises(error) as refused:
        regions.slot(place)

    assert str(refused.value) == text


def test_an_output_that_is_larger_than_its_place_is_refused(regions: Regions, segment: Segment) -> None:
    regions.register_system("r", segment.key, 0, 4096)
    before = segment.content

    with pytest.raises(Internal) as refused:
        regions.slot(Place("r", 0, 16)).write("O", np.ones(16, np.int32))

    assert str(refused.value) == (
        "shared memory size specified with the request for output 'O' (16 bytes) should be at least 64 bytes to hold "
        "the results"
    )
    assert segment.content == before


@pytest.mark.parametrize("array", [np.array(7, np.int32), np.empty((0, 4), np.float32), np.array([True, False])])
def test_arrays_of_any_shape_are_written(regions: Regions, segment: Segment, array: Array) -> None:
    regions.register_system("r", segment.key, 0, 4096)

    regions.slot(Place("r", 0, 64)).write("O", array)

    assert segment.content.startswith(array.tobytes())


def test_the_inputs_of_one_request_are_bounded_together(regions: Regions, segment: Segment) -> None:
    regions.register_system("r", segment.key, 0, 4096)
    copies = Copies(regions, most=100)
    copies.take("A", Place("r", 0, 60))

    with pytest.raises(InvalidArgument, match=r"input 'B' takes what the request has in shared memory beyond .* 100 "):
        copies.take("B", Place("r", 0, 60))


# --- when its owner takes it away -------------------------------------------------------------------------------------


def test_a_segment_that_was_shrunk_is_an_error_and_not_the_end(regions: Regions, segment: Segment) -> None:
    regions.register_system("r", segment.key, 0, 4096)
    segment.shrink(100)

    for place in (Place("r", 96, 8), Place("r", 2000, 8)):
        with pytest.raises(InvalidArgument, match=r"^Invalid offset \+ byte size for shared memory region: 'r'$"):
            regions.slot(place).read()
        with pytest.raises(InvalidArgument, match=r"^Invalid offset \+ byte size for shared memory region: 'r'$"):
            regions.slot(place).write("O", bytes(8))

    assert segment.size == 100
    assert len(regions.slot(Place("r", 92, 8)).read()) == 8


def test_a_copy_does_not_change_with_the_segment(regions: Regions, segment: Segment) -> None:
    regions.register_system("r", segment.key, 0, 4096)
    taken = Copies(regions, 4096).take("A", Place("r", 0, 4))

    segment.put(b"\xff" * 4)

    assert bytes(taken) == bytes(range(4))


def test_a_segment_whose_name_is_gone_still_serves(regions: Regions, segment: Segment) -> None:
    regions.register_system("r", segment.key, 0, 4096)
    segment.file.unlink()

    assert regions.slot(Place("r", 0, 4)).read() == bytes(range(4))


# --- unregistering ----------------------------------------------------------------------------------------------------


def test_a_slot_outlives_its_regions_registration_and_then_lets_go(regions: Regions, segment: Segment) -> None:
    regions.register_system("r", segment.key, 0, 64)
    slot = regions.slot(Place("r", 0, 8))

    regions.unregister(Kind.SYSTEM, "r")

    with pytest.raises(NotFound):
        regions.slot(Place("r", 0, 8))
    slot.write("O", b"and yet!")
    assert segment.content.startswith(b"and yet!")
    del slot
    gc.collect()
    assert descriptors_of(segment) == 0


def test_unregistering_names_one_all_or_none(regions: Regions, segment: Segment) -> None:
    for name in ("a", "b", "c"):
        regions.register_system(name, segment.key, 0, 64)

    regions.unregister(Kind.SYSTEM, "b")
    regions.unregister(Kind.SYSTEM, "unknown")
    regions.unregister(Kind.CUDA, "a")
    regions.unregister(Kind.CUDA)
    assert [region.name for region in regions.status(Kind.SYSTEM)] == ["a", "c"]

    regions.unregister(Kind.SYSTEM)
    assert regions.status(Kind.SYSTEM) == []


def test_a_name_is_free_again_for_another_segment(regions: Regions, segment: Segment) -> None:
    with a_segment(b"another one") as other:
        regions.register_system("r", segment.key, 0, 8)
        regions.unregister(Kind.SYSTEM, "r")
        regions.register_system("r", other.key, 0, 8)

        assert regions.slot(Place("r", 0, 7)).read() == b"another"
