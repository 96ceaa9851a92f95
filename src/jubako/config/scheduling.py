"""What a configuration may say about its scheduler: dynamic and sequence batching. Triton's words. Pure."""

from collections.abc import Iterable
from typing import Final

from tritonclient.grpc.model_config_pb2 import (
    DataType,
    ModelConfig,
    ModelDynamicBatching,
    ModelQueuePolicy,
    ModelSequenceBatching,
)

from jubako.errors import InvalidArgument

FALSE_TRUE: Final = ("int32_false_true", "fp32_false_true", "bool_false_true")
CORRID_TYPES: Final = (
    DataType.TYPE_UINT64,
    DataType.TYPE_INT64,
    DataType.TYPE_UINT32,
    DataType.TYPE_INT32,
    DataType.TYPE_STRING,
)


def validate_scheduling(config: ModelConfig) -> None:
    """Check the scheduler of a normalised configuration.

    Raises:
        InvalidArgument: the first fault found.
    """
    match config.WhichOneof("scheduling_choice"):
        case "dynamic_batching":
            _check_preferred_sizes(
                config, config.dynamic_batching.preferred_batch_size, "dynamic batching preferred size"
            )
            _check_priorities(config.dynamic_batching, config.name)
            _check_ordering(config.dynamic_batching, config.name)
        case "sequence_batching":
            _check_sequence(config)
    if config.model_transaction_policy.decoupled and config.response_cache.enable:
        raise InvalidArgument(_no_cache(config.name, "'decoupled' transaction policy"))


def _no_cache(model: str, what: str) -> str:
    return f"Response Cache does not currently support model {model} with {what}. Please disable the response cache."


def _check_preferred_sizes(config: ModelConfig, sizes: Iterable[int], what: str) -> None:
    for size in sizes:
        if size <= 0:
            raise InvalidArgument(f"{what} must be positive for {config.name}")
        if size > config.max_batch_size:
            raise InvalidArgument(f"{what} must be <= max batch size for {config.name}")


def _check_priorities(dynamic: ModelDynamicBatching, model: str) -> None:
    levels = dynamic.priority_levels
    if not levels:
        return
    if not 1 <= dynamic.default_priority_level <= levels:
        raise InvalidArgument(f"default priority level must be in range [1, {levels}] for {model}")
    if any(not 1 <= level <= levels for level in dynamic.priority_queue_policy):
        raise InvalidArgument(f"priority queue policy must have priority level in range [1, {levels}] for {model}")


def _check_ordering(dynamic: ModelDynamicBatching, model: str) -> None:
    if not dynamic.preserve_ordering:
        return
    if dynamic.priority_levels > 1:
        raise InvalidArgument(f"Only one priority level is allowed when 'preserve_ordering' is true for {model}")
    policies = [dynamic.default_queue_policy, *dynamic.priority_queue_policy.values()]
    if any(
        policy.default_timeout_microseconds and policy.timeout_action == ModelQueuePolicy.DELAY for policy in policies
    ):
        raise InvalidArgument(
            f"Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for {model}"
        )


def _check_sequence(config: ModelConfig) -> None:
    sequence = config.sequence_batching
    if config.response_cache.enable:
        raise InvalidArgument(_no_cache(config.name, "sequence batching scheduler"))
    _check_control_names(sequence, config.name)
    for kind in ModelSequenceBatching.Control.Kind.values():
        _check_control(sequence, kind, config.name)
    if sequence.HasField("oldest"):
        sizes = sequence.oldest.preferred_batch_size
        _check_preferred_sizes(config, sizes, "sequence batching preferred batch size")
    if sequence.HasField("direct") and not 0.0 <= sequence.direct.minimum_slot_utilization <= 1.0:
        raise InvalidArgument(
            f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {config.name}"
        )


def _check_control_names(sequence: ModelSequenceBatching, model: str) -> None:
    seen: set[str] = set()
    for tensor in sequence.control_input:
        if not tensor.name:
            raise InvalidArgument(f"sequence batching control tensor must have a name for {model}")
        if tensor.name in seen:
            raise InvalidArgument(
                f"sequence batching control tensor '{tensor.name}' is specified for multiple control kinds for {model}"
            )
        seen.add(tensor.name)


def _check_control(sequence: ModelSequenceBatching, kind: int, model: str) -> None:
    controls = [control for tensor in sequence.control_input for control in tensor.control if control.kind == kind]
    kind_name = ModelSequenceBatching.Control.Kind.Name(kind)
    for control in controls:
        given = [field for field in FALSE_TRUE if len(getattr(control, field))]
        if kind == ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID:
            _check_correlation(control, given, model)
        elif not given:
            raise InvalidArgument(
                f"sequence batching must specify either {_quoted(' or ')} for {kind_name} for {model}"
            )
        elif len(given) > 1:
            raise InvalidArgument(
                f"sequence batching specifies more than one from {_quoted(' and ')} for {kind_name} for {model}"
            )
        elif len(getattr(control, given[0])) != 2:
            raise InvalidArgument(
                f"sequence batching control '{given[0]}' must have exactly 2 entries for {kind_name} for {model}"
            )
    if len(controls) > 1:
        raise InvalidArgument(f"sequence batching specifies multiple {kind_name} tensors for {model}")


def _check_correlation(control: ModelSequenceBatching.Control, given: list[str], model: str) -> None:
    kind_name = ModelSequenceBatching.Control.Kind.Name(control.kind)
    if given:
        raise InvalidArgument(
            f"sequence batching must not specify either {_quoted(' or ')} for {kind_name} for {model}"
        )
    if control.data_type not in CORRID_TYPES:
        *most, last = (DataType.Name(number) for number in CORRID_TYPES)
        raise InvalidArgument(
            f"unexpected data type for control {kind_name} for {model}. "
            f"Allowed data types are {', '.join(most)} and {last}"
        )


def _quoted(last: str) -> str:
    quoted = [f"'{field}'" for field in FALSE_TRUE]
    return ", ".join(quoted[:-1]) + last + quoted[-1]
