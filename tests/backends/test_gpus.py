import pytest

from jubako.backends.gpus import find_gpus, visible_gpus

MACHINE = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]

VISIBLE = [
    (None, [0, 1, 2]),
    ("", []),
    ("-1", []),
    ("0,1,2", [0, 1, 2]),
    ("2", [0]),  # CUDA counts what it shows from 0
    (" 1 , 2 ", [0, 1]),
    ("0,9,1", [0]),  # the list ends at the first that is not there
    ("0,-1,1", [0]),
    ("0,0", []),
    ("GPU-cccc", [0]),
    ("GPU-aa", []),  # could be either
    ("GPU-aaaa-1,GPU-aabb-2", [0, 1]),
    ("NoDevFiles", []),
    ("MIG-1234", [0]),
]


@pytest.mark.parametrize(("visible", "shown"), VISIBLE)
def test_gpus_are_those_that_cuda_would_show(visible: str | None, shown: list[int]) -> None:
    assert visible_gpus(MACHINE, visible) == shown


@pytest.mark.parametrize("visible", [None, "0", "GPU-aaaa", "MIG-1"])
def test_a_machine_without_gpus_shows_none_whatever_is_asked(visible: str | None) -> None:
    assert visible_gpus([], visible) == []


def test_the_machine_can_be_asked_and_hidden_gpus_stay_hidden() -> None:
    everything = find_gpus({})

    assert everything == list(range(len(everything)))
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
