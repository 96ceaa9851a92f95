import os

import pytest

from jubako.backends.cores import cores, usable_cores

CORES = [
    (["0", "1"], "", 2),
    (["0,4", "1,5", "0,4", "1,5"], "", 2),  # hyper-threads share a core
    (["0", "1", "2", "3"], "max 100000\n", 4),
    (["0", "1", "2", "3"], "200000 100000\n", 2),
    (["0", "1", "2", "3"], "150000 100000", 2),
    (["0", "1", "2", "3"], "1000 100000", 1),
    (["0"], "800000 100000", 1),
    ([], "", 1),
    (["0", "1"], "garbage", 2),
]


@pytest.mark.parametrize(("siblings", "quota", "expected"), CORES)
def test_cores_are_physical_and_within_the_quota(siblings: list[str], quota: str, expected: int) -> None:
    assert cores(siblings, quota) == expected


def test_this_process_may_use_at_least_one_core_and_no_more_than_there_are() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
