"""Which of many deadlines is the next, where most are called off before they come. Pure."""

import heapq
import itertools
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SLACK: Final = 64
"""Deadlines that were called off and are still in the heap, beyond as many as there are others."""


class Deadlines(Generic[T]):
    """Deadlines of items, each with one at most.

    A deadline that is called off lets go of its item at once, and of its own place in time: the heap is never more
    than twice as large as it has to be.
    """

    def __init__(self) -> None:
        self._entries: dict[T, list[object]] = {}
        self._heap: list[list[object]] = []  # [ns, a number that decides among equals, the item or None]
        self._numbers = itertools.count()

    def add(self, item: T, due_ns: int) -> None:
        """Take a deadline in."""
        entry: list[object] = [due_ns, next(self._numbers), item]
        self._entries[item] = entry
        heapq.heappush(self._heap, entry)

    def discard(self, item: T) -> None:
        """Call an item's deadline off, if it has one."""
        entry = self._entries.pop(item, None)
        if entry is None:
            return
        entry[2] = None
        if len(self._heap) > 2 * len(self._entries) + SLACK:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def next_ns(self) -> int | None:
        """Return the first deadline; None when there is none."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None  # type: ignore[return-value]

    def pop_due(self, now_ns: int) -> list[T]:
        """Remove and return the items whose deadline has come, the earliest first."""
        due: list[T] = []
        while (first_ns := self.next_ns()) is not None and first_ns <= now_ns:
            item: T = heapq.heappop(self._heap)[2]  # type: ignore[assignment]
            del self._entries[item]
            due.append(item)
        return due

    def clear(self) -> None:
        """Call all deadlines off."""
        self._entries.clear()
        self._heap.clear()
