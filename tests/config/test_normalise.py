import pytest
from config_strategies import configs
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.normalise import normalise
from jubako.config.parse import parse_text, to_json


def _normal(text: str, gpus: tuple[int, ...] = ()) -> ModelConfig:
    return normalise(parse_text('name: "m" ' + text, "m"), gpus)


def _groups(text: str, gpus: tuple[int, ...] = ()) -> list[tuple[str, str, int, list[int]]]:
    groups = to_json(_normal(text, gpus))["instance_group"]
    return [(group["name"], group["kind"], group["count"], group["gpus"]) for group in groups]


@given(configs(), st.sets(st.integers(0, 3)))
def test_normalising_twice_changes_nothing(config: ModelConfig, gpus: set[int]) -> None:
    once = normalise(config, gpus)

    assert normalise(once, gpus) == once


def test_the_latest_version_is_served_unless_said_otherwise() -> None:
    assert _normal("").version_policy.latest.num_versions == 1
    assert _normal("version_policy { all { } }").version_policy.WhichOneof("policy_choice") == "all"


def test_the_preferred_batch_is_the_largest_one_where_there_are_batches() -> None:
    assert list(_normal("max_batch_size: 8 dynamic_batching { }").dynamic_batching.preferred_batch_size) == [8]
    assert list(_normal("dynamic_batching { }").dynamic_batching.preferred_batch_size) == []
    text = "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 2, 4 ] }"
    assert list(_normal(text).dynamic_batching.preferred_batch_size) == [2, 4]


def test_a_sequence_may_idle_for_a_second() -> None:
    sequence = _normal("max_batch_size: 4 sequence_batching { oldest { } }").sequence_batching

    assert sequence.max_sequence_idle_microseconds == 1_000_000
    assert list(sequence.oldest.preferred_batch_size) == [4]


def test_a_model_without_a_scheduler_gets_none() -> None:
    assert _normal("max_batch_size: 8").WhichOneof("scheduling_choice") is None


def test_pinned_memory_is_on_unless_it_is_off() -> None:
    optimization = _normal("optimization { input_pinned_memory { enable: false } }").optimization

    assert not optimization.input_pinned_memory.enable
    assert optimization.output_pinned_memory.enable


def test_an_ensemble_gets_neither_instances_nor_pinned_memory() -> None:
    config = _normal('platform: "ensemble" ensemble_scheduling { }')

    assert not config.instance_group
    assert not config.HasField("optimization")


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("", (), [("m", "KIND_CPU", 1, [])]),
        ("", (0, 1), [("m", "KIND_GPU", 1, [0, 1])]),
        ('backend: "onnxruntime"', (), [("m", "KIND_CPU", 2, [])]),
        ('backend: "onnxruntime"', (0,), [("m", "KIND_GPU", 1, [0])]),
        ('backend: "onnxruntime" instance_group { kind: KIND_MODEL }', (), [("m_0", "KIND_MODEL", 1, [])]),
        ('backend: "onnxruntime" instance_group { kind: KIND_CPU count: 1 }', (), [("m_0", "KIND_CPU", 1, [])]),
        ('instance_group { name: "g" } instance_group { }', (), [("g", "KIND_CPU", 1, []), ("m_1", "KIND_CPU", 1, [])]),
        ("instance_group { count: -3 }", (), [("m_0", "KIND_CPU", 1, [])]),
        ("instance_group { gpus: [ 1 ] }", (0, 1), [("m_0", "KIND_GPU", 1, [1])]),
        ("instance_group { gpus: [ 0, 5 ] }", (0, 1), [("m_0", "KIND_CPU", 1, [0, 5])]),
        ("instance_group { kind: KIND_CPU }", (0,), [("m_0", "KIND_CPU", 1, [])]),
        ("instance_group { kind: KIND_GPU count: 2 }", (1, 0), [("m_0", "KIND_GPU", 2, [0, 1])]),
        ("instance_group { kind: KIND_GPU gpus: [ 7 ] }", (0,), [("m_0", "KIND_GPU", 1, [7])]),
        ("instance_group { kind: KIND_GPU }", (), [("m_0", "KIND_GPU", 1, [])]),
    ],
)
def test_instance_groups_get_name_kind_count_and_gpus(
    text: str, gpus: tuple[int, ...], expected: list[tuple[str, str, int, list[int]]]
) -> None:
    assert _groups(text, gpus) == expected
