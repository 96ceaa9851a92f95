import pytest

from jubako.config.backend import check_pair, infer_backend
from jubako.config.parse import parse_text
from jubako.errors import InvalidArgument

INFERRED = [
    # what config.pbtxt says, what the version folder holds; backend, platform, default_model_filename
    ("", ["model.onnx"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
    ("", ["model.onnx/model.onnx", "model.onnx/weights"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
    ("", ["model.pt"], ("pytorch", "pytorch_libtorch", "model.pt")),
    ("", ["model.pt2"], ("pytorch", "torch_aoti", "model.pt2")),
    ("", ["model.xml", "model.bin"], ("openvino", "", "model.xml")),
    ("", ["model.plan"], ("tensorrt", "tensorrt_plan", "model.plan")),
    ("", ["model.savedmodel/saved_model.pb"], ("tensorflow", "tensorflow_savedmodel", "model.savedmodel")),
    ("", ["model.py"], ("python", "", "model.py")),
    ("", ["model.py", "model.pt", "model.onnx"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
    ('platform: "onnxruntime_onnx"', [], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
    ('platform: "pytorch_libtorch"', ["model.onnx"], ("pytorch", "pytorch_libtorch", "model.pt")),
    ('platform: "torch_aoti"', [], ("pytorch", "torch_aoti", "model.pt2")),
    ('backend: "pytorch" platform: "torch_aoti"', [], ("pytorch", "torch_aoti", "model.pt2")),
    ('backend: "onnxruntime"', ["model.py"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
    ('backend: "pytorch"', ["model.pt2"], ("pytorch", "pytorch_libtorch", "model.pt")),
    ('backend: "python"', [], ("python", "", "model.py")),
    ('default_model_filename: "model.onnx"', ["model.pt"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
    ('default_model_filename: "net.onnx" backend: "onnxruntime"', [], ("onnxruntime", "onnxruntime_onnx", "net.onnx")),
    (
        'default_model_filename: "net.bin" platform: "onnxruntime_onnx"',
        [],
        ("onnxruntime", "onnxruntime_onnx", "net.bin"),
    ),
    ('backend: "abacus" platform: "wood"', ["model.onnx"], ("abacus", "wood", "")),
    ('platform: "ensemble"', [], ("", "ensemble", "")),
]


@pytest.mark.parametrize(("text", "files", "expected"), INFERRED)
def test_backend_platform_and_file_are_inferred_as_triton_does(
    text: str, files: list[str], expected: tuple[str, str, str]
) -> None:
    config = infer_backend(parse_text(text, "m"), "m", files)

    assert (config.backend, config.platform, config.default_model_filename) == expected


def test_a_file_where_a_folder_is_needed_does_not_count_nor_the_other_way_round() -> None:
    with pytest.raises(InvalidArgument):
        infer_backend(parse_text("", "m"), "m", ["model.savedmodel", "model.pt/code", "model.plan/0"])


def test_a_model_that_says_nothing_is_named_after_its_backend() -> None:
    config = infer_backend(parse_text("", "m"), "resize.dali.v2", ["pipeline"])

    assert (config.backend, config.default_model_filename) == ("dali.v2", "model.dali.v2")


def test_a_model_of_which_nothing_names_a_backend_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        infer_backend(parse_text("max_batch_size: 4", "m"), "resize", ["weights.bin"])

    assert str(refusal.value) == (
        "Invalid model name: Could not determine backend for model 'resize' with no backend in model configuration. "
        "Expected model name of the form 'model.<backend_name>'."
    )


def test_an_empty_name_is_filled_from_the_folder_and_another_is_kept() -> None:
    assert infer_backend(parse_text('backend: "python"', "m"), "m", []).name == "m"
    assert infer_backend(parse_text('backend: "python" name: "n"', "m"), "m", []).name == "n"


def test_the_configuration_given_is_left_alone() -> None:
    config = parse_text("", "m")

    infer_backend(config, "m", ["model.onnx"])

    assert config == parse_text("", "m")


@pytest.mark.parametrize("pair", [("python", "anything"), ("abacus", "wood"), ("openvino", ""), ("", "ensemble")])
def test_a_backend_that_triton_does_not_tie_to_a_platform_may_have_any(pair: tuple[str, str]) -> None:
    check_pair(parse_text(f'backend: "{pair[0]}" platform: "{pair[1]}"', "m"))
