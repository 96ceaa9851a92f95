import pytest

from backends.models import config
from jubako.backends.onnxruntime.providers import CPU, CUDA, OPENVINO, TENSORRT, Provider, providers
from jubako.backends.onnxruntime.settings import GraphLevel, session_settings
from jubako.backends.placement import Device, Placement
from jubako.errors import InvalidArgument

ON_CPU = Placement("m_0_0")
ON_GPU = Placement("m_0_0", Device.GPU, 1)
ALL = [TENSORRT, CUDA, OPENVINO, CPU]


def parameter(key: str, value: str) -> str:
    return f'parameters {{key: "{key}" value {{string_value: "{value}"}}}}'


def test_a_silent_configuration_leaves_onnx_runtimes_defaults() -> None:
    settings = session_settings(config(""), ON_CPU, cores=8)

    assert settings.graph_level is GraphLevel.ALL
    assert not settings.parallel
    assert (settings.memory_arena, settings.memory_pattern) == (None, None)
    assert (settings.inter_op_threads, settings.arena_shrinkage) == (0, "")


def test_idle_threads_leave_the_cores_to_the_server() -> None:
    assert session_settings(config(""), ON_CPU, cores=8).entries == {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
    }


THREADS = [
    ("", 8, 8),
    ("instance_group {kind: KIND_CPU count: 2}", 8, 4),
    ("instance_group {kind: KIND_CPU count: 3}", 8, 2),
    ("instance_group {kind: KIND_CPU count: 16}", 8, 1),
    ("instance_group [{kind: KIND_CPU count: 2}, {kind: KIND_GPU gpus: [0, 1]}]", 8, 2),
    ("instance_group {kind: KIND_CPU count: 2} " + parameter("intra_op_thread_count", "7"), 8, 7),
    (parameter("intra_op_thread_count", "0"), 8, 8),
]


@pytest.mark.parametrize(("text", "cores", "threads"), THREADS)
def test_instances_divide_the_cores_unless_the_model_says_otherwise(text: str, cores: int, threads: int) -> None:
    assert session_settings(config(text), ON_CPU, cores).intra_op_threads == threads


@pytest.mark.parametrize(
    ("level", "expected"),
    [(-1, GraphLevel.BASIC), (0, GraphLevel.ALL), (1, GraphLevel.EXTENDED), (2, GraphLevel.NONE), (9, GraphLevel.ALL)],
)
def test_graph_levels_are_tritons_numbers(level: int, expected: GraphLevel) -> None:
    assert session_settings(config(f"optimization {{graph {{level: {level}}}}}"), ON_CPU, 1).graph_level is expected


def test_parameters_become_settings() -> None:
    text = "".join(
        [
            parameter("execution_mode", "1"),
            parameter("inter_op_thread_count", "3"),
            parameter("enable_mem_arena", "0"),
            parameter("enable_mem_pattern", "ON"),
            parameter("session.use_device_allocator_for_initializers", "1"),
            parameter("session.intra_op.allow_spinning", "1"),
        ]
    )

    settings = session_settings(config(text), ON_CPU, 1)

    assert settings.parallel
    assert settings.inter_op_threads == 3
    assert (settings.memory_arena, settings.memory_pattern) == (False, True)
    assert settings.entries == {
        "session.use_device_allocator_for_initializers": "1",
        "session.intra_op.allow_spinning": "1",
        "session.inter_op.allow_spinning": "0",
    }


@pytest.mark.parametrize(
    ("placement", "more", "arenas"),
    [
        (ON_CPU, "", "cpu:0"),
        (ON_GPU, "", "cpu:0;gpu:0"),
        (ON_CPU, parameter("enable_mem_arena", "0"), ""),
    ],
)
def test_only_arenas_that_an_instance_has_are_shrunk(placement: Placement, more: str, arenas: str) -> None:
    wanted = config(parameter("memory.enable_memory_arena_shrinkage", "cpu:0; gpu:0") + more)

    assert session_settings(wanted, placement, 1).arena_shrinkage == arenas


BAD_SETTINGS = [
    (
        parameter("execution_mode", "2"),
        "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got 2 .",
    ),
    (parameter("intra_op_thread_count", "many"), "failed to convert intra_op_thread_count 'many' to integral number"),
    (parameter("enable_mem_arena", "perhaps"), "failed to convert enable_mem_arena 'perhaps' to boolean"),
]


@pytest.mark.parametrize(("text", "message"), BAD_SETTINGS)
def test_an_impossible_setting_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as failure:
        session_settings(config(text), ON_CPU, 1)

    assert str(failure.value) == message


def accelerated(where: str, name: str, **options: str) -> str:
    pairs = "".join(f' parameters {{key: "{key}" value: "{value}"}}' for key, value in options.items())
    return f'optimization {{execution_accelerators {{{where}_execution_accelerator {{name: "{name}"{pairs}}}}}}}'


CHOSEN: list[tuple[str, Placement, list[Provider]]] = [
    ("", ON_CPU, [(CPU, {})]),
    ("", Placement("m_0", Device.MODEL), [(CPU, {})]),
    ("", ON_GPU, [(CUDA, {"device_id": "1"}), (CPU, {})]),
    (accelerated("gpu", "tensorrt"), ON_CPU, [(CPU, {})]),
    (accelerated("cpu", "openvino"), ON_CPU, [(OPENVINO, {"device_type": "CPU"}), (CPU, {})]),
    (
        accelerated("gpu", "tensorrt", precision_mode="FP16", max_workspace_size_bytes="9", trt_dla_core="2"),
        ON_GPU,
        [
            (
                TENSORRT,
                {"trt_fp16_enable": "1", "trt_max_workspace_size": "9", "trt_dla_core": "2", "device_id": "1"},
            ),
            (CUDA, {"device_id": "1"}),
            (CPU, {}),
        ],
    ),
    (
        accelerated("gpu", "tensorrt", precision_mode="FP32"),
        ON_GPU,
        [(TENSORRT, {"device_id": "1"}), (CUDA, {"device_id": "1"}), (CPU, {})],
    ),
    (
        accelerated("gpu", "cuda", gpu_mem_limit="7", enable_cuda_graph="1"),
        ON_GPU,
        [(CUDA, {"gpu_mem_limit": "7", "enable_cuda_graph": "1", "device_id": "1"}), (CPU, {})],
    ),
    (
        parameter("cudnn_conv_algo_search", "1") + parameter("arena_extend_strategy", "1"),
        ON_GPU,
        [
            (
                CUDA,
                {
                    "cudnn_conv_algo_search": "HEURISTIC",
                    "arena_extend_strategy": "kSameAsRequested",
                    "device_id": "1",
                },
            ),
            (CPU, {}),
        ],
    ),
]


@pytest.mark.parametrize(("text", "placement", "expected"), CHOSEN)
def test_providers_follow_placement_and_accelerators(text: str, placement: Placement, expected: list[Provider]) -> None:
    assert providers(config(text), placement, ALL) == expected


REFUSED = [
    (accelerated("gpu", "warp"), ON_GPU, ALL, "unknown Execution Accelerator 'warp' is requested"),
    (accelerated("gpu", "tensorrt"), ON_GPU, [CUDA], "unknown Execution Accelerator 'tensorrt' is requested"),
    (accelerated("cpu", "openvino"), ON_CPU, [CPU], "unknown Execution Accelerator 'openvino' is requested"),
    (accelerated("cpu", "mkl"), ON_CPU, ALL, "unknown Execution Accelerator 'mkl' is requested"),
    (
        accelerated("gpu", "tensorrt", precision_mode="FP8"),
        ON_GPU,
        ALL,
        "unsupported precision mode 'FP8' is requested",
    ),
    (
        accelerated("gpu", "tensorrt", colour="red"),
        ON_GPU,
        ALL,
        "unknown parameter 'colour' is provided for TensorRT Execution Accelerator",
    ),
    (
        parameter("cudnn_conv_algo_search", "5"),
        ON_GPU,
        ALL,
        "unsupported cudnn_conv_algo_search value '5' is requested",
    ),
    (
        "",
        ON_GPU,
        [CPU],
        "instance group m_0 of model m has kind KIND_GPU but server does not support GPUs",
    ),
]


@pytest.mark.parametrize(("text", "placement", "available", "message"), REFUSED)
def test_what_is_unknown_or_not_there_is_refused(
    text: str, placement: Placement, available: list[str], message: str
) -> None:
    with pytest.raises(InvalidArgument) as failure:
        providers(config(text), placement, available)

    assert str(failure.value) == message
