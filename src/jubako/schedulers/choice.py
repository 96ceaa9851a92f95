"""Which queue a model gets: the cheapest one that keeps its configuration's promises."""

from typing import TypeVar

from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.interface import Interface
from jubako.schedulers.policy import levels_of
from jubako.schedulers.policy_queue import PolicyQueue, Ranked
from jubako.schedulers.queue import BatchQueue, FifoQueue, Queue

T = TypeVar("T", bound=Ranked)


def queue_for(config: ModelConfig, interface: Interface, max_queue_size: int) -> Queue[T]:
    """Return an empty queue for a model; `max_queue_size` is for levels to which the configuration gives no bound."""
    if not config.HasField("dynamic_batching"):
        return FifoQueue(max_queue_size=max_queue_size)
    batching = config.dynamic_batching
    levels = levels_of(batching, max_queue_size)
    if levels.plain and not interface.batched:
        return FifoQueue(max_queue_size=levels.policy_of(levels.count).max_queue_size)
    sizes = list(batching.preferred_batch_size) if interface.batched else []
    delay_ns = batching.max_queue_delay_microseconds * 1000
    if levels.plain and (batching.preserve_ordering or _one_shape(interface)):
        return BatchQueue(
            max_batch_size=interface.max_batch_size,
            preferred_batch_sizes=sizes,
            max_queue_delay_ns=delay_ns,
            max_queue_size=levels.policy_of(levels.count).max_queue_size,
        )
    return PolicyQueue(
        max_batch_size=max(1, interface.max_batch_size),
        preferred_batch_sizes=sizes,
        max_queue_delay_ns=delay_ns,
        levels=levels,
        ordered=batching.preserve_ordering,
    )


def _one_shape(interface: Interface) -> bool:
    """Whether any request may share a batch with any other."""
    return all(-1 not in spec.dims and not spec.optional for spec in interface.inputs.values())
