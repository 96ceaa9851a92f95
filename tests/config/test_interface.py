"""A request's signature against a model's interface: the checks of http.md section 4.5, in their order."""

import dataclasses
from collections.abc import Sequence

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.interface import Interface, interface_of
from jubako.errors import InvalidArgument
from jubako.request import Signature, TensorSpec
from jubako.tensor import Datatype

BATCHING = """
name: "m" max_batch_size: 4
input { name: "A" data_type: TYPE_FP32 dims: [16] }
input { name: "B" data_type: TYPE_INT32 dims: [-1] }
input { name: "C" data_type: TYPE_STRING dims: [2] }
output { name: "Y" data_type: TYPE_FP32 dims: [1] }
output { name: "Z" data_type: TYPE_FP32 dims: [1] }
"""
WITH_OPTIONAL = BATCHING.replace('name: "C"', 'name: "C" optional: true')
UNBATCHED = """
name: "m"
input { name: "A" data_type: TYPE_FP32 dims: [2, -1] }
output { name: "Y" data_type: TYPE_FP32 dims: [1] }
"""

A = TensorSpec("A", Datatype.FP32, (2, 16))
B = TensorSpec("B", Datatype.INT32, (2, 5))
C = TensorSpec("C", Datatype.BYTES, (2, 2))


def an_interface(text: str = BATCHING) -> Interface:
    return interface_of(text_format.Parse(text, ModelConfig()))


def signature(*inputs: TensorSpec, outputs: Sequence[str] = (), sizes: Sequence[int | None] = ()) -> Signature:
    return Signature(inputs, tuple(outputs), tuple(sizes))


def but(spec: TensorSpec, **changes: object) -> TensorSpec:
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


REFUSED = [
    (
        BATCHING,
        signature(A),
        "expected 3 inputs but got 1 inputs for model 'm'. Got input(s) ['A'], but missing required input(s) ['B',"
        "'C']. Please provide all required input(s).",
    ),
    (
        WITH_OPTIONAL,
        signature(A),
        "expected number of inputs between 2 and 3 but got 1 inputs for model 'm'. Got input(s) ['A'], but missing "
        "required input(s) ['B']. Please provide all required input(s).",
    ),
    (BATCHING, signature(A, B, but(C, name="X")), "unexpected inference input 'X' for model 'm'"),
    (BATCHING, signature(A, B, C, outputs=["X"]), "unexpected inference output 'X' for model 'm'"),
    (BATCHING, signature(but(A, shape=()), B, C), "input 'A' has no shape but model requires batch dimension for 'm'"),
    (BATCHING, signature(A, but(B, shape=(3, 5)), C), "input 'B' batch size does not match other inputs for 'm'"),
    (
        BATCHING,
        signature(but(A, shape=(5, 16)), but(B, shape=(5, 5)), but(C, shape=(5, 2))),
        "inference request batch-size must be <= 4 for 'm'",
    ),
    (
        BATCHING,
        signature(but(A, datatype=Datatype.INT32), B, C),
        "inference input 'A' data-type is 'INT32', but model 'm' expects 'FP32'",
    ),
    (
        BATCHING,
        signature(but(A, shape=(2, 8)), B, C),
        "unexpected shape for input 'A' for model 'm'. Expected [-1,16], got [2,8]. NOTE: Setting a non-zero "
        "max_batch_size in the model config requires a batch dimension to be prepended to each input shape.",
    ),
    (
        BATCHING,
        signature(A, but(B, shape=(2, -1)), C),
        "All input dimensions should be specified for input 'B' for model 'm', got [2,-1]",
    ),
    (
        UNBATCHED,
        signature(but(A, shape=(3, 7))),
        "unexpected shape for input 'A' for model 'm'. Expected [2,-1], got [3,7]. ",
    ),
    (
        BATCHING,
        signature(A, B, C, sizes=[128, 44, None]),
        "input byte size mismatch for input 'B' for model 'm'. Expected 40, got 44",
    ),
]


@pytest.mark.parametrize(("config", "request_", "message"), REFUSED)
def test_what_does_not_fit_is_refused_in_tritons_words(config: str, request_: Signature, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        an_interface(config).admit(request_)
    assert str(caught.value).removeprefix("[request id: <id_unknown>] ").startswith(message)


def test_errors_bear_the_requests_id_but_for_wrong_names() -> None:
    interface = an_interface()

    with pytest.raises(InvalidArgument, match=r"^\[request id: 7\] expected 3 inputs"):
        interface.admit(signature(A), "7")
    with pytest.raises(InvalidArgument, match=r"^unexpected inference input 'X'"):
        interface.admit(signature(A, B, but(C, name="X")), "7")


def test_a_request_that_fits_has_its_rows_and_asks_for_every_output() -> None:
    admission = an_interface().admit(signature(A, B, C, sizes=[128, 40, 20]))

    assert (admission.rows, admission.outputs) == (2, None)


def test_a_request_without_a_batch_dimension_counts_as_one_row() -> None:
    assert an_interface(UNBATCHED).admit(signature(but(A, shape=(2, 9)))).rows == 1


def test_outputs_are_kept_as_positions_in_the_models_order() -> None:
    admit = an_interface().admit

    assert admit(signature(A, B, C, outputs=["Z"])).outputs == (1,)
    assert admit(signature(A, B, C, outputs=["Z", "Y"])).outputs is None


def test_only_the_shapes_of_variable_inputs_keep_requests_apart() -> None:
    admit = an_interface().admit
    one_row = [but(spec, shape=(1, *spec.shape[1:])) for spec in (A, B, C)]

    assert admit(signature(A, B, C)).key == admit(signature(C, B, A)).key
    assert admit(signature(A, B, C)).key == admit(signature(*one_row)).key
    assert admit(signature(A, B, C)).key != admit(signature(A, but(B, shape=(2, 6)), C)).key


def test_requests_with_and_without_an_optional_input_do_not_share_a_batch() -> None:
    admit = an_interface(WITH_OPTIONAL).admit

    assert admit(signature(A, B)).key != admit(signature(A, B, C)).key


def test_no_rows_are_a_request_too() -> None:
    nothing = [but(spec, shape=(0, *spec.shape[1:])) for spec in (A, B, C)]

    assert an_interface().admit(signature(*nothing)).rows == 0
