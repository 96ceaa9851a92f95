"""The table of datatypes, and the coding of BYTES."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from jubako.errors import InvalidArgument
from jubako.tensor import BY_CONFIG_NUMBER, Datatype, decode_bytes, element_count, encode_bytes


def test_every_type_of_the_configuration_has_a_datatype_of_its_name() -> None:
    numbers = {name: number for name, number in model_config_pb2.DataType.items() if name != "TYPE_INVALID"}

    assert {BY_CONFIG_NUMBER[number].config_name: number for number in numbers.values()} == numbers


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_decoding_what_was_encoded_gives_the_same_elements(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements

    again = decode_bytes(encode_bytes(array), (len(elements),), "x", "m")

    assert again.tolist() == elements


@given(data=st.binary(max_size=40), count=st.integers(0, 6))
def test_any_bytes_are_an_array_of_the_shape_or_an_invalid_argument(data: bytes, count: int) -> None:
    try:
        array = decode_bytes(data, (count,), "x", "m")
    except InvalidArgument:
        return
    assert array.shape == (count,)
    assert encode_bytes(array) == data


WHERE = "for inference input 'x' for model 'm'"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", f"expected 2 string elements {WHERE}, got 0"),
        (struct.pack("<I", 0) * 3, f"unexpected number of string elements 3 {WHERE}, expecting 2"),
        (b"\x01\x00", f"incomplete string length indicator {WHERE}, expecting 4 bytes but only 2"),
        (
            struct.pack("<I", 9) + b"abc",
            "incomplete string data for inference input 'x', expecting string of length 9",
        ),
    ],
)
def test_bytes_that_do_not_fit_the_shape_are_refused_in_tritons_words(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        decode_bytes(data, (2,), "x", "m")


def test_a_count_past_int64_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="exceed maximum size of 9223372036854775807"):
        element_count((2**62, 4), "x")
    assert element_count((), "x") == 1
    assert element_count((2**62, 0), "x") == 0


def test_bf16_travels_as_its_bits() -> None:
    assert (Datatype.BF16.dtype, Datatype.BF16.size) == (np.dtype("<u2"), 2)
