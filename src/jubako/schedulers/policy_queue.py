"""The dynamic batcher's queue with levels, deadlines and shapes. Pure.

The rule. Requests stand in lanes: a lane for each level, and behind each a lane for those of the level that are past a
deadline that only delays. A batch is formed around one request: the first one, by lane and then by age, that need not
wait; and a request need not wait if there is no queue delay, if its delay is over, or if those of its shape make a
preferred size or fill a batch. Whatever else of its shape waits joins it, by lane and then by age, as far as there is
room; requests of other shapes are passed over, and do not close a batch.

So nothing starves within a level: a request whose delay is over is passed by none that came after it, but for those
that join a batch of an older one. Between levels there is no such promise, as in Triton: the better one always goes
first.

In an `ordered` queue nothing is passed over: a request of another shape closes the batch, as in Triton.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain, islice
from typing import Generic, Protocol, TypeVar

from jubako.errors import Unavailable
from jubako.schedulers.deadlines import Deadlines
from jubako.schedulers.policy import Levels
from jubako.schedulers.queue import FULL, Waiting
from jubako.schedulers.sizes import BatchSizes

Lane = tuple[int, bool]
"""A level, and whether it is the lane of those past their deadline. Sorted, they are in the order of service."""


class Ranked(Waiting, Protocol):
    """What this queue needs to know of a request. Compared and hashed by identity."""

    @property
    def priority(self) -> int:
        """The level that it asks for; 0 asks for none."""

    @property
    def timeout_us(self) -> int:
        """How long it would wait; 0 does not say."""


T = TypeVar("T", bound=Ranked)


class _Group(Generic[T]):
    """Those that may share a batch, by lane; no lane is empty."""

    __slots__ = ("key", "lanes", "rows")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.lanes: dict[Lane, OrderedDict[T, int]] = {}  # with a number that says who came first
        self.rows = 0

    def items(self) -> Iterable[T]:
        """Return all, in the order of service."""
        if len(self.lanes) == 1:
            (only,) = self.lanes.values()
            return only
        return chain.from_iterable(self.lanes[lane] for lane in sorted(self.lanes))

    def first(self, lane: Lane) -> int:
        """Return the number of the first in `lane`."""
        return next(iter(self.lanes[lane].values()))


class _Place(Generic[T]):
    """Where an item stands."""

    __slots__ = ("group", "lane", "timed")

    def __init__(self, group: _Group[T], lane: Lane, timed: bool) -> None:
        self.group = group
        self.lane = lane
        self.timed = timed


class PolicyQueue(Generic[T]):
    """A queue by the rule above. What a call costs does not grow with what waits, but for `drain`."""

    def __init__(
        self,
        *,
        max_batch_size: int,
        preferred_batch_sizes: Sequence[int],
        max_queue_delay_ns: int,
        levels: Levels,
        ordered: bool = False,
    ) -> None:
        self._sizes = BatchSizes(max_batch_size, preferred_batch_sizes)
        self._delay_ns = max_queue_delay_ns
        self._levels = levels
        self._ordered = ordered
        self._number = 0
        self._places: OrderedDict[T, _Place[T]] = OrderedDict()  # in the order of arrival
        self._lanes: dict[Lane, OrderedDict[T, None]] = {}  # none is empty
        self._service: list[Lane] = []  # the lanes, sorted
        self._groups: dict[Hashable, _Group[T]] = {}  # none is empty
        # Rows below which no group is a batch; in an ordered one another shape may have closed it.
        self._least = 1 if ordered else self._sizes.smallest
        self._large: dict[_Group[T], None] = {}  # groups with as many
        self._waiting: dict[int, int] = {}  # by level
        self._deadlines: Deadlines[T] = Deadlines()
        self.expires = levels.timed

    def __len__(self) -> int:
        return len(self._places)

    def put(self, item: T) -> bool:
        """Queue `item`; True if the next `take` may differ for it.

        Raises:
            Unavailable: its level is full.
        """
        level = self._levels.level_of(item.priority)
        policy = self._levels.policy_of(level)
        waiting = self._waiting.get(level, 0)
        if waiting >= policy.max_queue_size:
            raise Unavailable(FULL)
        self._waiting[level] = waiting + 1
        deadline_ns = policy.deadline_ns(item.queued_ns, item.timeout_us)
        if deadline_ns is not None:
            self._deadlines.add(item, deadline_ns)
        group = self._group_of(item)
        alone = not self._places
        self._places[item] = place = _Place(group, (level, False), deadline_ns is not None)
        self._enter(item, place)
        group.rows += item.rows
        if group.rows >= self._least:
            self._large[group] = None
            return True
        return alone or self._delay_ns == 0

    def take(self, now_ns: int) -> list[T]:
        """Remove and return the next batch; empty when nothing waits, or when it pays to wait.

        Rows total at most `max_batch_size`, except for a lone request.
        """
        group, overdue = self._pick(now_ns)
        if group is None:
            return []
        count = self._sizes.choose(group.items(), patient=self._delay_ns > 0, overdue=overdue)
        batch = list(islice(group.items(), count))
        for item in batch:
            self.remove(item)
        return batch

    def _pick(self, now_ns: int) -> tuple[_Group[T] | None, bool]:
        """Return the group of which the next batch is, and whether it is one of those whose delay is over."""
        patient = self._delay_ns > 0
        for lane in self._service:
            first = next(iter(self._lanes[lane]))
            if not patient or self._overdue(first, now_ns):
                return self._places[first].group, patient
            ready = [group for group in self._large if lane in group.lanes and self._ready(group)]
            if ready:
                return min(ready, key=lambda group: group.first(lane)), False
        for oldest in islice(self._places, 1):
            # In a lane of those past their deadlines, short ones may stand before older ones.
            if patient and self._overdue(oldest, now_ns):
                return self._places[oldest].group, True
        return None, False

    def _overdue(self, item: T, now_ns: int) -> bool:
        return now_ns - item.queued_ns >= self._delay_ns

    def _ready(self, group: _Group[T]) -> bool:
        return self._sizes.choose(group.items(), patient=True, overdue=False) > 0

    def due_ns(self) -> int | None:
        """When the oldest request will have waited its delay; None when nothing waits."""
        if not self._places or self._delay_ns == 0:
            return None
        return next(iter(self._places)).queued_ns + self._delay_ns

    def expire(self, now_ns: int) -> list[T]:
        """Let the deadlines come that have; remove and return whom they reject, the earliest first."""
        rejected: list[T] = []
        for item in self._deadlines.pop_due(now_ns):
            place = self._places[item]
            level, _ = place.lane
            if self._levels.policy_of(level).delays:
                self._leave(item, place)
                place.lane = level, True
                self._enter(item, place)
            else:
                self.remove(item)
                rejected.append(item)
        return rejected

    def expiry_ns(self) -> int | None:
        """When the next deadline comes; None: there is none."""
        return self._deadlines.next_ns()

    def remove(self, item: T) -> None:
        """Take `item` out, wherever it stands."""
        place = self._places.pop(item)
        if place.timed:
            self._deadlines.discard(item)
        self._leave(item, place)
        group, (level, _) = place.group, place.lane
        self._waiting[level] -= 1
        group.rows -= item.rows
        if group.rows < self._least:
            self._large.pop(group, None)
        if not group.lanes:
            del self._groups[group.key]

    def drain(self) -> list[T]:
        """Remove and return everything that waits, in the order of arrival."""
        items = list(self._places)
        for content in (self._places, self._lanes, self._service, self._groups, self._large, self._waiting):
            content.clear()
        self._deadlines.clear()
        return items

    def _group_of(self, item: T) -> _Group[T]:
        key = None if self._ordered else item.key
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key)
        return group

    def _enter(self, item: T, place: _Place[T]) -> None:
        """Put `item` at the end of its lane."""
        lane, lanes = place.lane, place.group.lanes
        if lane not in self._lanes:
            self._lanes[lane] = OrderedDict()
            insort(self._service, lane)
        if lane not in lanes:
            lanes[lane] = OrderedDict()
        self._number += 1
        self._lanes[lane][item] = None
        lanes[lane][item] = self._number

    def _leave(self, item: T, place: _Place[T]) -> None:
        """Take `item` out of its lane."""
        lane, lanes = place.lane, place.group.lanes
        del self._lanes[lane][item]
        if not self._lanes[lane]:
            del self._lanes[lane]
            self._service.remove(lane)
        del lanes[lane][item]
        if not lanes[lane]:
            del lanes[lane]
