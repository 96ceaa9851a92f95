"""What a Bento asks to have installed."""

import pytest

from jubako.bundle.image import requirements_for

DECLARED = [
    "bentoml<1.5,>=1.4.39",
    "numpy>=1.26",
    'onnxruntime-gpu>=1.20; sys_platform == "linux"',
    'onnxruntime>=1.20; sys_platform != "linux"',
    "torch<2.14,>=2.6",
    "tritonclient[grpc]>=2.60",
    'onnx>=1.18; extra == "models"',
]


@pytest.mark.parametrize(
    ("backends", "without"),
    [
        ({"onnxruntime"}, {"torch"}),
        ({"pytorch"}, {"onnxruntime", "onnxruntime-gpu"}),
        ({"onnxruntime", "pytorch"}, set()),
        (set(), set()),
    ],
)
def test_a_backend_that_no_model_needs_is_left_out(backends: set[str], without: set[str]) -> None:
    names = {
        line.partition(";")[0].partition(">")[0].partition("<")[0] for line in requirements_for(backends, DECLARED)
    }

    assert names == {"numpy", "onnxruntime-gpu", "onnxruntime", "torch", "tritonclient[grpc]"} - without
