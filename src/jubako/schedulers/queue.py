"""Which waiting requests run next, and together. Pure: what waits and the time come in, a batch goes out.

The rules are Triton's dynamic batcher's (scheduling.md sections 2.3 and 2.4), with one difference that its own
documentation promises as well: a batch is formed as late as possible, when an instance is free to take it, so there is
no half-formed batch that may still grow.

Here are the queues that know neither levels nor deadlines; `policy_queue` has the one that does.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

from jubako.errors import Unavailable
from jubako.schedulers.sizes import BatchSizes, Sized

FULL: Final = "Exceeds maximum queue size"


class Waiting(Sized, Protocol):
    """What a queue needs to know of a request."""

    @property
    def queued_ns(self) -> int:
        """When it was put here."""


T = TypeVar("T", bound=Waiting)


class Queue(Protocol[T]):
    """Requests that wait for an instance. Its methods take no time and call nobody."""

    expires: bool
    """Requests may have deadlines; where they never do, `expire` and `expiry_ns` need not be called."""

    def __len__(self) -> int:
        """How many wait."""

    def put(self, item: T) -> bool:
        """Queue `item`; True if the next `take` may differ for it.

        Raises:
            Unavailable: the queue is full.
        """

    def take(self, now_ns: int) -> list[T]:
        """Remove and return the next batch; empty when nothing waits, or when it pays to wait."""

    def due_ns(self) -> int | None:
        """When a `take` that is empty now would no longer be; None: never by time alone."""

    def expire(self, now_ns: int) -> list[T]:
        """Remove and return what has waited too long to be run. To be called before a `take`."""

    def expiry_ns(self) -> int | None:
        """When the next `expire` has something to do; None: never."""

    def remove(self, item: T) -> None:
        """Take `item` out, wherever it stands."""

    def drain(self) -> list[T]:
        """Remove and return everything that waits."""


class FifoQueue(Generic[T]):
    """The default scheduler's queue: each request is a batch of its own, first come, first served."""

    expires = False

    def __init__(self, *, max_queue_size: int) -> None:
        self._max_queue_size = max_queue_size
        self._items: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> bool:
        """Append `item`; True if the next `take` may differ for it.

        Raises:
            Unavailable: the queue is full.
        """
        if len(self._items) >= self._max_queue_size:
            raise Unavailable(FULL)
        self._items.append(item)
        return True

    def take(self, now_ns: int) -> list[T]:
        """Remove and return the next batch; empty when nothing waits."""
        return [self._items.popleft()] if self._items else []

    def due_ns(self) -> int | None:
        """When a `take` that is empty now would no longer be: never by time alone."""
        return None

    def expire(self, now_ns: int) -> list[T]:
        """Return nothing: requests may wait here for ever."""
        return []

    def expiry_ns(self) -> int | None:
        """Return None: nothing expires here."""
        return None

    def remove(self, item: T) -> None:
        """Take `item` out, wherever it stands."""
        self._items.remove(item)

    def drain(self) -> list[T]:
        """Remove and return everything that waits."""
        items = list(self._items)
        self._items.clear()
        return items


class BatchQueue(FifoQueue[T]):
    """The dynamic batcher's queue where requests are all of one shape, or have to run in the order of their arrival.

    A request of another shape closes the batch before it, as in Triton.
    """

    def __init__(
        self,
        *,
        max_batch_size: int,
        preferred_batch_sizes: Sequence[int],
        max_queue_delay_ns: int,
        max_queue_size: int,
    ) -> None:
        super().__init__(max_queue_size=max_queue_size)
        self._sizes = BatchSizes(max_batch_size, preferred_batch_sizes)
        self._delay_ns = max_queue_delay_ns
        self._rows = 0

    def put(self, item: T) -> bool:
        """Append `item`; True if the next `take` may differ for it.

        False only while everything that waits is too little for a preferred size and fits one batch: then nothing but
        time changes the decision.

        Raises:
            Unavailable: the queue is full.
        """
        alone = not self._items
        like_last = alone or self._items[-1].key == item.key
        super().put(item)
        self._rows += item.rows
        return alone or not like_last or self._delay_ns == 0 or self._rows >= self._sizes.smallest

    def take(self, now_ns: int) -> list[T]:
        """Remove and return the next batch; empty when it pays to wait.

        Rows total at most `max_batch_size`, except for a lone request; arrival order holds.
        """
        if not self._items:
            return []
        delay_ns = self._delay_ns
        overdue = delay_ns > 0 and now_ns - self._items[0].queued_ns >= delay_ns
        count = self._sizes.choose(self._items, patient=delay_ns > 0, overdue=overdue)
        batch = [self._items.popleft() for _ in range(count)]
        self._rows -= sum(item.rows for item in batch)
        return batch

    def due_ns(self) -> int | None:
        """When the oldest request will have waited its delay; None when nothing waits."""
        if not self._items or self._delay_ns == 0:
            return None
        return self._items[0].queued_ns + self._delay_ns

    def remove(self, item: T) -> None:
        """Take `item` out, wherever it stands."""
        super().remove(item)
        self._rows -= item.rows

    def drain(self) -> list[T]:
        """Remove and return everything that waits."""
        self._rows = 0
        return super().drain()
