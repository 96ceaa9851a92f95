"""Which waiting requests run next, and together. Pure: what waits and the time come in, a batch goes out.

The rules are Triton's dynamic batcher's (scheduling.md sections 2.3 and 2.4), with one difference that its own
documentation promises as well: a batch is formed as late as possible, when an instance is free to take it, so there is
no half-formed batch that may still grow.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from jubako.errors import Unavailable


class Waiting(Protocol):
    """What the queue needs to know of a request."""

    @property
    def rows(self) -> int:
        """Its batch size, at least 1."""

    @property
    def key(self) -> Hashable:
        """Requests with equal keys may share a batch."""

    @property
    def queued_ns(self) -> int:
        """When it was put here."""


T = TypeVar("T", bound=Waiting)


class FifoQueue(Generic[T]):
    """The default scheduler's queue: each request is a batch of its own, first come, first served."""

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
            raise Unavailable("Exceeds maximum queue size")
        self._items.append(item)
        return True

    def take(self, now_ns: int) -> list[T]:
        """Remove and return the next batch; empty when nothing waits."""
        return [self._items.popleft()] if self._items else []

    def due_ns(self) -> int | None:
        """When a `take` that is empty now would no longer be: never by time alone."""
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
    """The dynamic batcher's queue."""

    def __init__(
        self,
        *,
        max_batch_size: int,
        preferred_batch_sizes: Sequence[int],
        max_queue_delay_ns: int,
        max_queue_size: int,
    ) -> None:
        super().__init__(max_queue_size=max_queue_size)
        self._max_batch_size = max_batch_size
        self._preferred = frozenset(preferred_batch_sizes) or frozenset((max_batch_size,))
        self._smallest = min(self._preferred)
        self._largest = max(self._preferred)
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
        return alone or not like_last or self._delay_ns == 0 or self._rows >= self._smallest

    def take(self, now_ns: int) -> list[T]:
        """Remove and return the next batch; empty when it pays to wait.

        Rows total at most `max_batch_size`, except for a lone request; arrival order holds.
        """
        if not self._items:
            return []
        oldest = self._items[0]
        overdue = self._delay_ns > 0 and now_ns - oldest.queued_ns >= self._delay_ns
        count, rows, preferred, closed = self._walk(oldest)
        if preferred and not overdue:
            count = preferred
        elif not (closed or rows >= self._largest or overdue or self._delay_ns == 0):
            return []
        batch = [self._items.popleft() for _ in range(count)]
        self._rows -= sum(item.rows for item in batch)
        return batch

    def _walk(self, oldest: T) -> tuple[int, int, int, bool]:
        """Count what fits one batch from the front.

        Returns the count of requests, their rows, how many of them make the best preferred size (0: none does), and
        whether the batch is closed, that is, no later arrival could join it.
        """
        count = rows = preferred = 0
        for item in self._items:
            following = rows + item.rows
            if count:
                if following > self._largest and not preferred:
                    preferred = count
                if following > self._max_batch_size or item.key != oldest.key:
                    return count, rows, preferred, True
            count += 1
            rows = following
            if rows in self._preferred:
                preferred = count
        return count, rows, preferred, False

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
