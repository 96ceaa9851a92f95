"""What it costs to queue a request and to form a batch, without a server."""

from collections.abc import Hashable
from dataclasses import dataclass

from benchmarks.timing import Timing, measure
from jubako.schedulers.policy import Levels, Policy
from jubako.schedulers.policy_queue import PolicyQueue
from jubako.schedulers.queue import BatchQueue, FifoQueue, Queue

REQUESTS = 1024


@dataclass(slots=True, eq=False)
class Item:
    """As much of a request as a queue looks at."""

    rows: int = 1
    key: Hashable = ()
    queued_ns: int = 0
    priority: int = 0
    timeout_us: int = 0


def main(seconds: float) -> list[Timing]:
    """Measure each queue for about `seconds`; an operation is one request's `put` and its part of a `take`."""
    items = [Item() for _ in range(REQUESTS)]
    queues: dict[str, Queue[Item]] = {"first come, first served": FifoQueue(max_queue_size=REQUESTS)}
    for size in (8, 64):
        queues[f"batches of {size}"] = BatchQueue(
            max_batch_size=size, preferred_batch_sizes=[], max_queue_delay_ns=0, max_queue_size=REQUESTS
        )
    rejecting = Policy(REQUESTS, timeout_ns=1_000_000_000)
    for name, levels in (("shapes", Levels(Policy(REQUESTS))), ("levels and deadlines", Levels(rejecting, 2, 1))):
        queues[f"batches of 8, {name}"] = PolicyQueue(
            max_batch_size=8, preferred_batch_sizes=[], max_queue_delay_ns=0, levels=levels
        )
    return [
        measure(f"queue, {name}", lambda queue=queue: _through(queue, items), seconds, REQUESTS)  # type: ignore[misc]
        for name, queue in queues.items()
    ]


def _through(queue: Queue[Item], items: list[Item]) -> None:
    for item in items:
        queue.put(item)
    taken = 0
    while batch := queue.take(now_ns=0):
        taken += len(batch)
    assert taken == len(items)
