"""How long requests may wait, how many of them, and which go first (`dynamic_batching`, scheduling.md 2.1). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tritonclient.grpc.model_config_pb2 import ModelDynamicBatching, ModelQueuePolicy


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for the requests of one level."""

    max_queue_size: int
    """How many may wait: those past their deadline, too, as long as they do."""
    timeout_ns: int = 0
    """How long one may wait; 0 is for ever."""
    delays: bool = False
    """A request that has waited for so long goes behind those that have not; otherwise it is rejected."""
    may_shorten: bool = False
    """A request's own timeout counts, if it is the shorter one. It never lengthens, as in Triton."""

    def deadline_ns(self, queued_ns: int, timeout_us: int) -> int | None:
        """Return until when a request may wait that was queued at `queued_ns`, itself asking for `timeout_us` (0: no).

        None is for ever.
        """
        allowed_ns = self.timeout_ns
        if self.may_shorten and 0 < timeout_us * 1000 < allowed_ns:
            allowed_ns = timeout_us * 1000
        return queued_ns + allowed_ns if allowed_ns else None


@dataclass(frozen=True, slots=True)
class Levels:
    """The priority levels of a model, 1 the best; without any, all requests are on level 0."""

    policy: Policy
    """Of levels without one of their own."""
    count: int = 0
    default: int = 0
    """The level of requests that ask for none, or for one that there is not."""
    own: Mapping[int, Policy] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Somebody may have a deadline."""
        return any(policy.timeout_ns for policy in (self.policy, *self.own.values()))

    @property
    def plain(self) -> bool:
        """There is but one level, and nobody has a deadline."""
        return self.count <= 1 and not self.timed

    def level_of(self, priority: int) -> int:
        """Return the level of a request that asks for `priority`."""
        return priority if 1 <= priority <= self.count else self.default

    def policy_of(self, level: int) -> Policy:
        """Return what holds for the requests of `level`."""
        return self.own.get(level, self.policy)


def levels_of(batching: ModelDynamicBatching, max_queue_size: int) -> Levels:
    """Read the levels out of a valid configuration; a level without a bound gets `max_queue_size`."""
    return Levels(
        _policy_of(batching.default_queue_policy, max_queue_size),
        batching.priority_levels,
        batching.default_priority_level if batching.priority_levels else 0,
        {level: _policy_of(policy, max_queue_size) for level, policy in batching.priority_queue_policy.items()}
        if batching.priority_levels
        else {},
    )


def _policy_of(policy: ModelQueuePolicy, max_queue_size: int) -> Policy:
    return Policy(
        policy.max_queue_size or max_queue_size,
        policy.default_timeout_microseconds * 1000,
        policy.timeout_action == ModelQueuePolicy.DELAY,
        policy.allow_timeout_override,
    )
