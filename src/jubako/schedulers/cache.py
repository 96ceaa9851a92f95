"""Answers that are kept, and given again to equal requests (`response_cache`).

`ResponseCache` is one for the whole server: pure, bounded in bytes, the answer that was longest not asked for goes
first. `Remembered` is a model version's way to it, in the loop's thread: it knows the clock and counts.

Equal are requests to one loaded version with the same inputs (name, datatype, shape and bytes, in any order) that ask
for the same outputs. Triton's key has neither shapes nor datatypes nor the outputs asked for, and then gives answers to
requests that never had them. Ids, priorities, timeouts and parameters do not count, as in Triton: no backend reads
parameters. A version that is loaded anew starts without answers.
"""

import hashlib
import logging
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from jubako.config.interface import Admission
from jubako.request import InferRequest, InferResponse, Reply, ResponseSignature
from jubako.statistics import Duration, ModelStatistics
from jubako.tensor import Array, Datatype, encode_bytes

log = logging.getLogger("jubako.schedulers")

DIGEST_BYTES: Final = 16
ENTRY_BYTES: Final = 512
"""What an entry takes besides its arrays: its key, its places in the table, what it says of its outputs."""
ARRAY_BYTES: Final = 256
"""What an array takes besides its elements."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An answer, less the request that it was to. Its arrays are its own and read-only."""

    signature: ResponseSignature
    arrays: tuple[Array, ...]
    labels: Mapping[str, Sequence[str]] | None
    batched: bool
    size_bytes: int

    def answer(self, request: InferRequest) -> InferResponse:
        """Return the same answer to `request`."""
        return InferResponse(request, self.signature, self.arrays, None, self.labels, self.batched)


class ResponseCache:
    """Answers by key, `max_bytes` of them at most. Pure but for its secret."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        """The sizes of all entries; never over `max_bytes`."""
        self.hits = 0
        self.evictions = 0
        self.lookup = Duration()
        """Look-ups, and the time that their askers took for them; of `insertion` alike."""
        self.insertion = Duration()
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        # Clients choose the bytes that are hashed: under a secret key they cannot look for two with one digest.
        self._secret = secrets.token_bytes(DIGEST_BYTES)
        self._owners = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def misses(self) -> int:
        """Look-ups that found nothing."""
        return self.lookup.count - self.hits

    def new_owner(self) -> int:
        """Return a number that no other loaded version has, or had."""
        self._owners += 1
        return self._owners

    def key(self, owner: int, request: InferRequest, admission: Admission) -> bytes:
        """Return what equal requests to the version `owner` have in common, and others have not."""
        inputs = request.signature.inputs
        by_name = sorted(range(len(inputs)), key=lambda i: inputs[i].name)
        said = [(inputs[i].name, inputs[i].datatype.name, inputs[i].shape) for i in by_name]
        # The head is unambiguous as a Python literal, and tells how many bytes of each input follow.
        digest = hashlib.blake2b(
            repr((owner, admission.outputs, said)).encode(), digest_size=DIGEST_BYTES, key=self._secret
        )
        for i in by_name:
            array = request.arrays[i]
            if inputs[i].datatype is Datatype.BYTES:
                digest.update(encode_bytes(array))
            else:
                digest.update(np.ascontiguousarray(array).data)
        return digest.digest()

    def look_up(self, key: bytes) -> Entry | None:
        """Return the answer under `key`, which is the last to be evicted now; count a hit."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            self.hits += 1
        return entry

    def insert(self, key: bytes, response: InferResponse) -> bool:
        """Keep a copy of an answer, and evict what must go for it; False if there is one under `key` already.

        One that is larger than the whole cache is not kept, and evicts nothing.
        """
        if key in self._entries:
            return False
        size = size_of(response)
        if size <= self.max_bytes:
            assert response.signature is not None
            arrays = tuple([_own(array) for array in response.arrays])
            self._make_room(size)
            self._entries[key] = Entry(response.signature, arrays, response.labels, response.batched, size)
            self.used_bytes += size
        return True

    def _make_room(self, size: int) -> None:
        while self.used_bytes + size > self.max_bytes:
            _, evicted = self._entries.popitem(last=False)
            self.used_bytes -= evicted.size_bytes
            self.evictions += 1


def size_of(response: InferResponse) -> int:
    """Return how many bytes of a cache's budget an answer takes."""
    size = ENTRY_BYTES + len(response.arrays) * ARRAY_BYTES
    for array in response.arrays:
        size += array.nbytes
        if array.dtype.hasobject:
            size += sum(map(sys.getsizeof, array.flat))
    return size


def _own(array: Array) -> Array:
    """Return a copy: a share of a batch is a view that would keep the whole batch in memory."""
    copy = array.copy()
    copy.setflags(write=False)
    return copy


class Remembered:
    """The answers of one loaded model version that are in the server's cache."""

    def __init__(
        self, cache: ResponseCache, statistics: ModelStatistics, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._cache = cache
        self._owner = cache.new_owner()
        self._statistics = statistics
        self._now_ns = now_ns

    def recall(self, request: InferRequest, admission: Admission, reply: Reply) -> Reply | None:
        """Answer `request` if an equal one was; else return the `Reply` to queue it with, which keeps its answer."""
        start_ns = self._now_ns()
        key = self._cache.key(self._owner, request, admission)
        entry = self._cache.look_up(key)
        now_ns = self._now_ns()
        lookup_ns = now_ns - start_ns
        self._cache.lookup.add(lookup_ns)
        if entry is None:
            return _Keeping(self, key, lookup_ns, reply)
        if request.trace is not None:
            request.trace.queued(start_ns)
        self._count_hit(lookup_ns, now_ns - request.start_ns, now_ns)
        reply(entry.answer(request), True)
        return None

    def keep(self, key: bytes, response: InferResponse, lookup_ns: int) -> None:
        """Keep the answer to a request that took `lookup_ns` to look up in vain; count a miss."""
        start_ns = self._now_ns()
        try:
            news = self._cache.insert(key, response)
        except MemoryError:
            log.warning("an answer of model '%s' was not cached: no memory", response.request.model_name)
            news = True
        now_ns = self._now_ns()
        self._cache.insertion.add(now_ns - start_ns)
        if news:
            self._count_miss(lookup_ns + now_ns - start_ns, now_ns)

    def _count_hit(self, lookup_ns: int, total_ns: int, now_ns: int) -> None:
        self._statistics.hit(lookup_ns, total_ns)
        if self._statistics.extras is not None:
            self._statistics.extras.hit(now_ns, lookup_ns, total_ns)

    def _count_miss(self, overhead_ns: int, now_ns: int) -> None:
        self._statistics.missed(overhead_ns)
        if self._statistics.extras is not None:
            self._statistics.extras.missed(now_ns, overhead_ns)


class _Keeping:
    """A request's `Reply` that keeps the answer before it passes it on; only a lone, final one, and no error."""

    __slots__ = ("_key", "_lookup_ns", "_remembered", "_reply")

    def __init__(self, remembered: Remembered, key: bytes, lookup_ns: int, reply: Reply) -> None:
        self._remembered = remembered
        self._key: bytes | None = key
        self._lookup_ns = lookup_ns
        self._reply = reply

    def __call__(self, response: InferResponse, final: bool, /) -> None:
        key, self._key = self._key, None
        if key is not None and final and response.error is None and response.signature is not None:
            self._remembered.keep(key, response, self._lookup_ns)
        self._reply(response, final)


class _Answered:
    """The ticket of a request that was answered before it had one."""

    def cancel(self) -> None:
        """Do nothing."""


ANSWERED: Final = _Answered()
