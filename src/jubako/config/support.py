"""What becomes of every field of config.pbtxt: honoured, ignored with a warning, or refused.

Nothing is ignored in silence: `review` walks the fields that a configuration sets and looks each one up here. A row for
a message speaks for all below it unless the message is honoured; then each of its fields has a row of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.metrics import FIRST_RESPONSE
from jubako.errors import Unsupported


class Support(Enum):
    """What is done with a field that a configuration sets."""

    HONOURED = "yes"
    WARNED = "ignored, with a warning"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Row:
    """One field's support, and why it is not honoured (or how it is, where that needs saying).

    `when`, given the field's value, says whether the value asks for anything; one that does not is as good as unset.
    """

    support: Support
    note: str = ""
    when: Callable[[Any], bool] = lambda value: True


def _yes(note: str = "") -> Row:
    return Row(Support.HONOURED, note)


def _warned(note: str) -> Row:
    return Row(Support.WARNED, note)


def _refused(note: str) -> Row:
    return Row(Support.REFUSED, note)


_ACCELERATOR: Final = {
    "name": _yes("checked by the backend"),
    "parameters": _yes("checked by the backend"),
}
_QUEUE_POLICY: Final = {
    "timeout_action": _yes(),
    "default_timeout_microseconds": _yes(),
    "allow_timeout_override": _yes("as in Triton, a request can only shorten the default"),
    "max_queue_size": _yes(),
}
_UNPINNED: Final = Row(
    Support.WARNED, "false has no effect, the backend chooses its memory", when=lambda memory: not memory.enable
)
_RESHAPE: Final = {"reshape": _yes(), "reshape.shape": _yes()}


def _under(prefix: str, rows: Mapping[str, Row]) -> dict[str, Row]:
    return {f"{prefix}.{path}": row for path, row in rows.items()}


ROWS: Final[Mapping[str, Row]] = {
    "name": _yes(),
    "platform": _yes(),
    "backend": _yes(),
    "runtime": _warned("backends are Python modules here, there is no library to choose"),
    "version_policy": _yes(),
    "version_policy.latest": _yes(),
    "version_policy.latest.num_versions": _yes(),
    "version_policy.all": _yes(),
    "version_policy.specific": _yes(),
    "version_policy.specific.versions": _yes(),
    "max_batch_size": _yes(),
    "input": _yes(),
    "input.name": _yes(),
    "input.data_type": _yes(),
    "input.format": _yes("shown in the configuration; as in Triton, no backend here reads it"),
    "input.dims": _yes(),
    **_under("input", _RESHAPE),
    "input.is_shape_tensor": _refused("shape tensors belong to TensorRT"),
    "input.allow_ragged_batch": _refused("ragged batches are not built yet"),
    "input.optional": _yes("where the backend can run without the input"),
    "input.is_non_linear_format_io": _refused("non-linear formats belong to TensorRT"),
    "output": _yes(),
    "output.name": _yes(),
    "output.data_type": _yes(),
    "output.dims": _yes(),
    **_under("output", _RESHAPE),
    "output.label_filename": _yes(),
    "output.is_shape_tensor": _refused("shape tensors belong to TensorRT"),
    "output.is_non_linear_format_io": _refused("non-linear formats belong to TensorRT"),
    "batch_input": _refused("batch inputs are not built yet"),
    "batch_output": _refused("batch outputs are not built yet"),
    "optimization": _yes(),
    "optimization.graph": _yes(),
    "optimization.graph.level": _yes(),
    "optimization.priority": _warned("it sets the priority of TensorRT's streams"),
    "optimization.cuda": _warned("it belongs to TensorRT; the cuda accelerator has options of its own"),
    "optimization.execution_accelerators": _yes(),
    "optimization.execution_accelerators.gpu_execution_accelerator": _yes(),
    **_under("optimization.execution_accelerators.gpu_execution_accelerator", _ACCELERATOR),
    "optimization.execution_accelerators.cpu_execution_accelerator": _yes(),
    **_under("optimization.execution_accelerators.cpu_execution_accelerator", _ACCELERATOR),
    "optimization.input_pinned_memory": _UNPINNED,
    "optimization.output_pinned_memory": _UNPINNED,
    "optimization.gather_kernel_buffer_threshold": _warned("there is no gather kernel, batches are joined in memory"),
    "optimization.eager_batching": _warned("a batch is joined when an instance takes it"),
    "dynamic_batching": _yes(),
    "dynamic_batching.preferred_batch_size": _yes(),
    "dynamic_batching.max_queue_delay_microseconds": _yes(),
    "dynamic_batching.preserve_ordering": _yes(),
    "dynamic_batching.priority_levels": _yes(),
    "dynamic_batching.default_priority_level": _yes(),
    "dynamic_batching.default_queue_policy": _yes(),
    **_under("dynamic_batching.default_queue_policy", _QUEUE_POLICY),
    "dynamic_batching.priority_queue_policy": _yes(),
    **_under("dynamic_batching.priority_queue_policy", _QUEUE_POLICY),
    "sequence_batching": _refused("sequence batching is not built yet"),
    "ensemble_scheduling": _yes(),
    "ensemble_scheduling.step": _yes(),
    "ensemble_scheduling.step.model_name": _yes(),
    "ensemble_scheduling.step.model_version": _yes(),
    "ensemble_scheduling.step.input_map": _yes(),
    "ensemble_scheduling.step.output_map": _yes(),
    "ensemble_scheduling.step.model_namespace": _refused("a model's name is unique over all repositories"),
    "ensemble_scheduling.max_inflight_requests": _yes("requests of the ensemble in its steps; others wait"),
    "instance_group": _yes(),
    "instance_group.name": _yes(),
    "instance_group.kind": _yes(),
    "instance_group.count": _yes(),
    "instance_group.rate_limiter": _warned("there is no rate limiter, every idle instance runs"),
    "instance_group.gpus": _yes(),
    "instance_group.secondary_devices": _refused("there are no such devices here (NVDLA)"),
    "instance_group.profile": _warned("optimization profiles belong to TensorRT"),
    "instance_group.passive": _yes(),
    "instance_group.host_policy": _warned("threads are not bound to cores or memory nodes"),
    "default_model_filename": _yes(),
    "cc_model_filenames": _warned("default_model_filename is loaded on every GPU"),
    "metric_tags": _yes("labels of its metrics, see docs/metrics.md"),
    "parameters": _yes(),
    "parameters.string_value": _yes("checked by the backend"),
    "model_warmup": _yes(),
    "model_warmup.name": _yes(),
    "model_warmup.batch_size": _yes(),
    "model_warmup.inputs": _yes(),
    "model_warmup.inputs.data_type": _yes(),
    "model_warmup.inputs.dims": _yes(),
    "model_warmup.inputs.zero_data": _yes(),
    "model_warmup.inputs.random_data": _yes("floats from 0 to 1, the same at each load"),
    "model_warmup.inputs.input_data_file": _yes(),
    "model_warmup.count": _yes(),
    "model_operations": _warned("custom operator libraries are not loaded"),
    "model_transaction_policy": _yes(),
    "model_transaction_policy.decoupled": _refused("decoupled models are not built yet"),
    "model_repository_agents": _refused("no agent runs, so none would check the model's files"),
    "response_cache": _yes(),
    "response_cache.enable": _yes("where the server has a cache (`cache_config`)"),
    "model_metrics": _yes(),
    "model_metrics.metric_control": _yes(),
    "model_metrics.metric_control.metric_identifier": _yes(),
    "model_metrics.metric_control.metric_identifier.family": Row(
        Support.WARNED,
        f"only the buckets of {FIRST_RESPONSE} can be set",
        when=lambda family: family != FIRST_RESPONSE,
    ),
    "model_metrics.metric_control.histogram_options": _yes(),
    "model_metrics.metric_control.histogram_options.buckets": _yes(),
}


def review(config: ModelConfig) -> list[str]:
    """Return one warning for each field that is set and will be ignored, naming it, in the order of the fields.

    Raises:
        Unsupported: a field is set that would change the answers if it were ignored; every such field is named.
    """
    warnings: dict[str, None] = {}  # a set that keeps its order: one warning a field, however many groups set it
    refusals: dict[str, None] = {}
    for path, row in _objections(config, ""):
        if row.support is Support.REFUSED:
            refusals[f"'{path}' ({row.note})"] = None
        else:
            warnings[f"'{path}' of model '{config.name}' is ignored: {row.note}"] = None
    if refusals:
        raise Unsupported(f"model '{config.name}' sets what is not supported: {', '.join(refusals)}")
    return list(warnings)


def _objections(message: Message, prefix: str) -> Iterator[tuple[str, Row]]:
    for field, content in message.ListFields():
        path = prefix + field.name
        row = ROWS.get(path, Row(Support.REFUSED, "this version does not know the field"))
        for value in _values(field, content):
            if row.support is not Support.HONOURED and row.when(value):
                yield path, row
            elif row.support is Support.HONOURED and isinstance(value, Message):
                yield from _objections(value, f"{path}.")


def _values(field: FieldDescriptor, content: Any) -> list[Any]:
    if isinstance(content, Mapping):
        return list(content.values())
    return list(content) if field.is_repeated else [content]


def markdown_table() -> str:
    """Return `ROWS` as the table of docs/supported.md."""
    lines = ["| field | supported | note |", "| --- | --- | --- |"]
    lines += [f"| `{path}` | {row.support.value} | {row.note} |" for path, row in ROWS.items()]
    return "\n".join(lines) + "\n"
