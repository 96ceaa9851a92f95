"""gzip and deflate, both ways (http.md section 5.1). No HTTP: bytes and header values in, bytes out.

What is inflated is bounded while it grows. Everything large is done in a thread: zlib works without the GIL.
"""

import asyncio
import zlib
from collections.abc import Sequence
from enum import Enum
from typing import Final

from jubako.errors import InvalidArgument
from jubako.protocols.rest.plan import Body
from jubako.protocols.rest.status import Refused

SMALL: Final = 65536
"""Up to this many bytes, in and out, the loop does the work itself: that is well below a millisecond."""
STEP: Final = 1 << 20
EITHER_FRAME: Final = 47
"""zlib's `wbits` for a stream in zlib's or gzip's frame, whichever it finds, as Triton's inflater is set."""


class Coding(Enum):
    """A content coding: its name on the wire, and zlib's `wbits`."""

    IDENTITY = ("identity", 0)
    GZIP = ("gzip", 31)
    DEFLATE = ("deflate", 15)

    def __init__(self, token: str, wbits: int) -> None:
        self.token = token
        self.wbits = wbits


_BY_TOKEN: Final = {coding.token: coding for coding in Coding}


def coding_of_request(value: bytes | None) -> Coding:
    """Return the coding that a request's Content-Encoding names; none is identity.

    Raises:
        Refused: 501, any other name, case and lists included, as in Triton.
    """
    coding = _BY_TOKEN.get((value or b"identity").decode("latin-1"))
    if coding is None:
        raise Refused(501, "Unsupported compression type", headers=[(b"accept-encoding", b"gzip, deflate")])
    return coding


def coding_for_answer(value: bytes | None) -> Coding:
    """Return the coding that an Accept-Encoding prefers: the highest weight, the first of equals, never weight 0.

    Names have one spelling and weights no spaces, as in Triton; what is written otherwise is not taken.
    """
    if value is None:
        return Coding.IDENTITY
    best, best_weight = Coding.IDENTITY, 0.0
    for entry in value.decode("latin-1").split(","):
        token, _, parameter = entry.strip().partition(";")
        coding, weight = _BY_TOKEN.get(token), _weight(parameter)
        if coding is not None and weight > best_weight:
            best, best_weight = coding, weight
    return best


def _weight(parameter: str) -> float:
    """Return the weight that `q=0.5` gives; 1 where there is no parameter, 0 for what cannot be read."""
    if not parameter:
        return 1.0
    digits = parameter.removeprefix("q=")
    if digits == parameter or not digits.replace(".", "", 1).isdecimal() or not digits.isascii():
        return 0.0
    return float(digits)


async def inflate(data: Body, limit: int) -> bytearray:
    """Return what `data` holds in zlib's or gzip's frame.

    A stream that is broken or cut short is refused. Triton runs what it could inflate of it, be it nothing.

    Raises:
        InvalidArgument: nothing to inflate, no whole stream, or more than `limit` bytes in it.
    """
    if not data:
        raise InvalidArgument("nothing to be decompressed")
    inflation = _Inflation(data, limit)
    if len(data) <= SMALL:
        inflation.run(SMALL)
    if not inflation.ended:
        await asyncio.to_thread(inflation.run, limit + 1)
    if len(inflation.result) > limit:
        del inflation  # the error would keep it alive until it is answered
        raise InvalidArgument(
            f"Decompressed data size exceeds the maximum allowed value of {limit} bytes. Use --http-max-input-size to "
            "increase the limit."
        )
    if not inflation.whole:
        raise InvalidArgument("request body is not a whole gzip or deflate stream")
    return inflation.result


class _Inflation:
    """One body being inflated, a slice of its input and a step of its output at a time."""

    def __init__(self, data: Body, limit: int) -> None:
        self._rest = memoryview(data)
        self._zlib = zlib.decompressobj(wbits=EITHER_FRAME)
        self._pending: bytes = b""
        self._limit = limit
        self.result = bytearray()
        self.ended = False

    @property
    def whole(self) -> bool:
        """The stream came to its end, checksum and all."""
        return self._zlib.eof

    def run(self, until: int) -> None:
        """Inflate until there are `until` bytes, or one more than the limit, or no more."""
        until = min(until, self._limit + 1)
        while not self.ended and len(self.result) < until:
            if not self._pending:
                self._pending = bytes(self._rest[:SMALL])
                self._rest = self._rest[SMALL:]
            self.ended = not self._pending or not self._step(min(STEP, until - len(self.result)))

    def _step(self, most: int) -> bool:
        """Inflate up to `most` bytes; False where the stream ends, well or not."""
        try:
            self.result += self._zlib.decompress(self._pending, most)
        except zlib.error:
            return False
        self._pending = self._zlib.unconsumed_tail
        return not self._zlib.eof


async def deflate(parts: Sequence[bytes | memoryview], coding: Coding) -> bytes:
    """Return `parts`, one behind the other, in `coding`. They must not change meanwhile."""
    if sum(map(len, parts)) <= SMALL:
        return _deflate(parts, coding)
    return await asyncio.to_thread(_deflate, parts, coding)


def _deflate(parts: Sequence[bytes | memoryview], coding: Coding) -> bytes:
    compressor = zlib.compressobj(wbits=coding.wbits)
    return b"".join([*map(compressor.compress, parts), compressor.flush()])
