"""How many of the requests that wait together go now: Triton's batch sizes (scheduling.md 2.4). Pure."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol


class Sized(Protocol):
    """What batch sizes depend on."""

    @property
    def rows(self) -> int:
        """Its batch size, at least 1."""

    @property
    def key(self) -> Hashable:
        """Requests with equal keys may share a batch."""


class BatchSizes:
    """The sizes of one model's batches: the largest possible, and those that are preferred."""

    __slots__ = ("_max", "_preferred", "largest", "smallest")

    def __init__(self, max_batch_size: int, preferred: Sequence[int]) -> None:
        self._max = max_batch_size
        self._preferred = frozenset(preferred) or frozenset((max_batch_size,))
        self.smallest = min(self._preferred)
        self.largest = max(self._preferred)

    def choose(self, items: Iterable[Sized], *, patient: bool, overdue: bool) -> int:
        """Count how many of `items`, from the front, make the next batch; 0 when it pays to wait for more.

        Rows total at most `max_batch_size`, except for a lone request. `patient`: there is a delay to wait for;
        `overdue`: it is over, and no size is preferred any more.
        """
        count, rows, preferred, closed = self._walk(items)
        if preferred and not overdue:
            return preferred
        if patient and not (closed or overdue or rows >= self.largest):
            return 0
        return count

    def _walk(self, items: Iterable[Sized]) -> tuple[int, int, int, bool]:
        """Count what fits one batch from the front.

        Returns the count of requests, their rows, how many of them make the best preferred size (0: none does), and
        whether the batch is closed, that is, no later arrival could join it.
        """
        count = rows = preferred = 0
        key: Hashable = None
        for item in items:
            following = rows + item.rows
            if count:
                if following > self.largest and not preferred:
                    preferred = count
                if following > self._max or item.key != key:
                    return count, rows, preferred, True
            else:
                key = item.key
            count += 1
            rows = following
            if rows in self._preferred:
                preferred = count
        return count, rows, preferred, False
