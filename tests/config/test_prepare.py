import pytest
from config_faults import SOUND
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.parse import parse_text
from jubako.config.prepare import prepare
from jubako.errors import Internal, InvalidArgument


def _two_tensors(config: ModelConfig) -> ModelConfig:
    return parse_text(
        f'name: "{config.name}" backend: "{config.backend}" platform: "{config.platform}" max_batch_size: 4'
        ' input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 4 }'
        " dynamic_batching { }",
        "completed",
    )


def _untouched(config: ModelConfig) -> ModelConfig:
    return config


def _no_backend(config: ModelConfig) -> ModelConfig:
    raise AssertionError("no backend should be asked")


def test_a_model_without_a_file_gets_all_from_its_artefact() -> None:
    prepared = prepare(None, "m", ["model.onnx"], _two_tensors, gpus=[])

    assert (prepared.config.name, prepared.config.backend) == ("m", "onnxruntime")
    assert list(prepared.config.dynamic_batching.preferred_batch_size) == [4]
    assert [(group.name, group.count) for group in prepared.config.instance_group] == [("m", 2)]


def test_the_backend_is_known_when_it_is_asked_to_complete() -> None:
    asked: list[str] = []

    def complete(config: ModelConfig) -> ModelConfig:
        asked.append(config.backend)
        return config

    prepare(None, "m", ["model.pt"], complete, gpus=[])

    assert asked == ["pytorch"]


def test_without_auto_complete_the_file_must_be_there() -> None:
    with pytest.raises(Internal) as failure:
        prepare(None, "m", ["model.onnx"], None, gpus=[])

    assert str(failure.value) == "failed to open text file for read m/config.pbtxt: No such file or directory"


def test_without_auto_complete_the_file_is_enough() -> None:
    prepared = prepare(parse_text(SOUND, "m"), "m", ["model.py"], None, gpus=[])

    assert [tensor.name for tensor in prepared.config.input] == ["x"]


def test_what_the_backend_fills_in_is_checked_too() -> None:
    def complete(config: ModelConfig) -> ModelConfig:
        completed = _two_tensors(config)
        completed.input[0].dims[:] = [0]
        return completed

    with pytest.raises(InvalidArgument, match="'x' dimension must be integer"):
        prepare(None, "m", ["model.onnx"], complete, gpus=[])


def test_what_is_ignored_comes_back_as_warnings_and_what_is_filled_in_does_not() -> None:
    config = parse_text(SOUND + "optimization { priority: PRIORITY_MAX eager_batching: true }", "m")

    warnings = prepare(config, "m", ["model.py"], _untouched, gpus=[]).warnings

    assert [warning.split("'")[1] for warning in warnings] == ["optimization.priority", "optimization.eager_batching"]


def test_an_ensemble_is_prepared_and_judged_without_asking_a_backend() -> None:
    text = (
        'platform: "ensemble" input { name: "x" data_type: TYPE_FP32 dims: 4 }'
        ' output { name: "y" data_type: TYPE_FP32 dims: 4 } ensemble_scheduling { step { model_name: "n" %s } }'
    )
    maps = 'input_map { key: "i" value: "x" } output_map { key: "o" value: "y" }'

    prepared = prepare(parse_text(text % maps, "m"), "m", [], _no_backend, gpus=[])
    with pytest.raises(InvalidArgument, match="must specify 'input_map' in step 0 of ensemble 'm'"):
        prepare(parse_text(text % "", "m"), "m", [], _no_backend, gpus=[])

    assert (prepared.config.backend, prepared.warnings) == ("", ())


def test_a_faulty_scheduler_is_refused_before_the_artefact_is_read() -> None:
    config = parse_text("max_batch_size: -1", "m")

    with pytest.raises(InvalidArgument, match="'max_batch_size' must be non-negative value for m"):
        prepare(config, "m", ["model.onnx"], _no_backend, gpus=[])


def test_the_configuration_given_is_left_alone() -> None:
    config = parse_text(SOUND, "m")

    prepare(config, "m", ["model.py"], _untouched, gpus=[0])

    assert config == parse_text(SOUND, "m")
