import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from backends.models import config
from jubako.backends.placement import Device, Placement, place
from jubako.errors import InvalidArgument

CPU, GPU, MODEL = Device.CPU, Device.GPU, Device.MODEL

PLACED = [
    ("", [], [Placement("m_0", CPU)]),
    ("", [0, 1], [Placement("m_0", GPU, 0), Placement("m_0", GPU, 1)]),
    (
        'instance_group {name: "m_0" kind: KIND_CPU count: 2}',
        [0],
        [Placement("m_0_0", CPU), Placement("m_0_1", CPU)],
    ),
    (
        'instance_group {name: "g" kind: KIND_GPU gpus: [1, 0] count: 2}',
        [0, 1],
        [Placement("g_0", GPU, 1), Placement("g_1", GPU, 1), Placement("g_0", GPU, 0), Placement("g_1", GPU, 0)],
    ),
    ('instance_group {name: "g" kind: KIND_GPU}', [0, 1], [Placement("g_0", GPU, 0), Placement("g_0", GPU, 1)]),
    ('instance_group {name: "g" kind: KIND_AUTO gpus: 1}', [0, 1], [Placement("g_0", GPU, 1)]),
    ('instance_group {name: "g" kind: KIND_AUTO gpus: 7}', [0, 1], [Placement("g_0", CPU)]),
    ('instance_group {name: "g" kind: KIND_MODEL}', [0], [Placement("g_0", MODEL)]),
    ('instance_group {name: "g" kind: KIND_CPU count: -3}', [], [Placement("g_0", CPU)]),
    (
        'instance_group [{name: "a" kind: KIND_CPU passive: true}, {name: "b" kind: KIND_CPU}]',
        [],
        [Placement("a_0", CPU, passive=True), Placement("b_0", CPU)],
    ),
]


@pytest.mark.parametrize(("text", "gpus", "placed"), PLACED)
def test_instances_go_where_their_group_says(text: str, gpus: list[int], placed: list[Placement]) -> None:
    assert place(config(text), gpus) == (placed, [])


IMPOSSIBLE = [
    ("kind: KIND_GPU", [], "has kind KIND_GPU but no GPUs are available"),
    ("kind: KIND_GPU gpus: 0", [], "has kind KIND_GPU but no GPUs are available"),
    (
        "kind: KIND_GPU gpus: [0, 2]",
        [0, 1],
        "specifies invalid or unsupported gpu id 2. GPUs with at least the minimum required CUDA compute compatibility "
        "of 6.000000 are: 0, 1",
    ),
    ("kind: KIND_CPU gpus: 0", [0], "has kind KIND_CPU but specifies one or more GPUs"),
    ("kind: KIND_MODEL gpus: 0", [0], "has kind KIND_MODEL but specifies one or more GPUs"),
]


@pytest.mark.parametrize(("group", "gpus", "message"), IMPOSSIBLE)
def test_an_impossible_group_is_refused(group: str, gpus: list[int], message: str) -> None:
    with pytest.raises(InvalidArgument) as failure:
        place(config(f'instance_group {{name: "g" {group}}}'), gpus)

    assert str(failure.value) == f"instance group g of model m {message}"


def test_with_fallback_a_group_without_its_gpus_runs_on_the_cpu_and_says_so() -> None:
    wanted = config('instance_group {name: "g" kind: KIND_GPU gpus: [0, 1] count: 2}')

    placements, warnings = place(wanted, [], gpu_fallback=True)

    assert placements == [Placement("g_0", CPU), Placement("g_1", CPU)]
    assert warnings == [
        "instance group g of model m has kind KIND_GPU but no GPUs are available; placed on the CPU instead "
        "(gpu_fallback=cpu)"
    ]


def test_fallback_does_not_hide_a_group_that_no_machine_could_place() -> None:
    with pytest.raises(InvalidArgument, match="has kind KIND_CPU but specifies one or more GPUs"):
        place(config('instance_group {name: "g" kind: KIND_CPU gpus: 0}'), [], gpu_fallback=True)


kinds = st.sampled_from([ModelInstanceGroup.KIND_AUTO, ModelInstanceGroup.KIND_GPU])
gpu_ids = st.lists(st.integers(0, 3), unique=True, max_size=3)
on_gpus = st.builds(ModelInstanceGroup, name=st.just("a"), kind=kinds, count=st.integers(-1, 3), gpus=gpu_ids)
on_cpu = st.builds(ModelInstanceGroup, name=st.just("b"), kind=st.just(ModelInstanceGroup.KIND_CPU))


@given(st.lists(on_gpus | on_cpu, min_size=1, max_size=4), gpu_ids)
def test_a_placement_never_names_a_gpu_that_is_not_there(wanted: list[ModelInstanceGroup], gpus: list[int]) -> None:
    placements, warnings = place(ModelConfig(name="m", instance_group=wanted), gpus, gpu_fallback=True)

    assert all((placed.device is GPU) == (placed.gpu is not None) for placed in placements)
    assert {placed.gpu for placed in placements} - {None} <= set(gpus)
    assert len(placements) >= len(wanted)
    assert len(warnings) <= sum(group.kind == ModelInstanceGroup.KIND_GPU for group in wanted)
