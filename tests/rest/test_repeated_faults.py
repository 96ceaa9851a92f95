"""What is wrong with a request is said each time it comes, in the same words."""

import pytest
from fakes import identity

from jubako.errors import InvalidArgument
from jubako.tensor import Datatype

from .codec import a_runner, an_input, read, sized


@pytest.mark.parametrize("size", [8, 24])
def test_a_tensor_of_the_wrong_size_is_refused_by_the_admission_however_often_it_comes(size: int) -> None:
    runner = a_runner(identity("FP32"))
    document = {"inputs": [an_input(Datatype.FP32, [4], **sized(size))]}

    for _ in range(3):
        request, _ = read(runner, document, bytes(size))
        with pytest.raises(InvalidArgument, match=f"Expected 16, got {size}"):
            runner.submit(request, lambda response, final: None)
