import asyncio
import gzip
import os
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jubako.errors import InvalidArgument
from jubako.protocols.rest.compression import Coding, coding_for_answer, coding_of_request, deflate, inflate
from jubako.protocols.rest.status import Refused

MIB = 1 << 20


def inflated(data: bytes, limit: int = 64 * MIB) -> bytes:
    return bytes(asyncio.run(inflate(data, limit)))


@pytest.mark.parametrize(
    ("value", "coding"),
    [(None, Coding.IDENTITY), (b"identity", Coding.IDENTITY), (b"gzip", Coding.GZIP), (b"deflate", Coding.DEFLATE)],
)
def test_a_request_may_be_coded(value: bytes | None, coding: Coding) -> None:
    assert coding_of_request(value) is coding


def test_an_empty_coding_is_none() -> None:
    assert coding_of_request(b"") is Coding.IDENTITY


@pytest.mark.parametrize("value", [b"GZIP", b"br", b"gzip, deflate", b"gzip ", b"\xff"])
def test_any_other_coding_is_refused(value: bytes) -> None:
    with pytest.raises(Refused, match=r"^Unsupported compression type$") as raised:
        coding_of_request(value)

    assert raised.value.status == 501
    assert raised.value.headers == [(b"accept-encoding", b"gzip, deflate")]


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, Coding.IDENTITY),
        (b"", Coding.IDENTITY),
        (b"gzip", Coding.GZIP),
        (b"deflate", Coding.DEFLATE),
        (b"*", Coding.IDENTITY),
        (b"br", Coding.IDENTITY),
        (b"GZIP", Coding.IDENTITY),
        (b"gzip, deflate", Coding.GZIP),
        (b"deflate,gzip", Coding.DEFLATE),
        (b"br, gzip", Coding.GZIP),
        (b"identity, gzip", Coding.IDENTITY),
        (b"gzip;q=0", Coding.IDENTITY),
        (b"gzip;q=0.5, deflate;q=0.8", Coding.DEFLATE),
        (b"gzip;q=0.5,identity;q=0.6", Coding.IDENTITY),
        (b"gzip; q=0.5", Coding.IDENTITY),
        (b"gzip;q=x", Coding.IDENTITY),
        (b"gzip;q=nan", Coding.IDENTITY),
        (b"gzip;q=.", Coding.IDENTITY),
        (b"gzip;q=\xb2", Coding.IDENTITY),
        (b",;,;;q=,", Coding.IDENTITY),
    ],
)
def test_an_answer_is_coded_as_the_client_prefers(value: bytes | None, coding: Coding) -> None:
    assert coding_for_answer(value) is coding


@given(st.binary(max_size=30))
def test_any_preference_is_understood_or_ignored(value: bytes) -> None:
    assert coding_for_answer(value) in Coding


@pytest.mark.parametrize("size", [1, 1000, 65536, 65537, 5 * MIB])
@pytest.mark.parametrize("random", [False, True])
def test_either_frame_is_inflated_whatever_it_is_called(size: int, random: bool) -> None:
    data = os.urandom(size) if random else b"ab" * (size // 2) + b"a" * (size % 2)

    assert inflated(gzip.compress(data)) == inflated(zlib.compress(data)) == data


@pytest.mark.parametrize("parts", [[b""], [b"a", b"", b"b" * 1000], [b"c" * MIB, memoryview(b"d" * MIB)]])
@pytest.mark.parametrize("coding", [Coding.GZIP, Coding.DEFLATE])
def test_what_is_deflated_is_inflated(parts: list[bytes | memoryview], coding: Coding) -> None:
    coded = asyncio.run(deflate(parts, coding))

    assert coded.startswith(b"\x1f\x8b" if coding is Coding.GZIP else b"\x78")
    assert inflated(coded) == b"".join(parts)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"inputs":[]}', id="not compressed"),
        pytest.param(zlib.compress(b"x" * 1000, wbits=-15), id="without a frame"),
        pytest.param(gzip.compress(b"x" * 1000)[:-9], id="cut short"),
        pytest.param(gzip.compress(b"x" * 1000)[:-1], id="without the end of its checksum"),
    ],
)
def test_what_is_no_whole_stream_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgument, match="not a whole gzip or deflate stream"):
        inflated(body)


def test_only_the_first_of_two_streams_is_read() -> None:
    assert inflated(gzip.compress(b"one") + gzip.compress(b"two")) == b"one"


def test_nothing_cannot_be_inflated() -> None:
    with pytest.raises(InvalidArgument, match=r"^nothing to be decompressed$"):
        inflated(b"")


@pytest.mark.parametrize("limit", [100, 65535, 65536, 65537, MIB])
def test_the_result_is_bounded_to_the_byte(limit: int) -> None:
    assert len(inflated(gzip.compress(b"x" * limit), limit)) == limit
    with pytest.raises(InvalidArgument) as raised:
        inflated(gzip.compress(b"x" * (limit + 1)), limit)

    assert str(raised.value) == (
        f"Decompressed data size exceeds the maximum allowed value of {limit} bytes. Use --http-max-input-size to "
        "increase the limit."
    )


@pytest.mark.parametrize("nested", [False, True])
def test_a_bomb_takes_no_more_memory_than_the_limit(nested: bool) -> None:
    bomb = gzip.compress(bytes(256 * MIB), compresslevel=1)
    if nested:
        bomb = gzip.compress(bomb)
    limit = 8 * MIB
    tracemalloc.start()
    try:
        if nested:
            assert len(inflated(bomb, limit)) < limit  # one layer is taken off, and it is small
        else:
            with pytest.raises(InvalidArgument, match=r"^Decompressed data size exceeds"):
                inflated(bomb, limit)
        assert tracemalloc.get_traced_memory()[1] < 3 * limit
    finally:
        tracemalloc.stop()
