from collections.abc import Iterator

import pytest
from config_strategies import configs
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.parse import parse_text
from jubako.config.support import ROWS, Support, markdown_table, review
from jubako.errors import Unsupported

HONOURED = """
name: "m" platform: "onnxruntime_onnx" backend: "onnxruntime" default_model_filename: "net.onnx" max_batch_size: 8
version_policy { specific { versions: [ 1 ] } }
input { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 1, 2, 3 ] reshape { shape: 6 } optional: true }
output { name: "y" data_type: TYPE_FP32 dims: 4 label_filename: "labels.txt" }
instance_group { name: "g" kind: KIND_GPU count: 2 gpus: [ 0 ] passive: true }
dynamic_batching {
  preferred_batch_size: 4 max_queue_delay_microseconds: 100 preserve_ordering: true
  priority_levels: 1 default_priority_level: 1
  default_queue_policy {
    max_queue_size: 9 timeout_action: REJECT default_timeout_microseconds: 5 allow_timeout_override: true
  }
  priority_queue_policy { key: 1 value { timeout_action: DELAY max_queue_size: 9 allow_timeout_override: true } }
}
optimization {
  graph { level: -1 } input_pinned_memory { enable: true }
  execution_accelerators { gpu_execution_accelerator { name: "cuda" parameters { key: "a" value: "0" } } }
}
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
metric_tags { key: "a" value: "b" }
model_metrics {
  metric_control {
    metric_identifier { family: "nv_inference_first_response_histogram_ms" } histogram_options { buckets: [ 1, 2 ] }
  }
}
response_cache { enable: true }
model_warmup {
  name: "w" batch_size: 1 count: 2 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1, 2, 3 ] zero_data: true } }
}
model_transaction_policy { decoupled: false }
"""
ENSEMBLE = """
name: "m" platform: "ensemble"
ensemble_scheduling {
  step {
    model_name: "n" model_version: 1 input_map { key: "x" value: "a" } output_map { key: "y" value: "b" }
  }
  max_inflight_requests: 3
}
"""
WARNED = {
    "instance_group.rate_limiter": "instance_group { rate_limiter { priority: 1 } }",
    "instance_group.host_policy": 'instance_group { host_policy: "p" }',
    "instance_group.profile": 'instance_group { profile: "0" }',
    "optimization.priority": "optimization { priority: PRIORITY_MAX }",
    "optimization.cuda": "optimization { cuda { graphs: true } }",
    "optimization.input_pinned_memory": "optimization { input_pinned_memory { enable: false } }",
    "optimization.output_pinned_memory": "optimization { output_pinned_memory { enable: false } }",
    "optimization.gather_kernel_buffer_threshold": "optimization { gather_kernel_buffer_threshold: 1 }",
    "optimization.eager_batching": "optimization { eager_batching: true }",
    "cc_model_filenames": 'cc_model_filenames { key: "7.5" value: "x" }',
    "model_operations": 'model_operations { op_library_filename: "x.so" }',
    "model_metrics.metric_control.metric_identifier.family": (
        'model_metrics { metric_control { metric_identifier { family: "f" } } }'
    ),
    "runtime": 'runtime: "libtriton_x.so"',
}
REFUSED = {
    "ensemble_scheduling.step.model_namespace": 'ensemble_scheduling { step { model_namespace: "n" } }',
    "sequence_batching": "sequence_batching { }",
    "model_transaction_policy.decoupled": "model_transaction_policy { decoupled: true }",
    "batch_input": 'batch_input { target_name: "x" }',
    "batch_output": 'batch_output { target_name: "x" }',
    "input.allow_ragged_batch": "input { allow_ragged_batch: true }",
    "input.is_shape_tensor": "input { is_shape_tensor: true }",
    "input.is_non_linear_format_io": "input { is_non_linear_format_io: true }",
    "output.is_shape_tensor": "output { is_shape_tensor: true }",
    "output.is_non_linear_format_io": "output { is_non_linear_format_io: true }",
    "model_repository_agents": "model_repository_agents { }",
    "instance_group.secondary_devices": "instance_group { secondary_devices { } }",
}


def _paths_without_an_answer(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    for field in descriptor.fields:
        path = prefix + field.name
        row = ROWS.get(path)
        if row is None:
            yield path
        elif field.message_type is not None and row.support is Support.HONOURED:
            inner: Descriptor | None = field.message_type
            if field.message_type.GetOptions().map_entry:
                inner = field.message_type.fields_by_name["value"].message_type
            if inner is not None:
                yield from _paths_without_an_answer(inner, f"{path}.")


def _is_reached(path: str) -> bool:
    """Say whether a row's path is a field, below honoured fields only: else nobody will ever look at the row."""
    descriptor: Descriptor | None = ModelConfig.DESCRIPTOR
    parents = path.split(".")
    for depth, name in enumerate(parents):
        if descriptor is None or name not in descriptor.fields_by_name:
            return False
        if depth and ROWS[".".join(parents[:depth])].support is not Support.HONOURED:
            return False
        descriptor = descriptor.fields_by_name[name].message_type
        if descriptor is not None and descriptor.GetOptions().map_entry:
            descriptor = descriptor.fields_by_name["value"].message_type
    return True


def test_every_field_of_a_configuration_has_a_row() -> None:
    assert list(_paths_without_an_answer(ModelConfig.DESCRIPTOR)) == []


def test_every_row_is_a_field() -> None:
    assert [path for path in ROWS if not _is_reached(path)] == []


def test_what_is_not_honoured_says_why() -> None:
    assert [path for path, row in ROWS.items() if row.support is not Support.HONOURED and not row.note] == []


@pytest.mark.parametrize("text", [HONOURED, ENSEMBLE])
def test_what_is_honoured_passes_without_a_word(text: str) -> None:
    assert review(parse_text(text, "m")) == []


@pytest.mark.parametrize(("path", "text"), WARNED.items(), ids=WARNED)
def test_what_is_ignored_is_named(path: str, text: str) -> None:
    warnings = review(parse_text('name: "m" ' + text, "m"))

    assert warnings == [f"'{path}' of model 'm' is ignored: {ROWS[path].note}"]


@pytest.mark.parametrize(("path", "text"), REFUSED.items(), ids=REFUSED)
def test_what_would_change_the_answers_is_refused_by_name(path: str, text: str) -> None:
    with pytest.raises(Unsupported) as refusal:
        review(parse_text('name: "m" ' + text, "m"))

    assert str(refusal.value) == f"model 'm' sets what is not supported: '{path}' ({ROWS[path].note})"


def test_the_examples_above_are_all_that_is_not_honoured() -> None:
    assert {path for path, row in ROWS.items() if row.support is Support.WARNED} == set(WARNED)
    assert {path for path, row in ROWS.items() if row.support is Support.REFUSED} == set(REFUSED)


def test_several_refusals_come_together_and_a_repeated_warning_once() -> None:
    with pytest.raises(Unsupported, match=r"'input.allow_ragged_batch' .*, 'sequence_batching' "):
        review(parse_text("sequence_batching { } input { allow_ragged_batch: true }", "m"))
    assert len(review(parse_text('instance_group { host_policy: "a" } instance_group { host_policy: "b" }', "m"))) == 1


@given(configs())
def test_any_configuration_is_reviewed_or_refused(config: ModelConfig) -> None:
    try:
        warnings = review(config)
    except Unsupported:
        return
    assert all("is ignored: " in warning for warning in warnings)


def test_the_documentation_s_table_has_a_line_for_each_row() -> None:
    lines = markdown_table().splitlines()

    assert len(lines) == len(ROWS) + 2
    assert "| `sequence_batching` | refused | sequence batching is not built yet |" in lines
