"""Tensors and their bytes, both ways, for every datatype."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays

from jubako.errors import InvalidArgument
from jubako.protocols.rest.decode import decode
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.plan import OutputPlan, ReplyPlan
from jubako.tensor import Array, Datatype

from .codec import an_answer, an_input, identity_runner, read, sized, whole

BINARY = ReplyPlan(default=OutputPlan(binary=True), plain=True)
JSON = ReplyPlan()


def strings(*elements: bytes) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


# datatype, elements as they stand in an array, their bytes in a binary tensor, the same in a JSON list
TENSORS: list[tuple[Datatype, Array, bytes, str]] = [
    (Datatype.BOOL, np.array([True, False]), b"\x01\x00", "[true,false]"),
    (Datatype.UINT8, np.array([0, 255], "u1"), b"\x00\xff", "[0,255]"),
    (Datatype.UINT16, np.array([1, 65535], "<u2"), b"\x01\x00\xff\xff", "[1,65535]"),
    (Datatype.UINT32, np.array([1, 2**32 - 1], "<u4"), b"\x01\0\0\0\xff\xff\xff\xff", "[1,4294967295]"),
    (Datatype.UINT64, np.array([2**64 - 1], "<u8"), b"\xff" * 8, "[18446744073709551615]"),
    (Datatype.INT8, np.array([-128, 127], "i1"), b"\x80\x7f", "[-128,127]"),
    (Datatype.INT16, np.array([-2, 3], "<i2"), b"\xfe\xff\x03\x00", "[-2,3]"),
    (Datatype.INT32, np.array([-2, 3], "<i4"), b"\xfe\xff\xff\xff\x03\0\0\0", "[-2,3]"),
    (Datatype.INT64, np.array([-(2**63)], "<i8"), b"\0\0\0\0\0\0\0\x80", "[-9223372036854775808]"),
    (Datatype.FP32, np.array([0.5, -0.1], "<f4"), struct.pack("<2f", 0.5, -0.1), "[0.5,-0.10000000149011612]"),
    (Datatype.FP64, np.array([0.1, -3.0], "<f8"), struct.pack("<2d", 0.1, -3), "[0.1,-3.0]"),
    (
        Datatype.BYTES,
        strings(b"a", b"", "ü€".encode()),
        b"\1\0\0\0a\0\0\0\0\5\0\0\0\xc3\xbc\xe2\x82\xac",
        '["a","","ü€"]',
    ),
    (Datatype.BYTES, strings(b'"\\\n\0'), b'\4\0\0\0"\\\n\0', '["\\"\\\\\\n\\u0000"]'),
]
BINARY_ONLY: list[tuple[Datatype, Array, bytes]] = [
    (Datatype.FP16, np.array([1.0, -2.0, 65504.0], "<f2"), b"\x00\x3c\x00\xc0\xff\x7b"),
    (Datatype.BF16, np.array([0x3F80, 0xC000], "<u2"), b"\x80\x3f\x00\xc0"),
    (Datatype.BYTES, strings(b"\xff\xfe"), b"\2\0\0\0\xff\xfe"),
]
IN_BINARY = [(datatype, array, data) for datatype, array, data, _ in TENSORS] + BINARY_ONLY


def same(got: Array, expected: Array) -> bool:
    """Whether two arrays have the same shape, kind and bits."""
    if expected.dtype == object:
        return got.dtype == object and got.shape == expected.shape and got.tolist() == expected.tolist()
    return got.dtype == expected.dtype and got.shape == expected.shape and got.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("datatype", "array", "data"), IN_BINARY)
def test_a_binary_tensor_is_read(datatype: Datatype, array: Array, data: bytes) -> None:
    document = {"inputs": [an_input(datatype, array.shape, **sized(len(data)))]}

    request, _ = read(identity_runner(datatype), document, data)

    assert same(request.arrays[0], array)
    assert request.signature.byte_sizes == (len(data),)


@pytest.mark.parametrize(("datatype", "array", "data"), IN_BINARY)
def test_a_binary_tensor_is_written(datatype: Datatype, array: Array, data: bytes) -> None:
    answer = encode(an_answer({"OUTPUT0": (datatype, array)}), BINARY)

    assert whole(answer) == (
        b'{"model_name":"m","model_version":"1","outputs":[{"name":"OUTPUT0","datatype":"%b","shape":[%d],'
        b'"parameters":{"binary_data_size":%d}}]}%b' % (datatype.name.encode(), array.size, len(data), data)
    )
    assert answer.binary


@pytest.mark.parametrize(("datatype", "array", "_data", "text"), TENSORS)
def test_a_json_tensor_is_read(datatype: Datatype, array: Array, _data: bytes, text: str) -> None:
    header = json.dumps({"inputs": [an_input(datatype, array.shape, data="HERE")]}).replace('"HERE"', text)

    request, _ = read(identity_runner(datatype), header.encode())

    assert same(request.arrays[0], array)
    assert request.signature.byte_sizes == (None,)


@pytest.mark.parametrize(("datatype", "array", "_data", "text"), TENSORS)
def test_a_json_tensor_is_written(datatype: Datatype, array: Array, _data: bytes, text: str) -> None:
    answer = encode(an_answer({"OUTPUT0": (datatype, array)}), JSON)

    assert whole(answer).decode() == (
        '{"model_name":"m","model_version":"1","outputs":[{"name":"OUTPUT0",'
        f'"datatype":"{datatype.name}","shape":[{array.size}],"data":{text}}}]}}'
    )
    assert not answer.binary


def test_numbers_that_are_none_are_written_as_bare_words() -> None:
    array = np.array([np.nan, np.inf, -np.inf, 1], "<f4")

    answer = encode(an_answer({"OUTPUT0": (Datatype.FP32, array)}), JSON)

    assert b'"data":[NaN,Infinity,-Infinity,1.0]' in answer.json


def test_bare_words_are_read_as_numbers_that_are_none() -> None:
    header = b'{"inputs":[{"name":"INPUT0","datatype":"FP64","shape":[4],"data":[NaN,Infinity,-Infinity,Inf]}]}'

    request, _ = read(identity_runner(Datatype.FP64), header)

    assert request.arrays[0].tolist()[1:] == [float("inf"), -float("inf"), float("inf")]
    assert np.isnan(request.arrays[0][0])


@pytest.mark.parametrize("datatype", [Datatype.FP16, Datatype.BF16])
def test_half_floats_are_not_written_as_json(datatype: Datatype) -> None:
    with pytest.raises(InvalidArgument, match=f"^sending {datatype.name} data via JSON is not supported"):
        encode(an_answer({"OUTPUT0": (datatype, np.zeros(1, datatype.dtype))}), JSON)


def test_strings_that_are_no_text_are_not_written_as_json() -> None:
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        encode(an_answer({"OUTPUT0": (Datatype.BYTES, strings(b"\xff"))}), JSON)


@pytest.mark.parametrize("datatype", list(Datatype))
def test_an_empty_tensor_is_one_in_each_form(datatype: Datatype) -> None:
    runner = identity_runner(datatype, "[ -1, -1 ]")
    binary, _ = read(runner, {"inputs": [an_input(datatype, [0, 3], **sized(0))]})
    listed, _ = read(runner, {"inputs": [an_input(datatype, [0, 3], data=[])]})

    assert binary.arrays[0].shape == listed.arrays[0].shape == (0, 3)
    answer = encode(an_answer({"OUTPUT0": (datatype, binary.arrays[0])}), BINARY)
    assert b'"shape":[0,3],"parameters":{"binary_data_size":0}' in whole(answer)
    assert not answer.binary


def test_a_scalar_has_no_dimensions() -> None:
    request, _ = read(identity_runner(Datatype.FP32, "[ ]"), {"inputs": [an_input(Datatype.FP32, [], data=[2.5])]})

    assert request.arrays[0].shape == ()
    answer = encode(an_answer({"OUTPUT0": (Datatype.FP32, request.arrays[0])}), JSON)
    assert b'"shape":[],"data":[2.5]' in answer.json


@pytest.mark.parametrize("plan", [BINARY, JSON])
def test_an_array_in_any_layout_is_written_row_by_row(plan: ReplyPlan) -> None:
    array = np.arange(24, dtype="<i4").reshape(4, 6)[::2, ::-3].T

    body = whole(encode(an_answer({"OUTPUT0": (Datatype.INT32, array)}), plan))

    assert body == whole(encode(an_answer({"OUTPUT0": (Datatype.INT32, np.array(array.tolist(), "<i4"))}), plan))


def test_binary_and_json_outputs_go_together() -> None:
    plan = ReplyPlan({"B": OutputPlan(), "C": OutputPlan(binary=True)}, OutputPlan(binary=True))
    outputs = {name: (Datatype.INT8, np.array([i], "i1")) for i, name in enumerate("ABC")}

    answer = encode(an_answer(outputs), plan)

    document = json.loads(answer.json)
    assert [output.get("data") for output in document["outputs"]] == [None, [1], None]
    assert whole(answer).endswith(b"}\x00\x02")


def test_numbers_are_narrowed_as_in_c() -> None:
    request, _ = read(identity_runner(Datatype.INT8), {"inputs": [an_input(Datatype.INT8, [3], data=[300, -129, 127])]})

    assert request.arrays[0].tolist() == [44, 127, 127]


def test_a_binary_tensor_is_a_view_of_the_body() -> None:
    document = json.dumps({"inputs": [an_input(Datatype.FP32, [2], **sized(8))]}).encode()
    body = bytearray(document + struct.pack("<2f", 1, 2))
    request, _ = decode(body, len(document), identity_runner(Datatype.FP32), Limits(), 0)
    body[-4:] = struct.pack("<f", 5)

    assert request.arrays[0].tolist() == [1, 5]


# --- what is remembered -----------------------------------------------------------------------------------------------


def a_header(**more: Any) -> bytes:
    document = {"inputs": [an_input(Datatype.FP32, [2], **sized(8))], **more}
    return json.dumps(document, separators=(",", ":")).encode()


TWO = struct.pack("<2f", 1, 2)
OTHER = struct.pack("<2f", 3, 4)


def test_a_header_that_repeats_is_found_again_with_other_numbers() -> None:
    runner = identity_runner(Datatype.FP32)
    first, plan = read(runner, a_header(), TWO)

    second, again = read(runner, a_header(), OTHER)

    assert second.signature is first.signature
    assert again is plan
    assert [first.arrays[0].tolist(), second.arrays[0].tolist()] == [[1, 2], [3, 4]]


def test_only_the_id_may_differ() -> None:
    runner = identity_runner(Datatype.FP32)
    ids = ["a", "b", "ü", 'with "quotes"', "", "\n", "a" * 300]
    headers = [b'{"id":%b,%b' % (json.dumps(text).encode(), a_header()[1:]) for text in ids]

    assert [read(runner, header, TWO)[0].id for header in headers * 2] == ids * 2


@pytest.mark.parametrize(
    "header",
    [
        a_header(id="x"),
        a_header()[:-1] + b',"id":"x"}',
        b'{"id":"a",' + a_header()[1:-1] + b',"id":"x"}',
        b'{"id":"a",' + a_header()[1:-1] + b',"\\u0069d":"x"}',
        b'{"id": "x",' + a_header()[1:],
    ],
)
def test_an_id_is_found_wherever_it_stands_and_however_often_it_is_asked(header: bytes) -> None:
    runner = identity_runner(Datatype.FP32)

    assert [read(runner, header, data)[0].id for data in (TWO, OTHER, TWO)] == ["x", "x", "x"]


def test_a_header_that_repeats_with_another_body_size_is_refused_as_the_first_time() -> None:
    runner = identity_runner(Datatype.FP32)
    read(runner, a_header(), TWO)

    with pytest.raises(InvalidArgument, match=r"^unexpected size for input 'INPUT0', expecting 1 additional bytes"):
        read(runner, a_header(), TWO[:-1])
    with pytest.raises(InvalidArgument, match=r"^unexpected additional input data for model 'm'"):
        read(runner, a_header(), TWO + b"x")


def test_what_is_remembered_is_bounded() -> None:
    runner = identity_runner(Datatype.FP32)

    for i in range(3000):
        read(runner, a_header(parameters={"x": i}), TWO)

    assert len(runner.memo) < 1000


def test_an_answer_of_a_repeated_shape_is_the_same_but_for_its_id_and_numbers() -> None:
    runner = identity_runner(Datatype.FP32)
    header = a_header(parameters={"binary_data_output": True})
    first, plan = read(runner, header, TWO)
    second, _ = read(runner, b'{"id":"seven",' + header[1:], OTHER)
    signature = an_answer({"OUTPUT0": (Datatype.FP32, first.arrays[0])}).signature

    bodies = []
    for request in (first, second, first):
        response = an_answer({"OUTPUT0": (Datatype.FP32, request.arrays[0])}, request)
        response.signature = signature
        bodies.append(whole(encode(response, plan)))

    assert bodies[0] == bodies[2]
    assert bodies[1] == b'{"id":"seven",' + bodies[0][1:-8] + OTHER


# --- any tensor -------------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_tensor_comes_back_from_the_wire_as_it_went(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(list(Datatype)))
    array = data.draw(arrays(datatype))
    answer = encode(an_answer({"OUTPUT0": (datatype, array)}), BINARY)
    body = whole(answer)
    tensor = json.loads(answer.json)["outputs"][0] | {"name": "INPUT0"}

    request, _ = read(identity_runner(datatype), {"inputs": [tensor]}, body[len(answer.json) :])

    assert same(request.arrays[0], array)


@given(st.data())
def test_a_tensor_comes_back_from_json_as_it_went(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from([d for d in Datatype if d not in (Datatype.FP16, Datatype.BF16)]))
    array = data.draw(arrays(datatype))
    if datatype is Datatype.BYTES:
        flat = np.empty(array.size, dtype=object)
        flat[:] = [element.hex().encode() for element in array.ravel()]
        array = flat.reshape(array.shape)
    answer = encode(an_answer({"OUTPUT0": (datatype, array)}), JSON)
    header = answer.json.replace(b'"outputs"', b'"inputs"').replace(b'"OUTPUT0"', b'"INPUT0"')

    request, _ = read(identity_runner(datatype), header)

    if array.dtype.kind == "f":
        np.testing.assert_array_equal(request.arrays[0], array)
    else:
        assert same(request.arrays[0], array)
