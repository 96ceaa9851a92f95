import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from config_strategies import configs
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.backend import infer_backend
from jubako.config.normalise import normalise
from jubako.config.parse import parse_json, parse_text, to_json
from jubako.errors import InvalidArgument

TRITON: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "triton_configs.json").read_text())
SYNTAX_ERRORS = [
    ('name: "m"\nfoo: 1', 'line 2, column 1: Message type "inference.ModelConfig" has no field named "foo"'),
    ("max_batch_size: eight", "line 1, column 17: 'max_batch_size: eight': Couldn't parse integer: eight"),
    ('name: "m', "line 1, column 7"),
    ("input {\n  dims: [ 1 \n", "line 3, column 1"),
    ("input { data_type: TYPE_FP33 }", "line 1, column 20"),
    ("max_batch_size: 1\nmax_batch_size: 2", "line 2, column 17"),
    ("dynamic_batching { } sequence_batching { }", "line 1, column 22"),
    ("max_batch_size: 99999999999", "line 1, column 17"),
    ("}", "line 1, column 1"),
]


@pytest.mark.parametrize(("text", "complaint"), SYNTAX_ERRORS)
def test_a_syntax_error_names_the_file_the_line_and_the_column(text: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_text(text, "digits/config.pbtxt")

    assert f"failed to read text proto from digits/config.pbtxt at {complaint}" in str(refusal.value)


def test_both_ways_to_write_a_message_lists_and_comments_are_understood() -> None:
    config = parse_text(
        '# a comment\ninput: [ { name: "a" }, { name: "b", dims: [1, 2] } ] output { dims: 3 dims: 4 }', "m"
    )

    assert [tensor.name for tensor in config.input] == ["a", "b"]
    assert list(config.input[1].dims) == [1, 2]
    assert list(config.output[0].dims) == [3, 4]


@given(configs())
def test_a_configuration_written_as_text_reads_back_the_same(config: ModelConfig) -> None:
    assert parse_text(text_format.MessageToString(config), "m/config.pbtxt") == config


@given(configs())
def test_a_configuration_shown_as_json_reads_back_the_same(config: ModelConfig) -> None:
    assert parse_json(json.dumps(to_json(config)), "config override") == config


JSON_LIKE = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["name", "input", "parameters", "dims", "instanceGroup"]), inner)
    ),
).map(json.dumps)


@given(st.text() | st.text("name:input{}[]\"'#\n 0123456789-.,;<>", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidArgument):
        parse_text(text, "m/config.pbtxt")


@given(st.text() | JSON_LIKE)
def test_any_json_is_read_or_refused(text: str) -> None:
    with suppress(InvalidArgument):
        parse_json(text, "config override")


def test_json_takes_both_spellings_of_a_field_and_any_case_of_an_enum() -> None:
    config = parse_json(
        '{"maxBatchSize": 4, "input": [{"name": "x", "data_type": "type_fp32", "dims": [1, "2"]}],'
        ' "instanceGroup": [{"kind": "Kind_Cpu"}], "model_warmup": [{"inputs": {"x": {"dataType": "type_int8"}}}]}',
        "config override",
    )

    assert config == parse_text(
        'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [ 1, 2 ] } instance_group { kind: KIND_CPU }'
        ' model_warmup { inputs { key: "x" value { data_type: TYPE_INT8 } } }',
        "m",
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"nam": "m"}',
        "[]",
        "",
        '"m"',
        '{"name": 3}',
        '{"name": "m", "name": "n"}',
        '{"input": [{"data_type": "X"}]}',
        "[" * 100_000,
        '{"max_batch_size": 1.5}',
    ],
    ids=["unknown", "list", "empty", "text", "type", "twin", "enum", "deep", "fraction"],
)
def test_json_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Invalid config override: "):
        parse_json(text, "config override")


@pytest.mark.parametrize("name", TRITON)
def test_the_whole_configuration_is_what_the_real_triton_shows(name: str) -> None:
    text, shown = TRITON[name]["text"], TRITON[name]["config"]

    config = normalise(infer_backend(parse_text(text or "", name), name, ["model.py"]), gpus=[])

    assert to_json(config) == shown
    assert list(to_json(config)) == list(shown)


def test_every_64_bit_field_is_a_number_and_map_keys_stay_text() -> None:
    config = parse_text(
        "dynamic_batching { max_queue_delay_microseconds: 18446744073709551615"
        " priority_queue_policy { key: 2 value { default_timeout_microseconds: 7 } } }"
        ' optimization { cuda { graph_spec { input { key: "x" value { dim: 5 } } } } }',
        "m",
    )

    shown = to_json(config)

    assert shown["dynamic_batching"]["max_queue_delay_microseconds"] == 2**64 - 1
    assert shown["dynamic_batching"]["priority_queue_policy"]["2"]["default_timeout_microseconds"] == 7
    assert shown["optimization"]["cuda"]["graph_spec"][0]["input"]["x"]["dim"] == [5]


def test_floats_are_shown_with_the_digits_they_were_written_with() -> None:
    config = ModelConfig()
    config.sequence_batching.control_input.add().control.add().fp32_false_true[:] = [0.1, 1.0, 3.4028234e38, math.inf]

    control = to_json(config)["sequence_batching"]["control_input"][0]["control"][0]

    assert json.dumps(control["fp32_false_true"]) == '[0.1, 1, 3.4028235e+38, "Infinity"]'
