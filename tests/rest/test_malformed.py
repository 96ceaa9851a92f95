"""What is wrong with a request is said in Triton's words, and nothing else ever happens."""

import json
import struct
import tracemalloc
from typing import Any

import pytest
from fakes import FakeModel, identity, simple, tensors
from hypothesis import given
from hypothesis import strategies as st
from strategies import almost_requests

from jubako.errors import Internal, InvalidArgument, JubakoError, NotFound
from jubako.protocols.rest.decode import decode, header_length
from jubako.protocols.rest.encode import encode
from jubako.protocols.rest.limits import Limits
from jubako.runner import Runner
from jubako.tensor import Datatype

from .codec import a_runner, an_answer, an_input, identity_runner, read, sized, whole

FP32 = Datatype.FP32
INT32 = Datatype.INT32
BYTES = Datatype.BYTES
ONE_SOURCE = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
    "'shared_memory_region' in 'parameters'. "
)
UNKNOWN_ID = "[request id: <id_unknown>] "


def one(datatype: Datatype = FP32, shape: Any = (1,), **more: Any) -> dict[str, Any]:
    return {"inputs": [an_input(datatype, shape, **more)]}


def without(key: str) -> dict[str, Any]:
    tensor = an_input(FP32, [1], data=[1])
    del tensor[key]
    return {"inputs": [tensor]}


GOOD = an_input(FP32, [1], data=[1])


def nested(depth: int, innermost: Any = 1) -> Any:
    for _ in range(depth):
        innermost = [innermost]
    return innermost


def type_error(key: str, kind: str) -> str:
    return f"Unable to parse '{key}': attempt to access JSON {kind}"


UNSIGNED = "non-unsigned-integer as unsigned-integer"

MESSAGES: list[tuple[Any, type[JubakoError], str]] = [
    ({}, Internal, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"),
    ([], Internal, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"),
    (1, Internal, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"),
    ({"inputs": {}}, Internal, type_error("inputs", "non-array as array")),
    ({"inputs": [1]}, InvalidArgument, ONE_SOURCE + "But no field is set"),
    ({"inputs": [GOOD], "id": 1}, Internal, type_error("id", "non-string as string")),
    ({"inputs": [GOOD], "outputs": {}}, Internal, type_error("outputs", "non-array as array")),
    (
        {"inputs": [GOOD], "outputs": [{}]},
        Internal,
        "Unable to parse 'name': attempt to access non-existing object member 'name'",
    ),
    (without("name"), Internal, "Unable to parse 'name': attempt to access non-existing object member 'name'"),
    (without("shape"), Internal, "Unable to parse 'shape': attempt to access non-existing object member 'shape'"),
    (
        without("datatype"),
        Internal,
        "Unable to parse 'datatype': attempt to access non-existing object member 'datatype'",
    ),
    (without("data"), InvalidArgument, ONE_SOURCE + "But no field is set"),
    (
        one(data=[1], **sized(4)),
        InvalidArgument,
        ONE_SOURCE + "But set 'data' 'binary_data_size'",
    ),
    (one(parameters={"shared_memory_region": "r"}), NotFound, "Unable to find shared memory region: 'r'"),
    (one(parameters={"binary_data_size": -1}), Internal, type_error("binary_data_size", UNSIGNED)),
    (one(shape=[2, -5], data=[1]), Internal, type_error("shape", UNSIGNED)),
    (one(shape=[1.0], data=[1]), Internal, type_error("shape", UNSIGNED)),
    (one(shape=[True], data=[1]), Internal, type_error("shape", UNSIGNED)),
    ({"inputs": [GOOD | {"shape": "1"}]}, Internal, type_error("shape", "non-array as array")),
    ({"inputs": [GOOD | {"datatype": "FP31"}]}, InvalidArgument, "invalid datatype for input INPUT0"),
    ({"inputs": [GOOD, GOOD]}, InvalidArgument, UNKNOWN_ID + "input 'INPUT0' already exists in request"),
    (
        {"inputs": [GOOD], "outputs": [{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]},
        InvalidArgument,
        UNKNOWN_ID + "output 'OUTPUT0' already exists in request",
    ),
    (one(data=1), Internal, type_error("data", "non-array as array")),
    (one(data=["1"]), Internal, type_error("data", "non-number as double")),
    (one(data=[True]), Internal, type_error("data", "non-number as double")),
    (one(INT32, data=[1.0]), Internal, type_error("data", "non-signed-integer as signed-integer")),
    (one(INT32, data=[2**63]), Internal, type_error("data", "non-signed-integer as signed-integer")),
    (one(Datatype.UINT8, data=[-1]), Internal, type_error("data", UNSIGNED)),
    (one(Datatype.UINT64, data=[2**64]), Internal, type_error("data", UNSIGNED)),
    (one(Datatype.BOOL, data=[1]), Internal, type_error("data", "non-boolean as boolean")),
    (one(BYTES, data=[1]), Internal, "Unable to parse JSON bytes array: attempt to access JSON non-string as string"),
    (one(data=[1, 2]), Internal, "Unable to parse 'data': Shape does not match true shape of 'data' field"),
    (one(shape=[2], data=[1]), Internal, "Failed to parse 'data' field: shape does not match true shape"),
    (
        one(data=nested(100)),
        InvalidArgument,
        "Unable to parse 'data': JSON nesting depth exceeds maximum allowed limit (100)",
    ),
    (one(BYTES, data=nested(100, "a")), InvalidArgument, "JSON nesting depth exceeds maximum allowed limit (100)"),
    (
        one(BYTES, [2], data=["a"]) | {"id": "seven"},
        InvalidArgument,
        "[request id: seven] expected 2 string elements for inference input 'INPUT0' for model 'm', got 1",
    ),
    (
        one(BYTES, data=["a", "b", "c"]),
        InvalidArgument,
        UNKNOWN_ID + "unexpected number of string elements 2 for inference input 'INPUT0' for model 'm', expecting 1",
    ),
    (
        one(Datatype.FP16, data=[1]),
        InvalidArgument,
        "receiving FP16 data via JSON is not supported. Please use the binary data format for input INPUT0",
    ),
    (
        one(Datatype.BF16, data=[1]),
        InvalidArgument,
        "receiving BF16 data via JSON is not supported. Please use the binary data format for input INPUT0",
    ),
    (
        one(shape=[2**62, 4], data=[1]),
        InvalidArgument,
        "invalid shape for input 'INPUT0': shape [4611686018427387904,4] causes total element count to exceed maximum "
        "size of 9223372036854775807",
    ),
    (
        one(shape=[2**61], **sized(0)),
        InvalidArgument,
        "byte size overflow for input 'INPUT0': element count (2305843009213693952) * data type size (4) exceeds "
        "maximum allowed size (9223372036854775807)",
    ),
    (
        one(shape=[0, 2**62], data=[]),
        InvalidArgument,
        "invalid shape for input 'INPUT0': shape [0,4611686018427387904] contains one or more invalid dimensions",
    ),
    (
        one(shape=[1] * 33, data=[1]),
        InvalidArgument,
        "invalid shape for input 'INPUT0': 33 dimensions exceed the maximum of 32",
    ),
    ({"inputs": [GOOD] * 4097}, InvalidArgument, "request names 4097 tensors, which exceeds the maximum of 4096"),
    (
        one(shape=[2**26], data=[1]),
        InvalidArgument,
        "JSON input 'INPUT0' has a byte_size (268435456 bytes) that exceeds the maximum allowed value of 67108864 "
        "bytes. Use --http-max-input-size to increase the limit.",
    ),
    (
        {"inputs": [GOOD], "parameters": []},
        Internal,
        "failed to get request params.: attempt to get members for non-object",
    ),
    ({"inputs": [GOOD], "parameters": {"priority": -1}}, Internal, type_error("priority", UNSIGNED)),
    ({"inputs": [GOOD], "parameters": {"timeout": "1"}}, Internal, type_error("timeout", UNSIGNED)),
    (
        {"inputs": [GOOD], "parameters": {"sequence_id": -1}},
        Internal,
        type_error("sequence_id", "non-string as string"),
    ),
    (
        {"inputs": [GOOD], "parameters": {"sequence_start": 1}},
        Internal,
        type_error("sequence_start", "non-boolean as boolean"),
    ),
    (
        {"inputs": [GOOD], "parameters": {"binary_data_output": 1}},
        Internal,
        type_error("binary_data_output", "non-boolean as boolean"),
    ),
    (
        {"inputs": [GOOD], "parameters": {"triton_x": 1}},
        InvalidArgument,
        "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.",
    ),
    (
        {"inputs": [GOOD], "parameters": {"k": None}},
        InvalidArgument,
        "parameter 'k' has invalid type. It should be either 'int', 'bool', or 'string'.",
    ),
    (
        {"inputs": [GOOD], "outputs": [{"name": "O", "parameters": {"classification": -1}}]},
        Internal,
        f"Unable to set 'classification': attempt to access JSON {UNSIGNED}",
    ),
    (
        {"inputs": [GOOD], "outputs": [{"name": "O", "parameters": {"binary_data": 1}}]},
        Internal,
        type_error("binary_data", "non-boolean as boolean"),
    ),
    (
        {
            "inputs": [GOOD],
            "outputs": [{"name": "O", "parameters": {"shared_memory_region": "r", "classification": 1}}],
        },
        InvalidArgument,
        "Output can't set both 'shared_memory_region' and 'classification'",
    ),
    (
        {
            "inputs": [GOOD],
            "outputs": [{"name": "O", "parameters": {"shared_memory_region": "r", "binary_data": True}}],
        },
        InvalidArgument,
        "Output can't set both 'shared_memory_region' and 'binary_data'",
    ),
    (
        {"inputs": [GOOD], "outputs": [{"name": "O", "parameters": {"shared_memory_region": "r"}}]},
        NotFound,
        "Unable to find shared memory region: 'r'",
    ),
]

TEXTS: list[tuple[bytes, type[JubakoError], str]] = [
    (b" ", Internal, "The document is empty. at 1"),
    (b"{inputs:[]}", Internal, "Missing a name for object member. at 1"),
    (b"abc", Internal, "Invalid value. at 0"),
    (b'{"inputs":[', Internal, "Invalid value. at 11"),
    (b'{"a":"\n"}', Internal, "Invalid escape character in string. at 6"),
    (b'{"a":"\xff"}', Internal, "Invalid encoding in string. at 6"),
    (b"\x1f\x8b\x08\xff", Internal, "Invalid value. at 0"),
    (b'{"a":1e400}', Internal, "Number too big to be stored in double. at 5"),
    (b'{"a":1%b}' % (b"0" * 400), Internal, "Number too big to be stored in double. at 5"),
    (b'{"a":1%b}' % (b"0" * 5000), Internal, "Number too big to be stored in double. at 5"),
]


@pytest.mark.parametrize(("document", "kind", "message"), MESSAGES)
def test_a_wrong_request_is_refused_in_tritons_words(document: Any, kind: type[JubakoError], message: str) -> None:
    with pytest.raises(kind) as raised:
        read(identity_runner(FP32), document)

    assert str(raised.value) == message


@pytest.mark.parametrize(("text", "kind", "message"), TEXTS)
def test_what_is_no_json_is_refused_with_the_place(text: bytes, kind: type[JubakoError], message: str) -> None:
    with pytest.raises(kind) as raised:
        read(identity_runner(FP32), text)

    assert str(raised.value) == f"failed to parse the request JSON buffer: {message}"


@pytest.mark.parametrize("depth", [600, 2000, 250_000])
def test_a_document_as_deep_as_the_sea_is_refused(depth: int) -> None:
    text = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"data":%b1%b}]}' % (b"[" * depth, b"]" * depth)

    with pytest.raises(InvalidArgument, match="JSON nesting depth exceeds maximum allowed limit"):
        read(identity_runner(FP32), text)


def test_a_tensor_in_ninety_nine_lists_is_read() -> None:
    request, _ = read(identity_runner(FP32), one(data=nested(99, 2)))

    assert request.arrays[0].tolist() == [2]


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [GOOD | {"parameters": 1}]},
        {"inputs": [GOOD | {"parameters": None}]},
        {"inputs": [GOOD], "outputs": [{"name": "OUTPUT0", "parameters": []}]},
        {"inputs": [GOOD | {"other": {"deep": [1]}}], "more": None},
        {"inputs": [GOOD], "parameters": {"text": "a", "number": -1, "flag": True, "half": 0.5}},
    ],
)
def test_what_nobody_looks_at_is_ignored(document: Any) -> None:
    request, _ = read(identity_runner(FP32), document)

    assert request.arrays[0].tolist() == [1]


def test_parameters_reach_the_request() -> None:
    parameters = {"priority": 2, "timeout": 7, "sequence_id": "s", "sequence_start": True, "mine": 1.5}

    request, _ = read(identity_runner(FP32), {"inputs": [GOOD], "parameters": parameters})

    signature = request.signature
    assert (signature.priority, signature.timeout_us, signature.sequence_id) == (2, 7, "s")
    assert (signature.sequence_start, signature.sequence_end) == (True, False)
    assert dict(signature.parameters) == {"mine": 1.5}


# --- binary tensors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "data", "message"),
    [
        (FP32, [2], 8, b"1234567", "unexpected size for input 'INPUT0', expecting 1 additional bytes for model 'm'"),
        (FP32, [2], 8, b"123456789", "unexpected additional input data for model 'm'"),
        (
            BYTES,
            [2],
            5,
            b"\1\0\0\0a",
            UNKNOWN_ID + "expected 2 string elements for inference input 'INPUT0' for model 'm', got 1",
        ),
        (
            BYTES,
            [1],
            10,
            b"\1\0\0\0a\1\0\0\0b",
            UNKNOWN_ID
            + "unexpected number of string elements 2 for inference input 'INPUT0' for model 'm', expecting 1",
        ),
        (
            BYTES,
            [1],
            2,
            b"\1\0",
            UNKNOWN_ID
            + "incomplete string length indicator for inference input 'INPUT0' for model 'm', expecting 4 bytes "
            "but only 2 bytes available. Please make sure the string length indicator is in one buffer.",
        ),
        (
            BYTES,
            [1],
            5,
            b"\xff\xff\xff\xffa",
            "incomplete string data for inference input 'INPUT0', expecting string of length 4294967295 but only 1 "
            "bytes available",
        ),
    ],
)
def test_a_wrong_binary_tensor_is_refused(
    datatype: Datatype, shape: list[int], size: int, data: bytes, message: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read(identity_runner(datatype), one(datatype, shape, **sized(size)), data)

    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("value", "length"), [(None, 252), (b"0", 0), (b"252", 252), (b"010", 10), (b" 12", 12), (b"+7", 7), (b"1e3", 1)]
)
def test_a_header_length_is_read_as_c_reads_numbers(value: bytes | None, length: int) -> None:
    assert header_length(value, 252) == length


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "Unable to parse Inference-Header-Content-Length, got: "),
        (b"abc", "Unable to parse Inference-Header-Content-Length, got: abc"),
        (b"-", "Unable to parse Inference-Header-Content-Length, got: -"),
        (b"-1", "inference header size should be in range (0, 252), got: -1"),
        (b"253", "inference header size should be in range (0, 252), got: 253"),
        (b"2147483647", "inference header size should be in range (0, 252), got: 2147483647"),
        (
            b"2147483648",
            "Unable to parse Inference-Header-Content-Length, value is out of range [ -2147483648, 2147483647 ], got: "
            "2147483648",
        ),
        (
            b"9" * 5000,
            "Unable to parse Inference-Header-Content-Length, value is out of range [ -2147483648, 2147483647 ], got: "
            + "9" * 5000,
        ),
    ],
)
def test_a_wrong_header_length_is_refused(value: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        header_length(value, 252)

    assert str(raised.value) == message


# --- raw requests -----------------------------------------------------------------------------------------------------


def raw(runner: Runner, body: bytes, limits: Limits | None = None) -> tuple[Any, Any]:
    return decode(body, 0, runner, limits or Limits(), 0)


def batched(datatype: str, dims: str) -> FakeModel:
    config = tensors("input", ("INPUT0", datatype, dims)) + tensors("output", ("OUTPUT0", datatype, dims))
    return FakeModel("max_batch_size: 4\n" + config, lambda inputs: [])


def test_a_raw_body_is_the_only_input() -> None:
    request, plan = raw(identity_runner(FP32), struct.pack("<3f", 1, 2, 3))

    assert request.arrays[0].tolist() == [1, 2, 3]
    assert plan.default.binary


def test_a_raw_body_is_one_row_of_a_model_with_batches() -> None:
    request, _ = raw(a_runner(batched("INT32", "[ 2, -1 ]")), struct.pack("<6i", *range(6)))

    assert request.arrays[0].tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_a_raw_text_is_one_element() -> None:
    request, _ = raw(identity_runner(BYTES, "[ 1 ]"), b"hello")

    assert request.arrays[0].tolist() == [b"hello"]


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        (
            simple(),
            b"",
            UNKNOWN_ID
            + "Raw request must only have 1 input (found 1) to be deduced but got 2 inputs in 'm' model configuration",
        ),
        (
            identity("FP32", dims="[ -1, -1 ]"),
            b"1234",
            UNKNOWN_ID
            + "The shape of the raw input 'INPUT0' can not be deduced because there are more than one variable-sized "
            "dimension",
        ),
        (
            identity("STRING"),
            b"1234",
            UNKNOWN_ID + "For BYTE datatype raw input 'INPUT0', the model must have input shape [1]",
        ),
        (
            identity("FP32"),
            b"12345",
            UNKNOWN_ID + "input byte size mismatch for input 'raw_input' for model 'm'. Expected 4, got 5",
        ),
        (
            identity("FP32", dims="[ 2 ]"),
            b"1234",
            UNKNOWN_ID + "input byte size mismatch for input 'raw_input' for model 'm'. Expected 8, got 4",
        ),
    ],
)
def test_a_raw_body_that_does_not_fit_is_refused(model: FakeModel, body: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        raw(a_runner(model), body)

    assert str(raised.value) == message


def test_a_raw_body_is_bounded() -> None:
    with pytest.raises(
        InvalidArgument, match=r"^Raw input has a byte_size \(12 bytes\) that exceeds .* of 8 bytes\. Use"
    ):
        raw(identity_runner(FP32), b"x" * 12, Limits(max_input_size=8))


def test_the_json_part_is_bounded() -> None:
    with pytest.raises(InvalidArgument, match=r"^request JSON size of \d+ bytes exceeds .* size of 20 bytes\. Use"):
        read(identity_runner(FP32), one(data=[1]), limits=Limits(max_input_size=20))


# --- anything ---------------------------------------------------------------------------------------------------------

RUNNERS = {
    "simple": a_runner(simple()),
    "fp32": identity_runner(FP32),
    "strings": identity_runner(BYTES),
    "matrix": identity_runner(Datatype.FP16, "[ -1, -1 ]"),
    "batched": a_runner(batched("INT32", "[ -1 ]")),
}


def answered(body: bytes, length: int, runner: Runner) -> None:
    """Take a request all the way but for its execution, as an identity; only a JubakoError may come of it."""
    try:
        request, plan = decode(body, length, runner, Limits(max_input_size=100_000), 0)
        runner.interface.admit(request.signature)
        assert [array.shape for array in request.arrays] == [spec.shape for spec in request.signature.inputs]
        outputs = {
            f"OUTPUT{i}": (spec.datatype, array)
            for i, (spec, array) in enumerate(zip(request.signature.inputs, request.arrays, strict=True))
        }
        whole(encode(an_answer(outputs, request, batched=runner.interface.batched), plan))
    except JubakoError:
        return  # the one thing that may come of it


@given(st.binary(max_size=200), st.none() | st.binary(max_size=12), st.sampled_from(sorted(RUNNERS)))
def test_any_bytes_are_a_request_or_are_refused(body: bytes, length: bytes | None, runner: str) -> None:
    try:
        header = header_length(length, len(body))
    except InvalidArgument:
        return
    assert 0 <= header <= len(body)
    answered(body, header, RUNNERS[runner])


@given(almost_requests(), st.binary(max_size=60), st.sampled_from(sorted(RUNNERS)))
def test_any_json_is_a_request_or_is_refused(document: Any, tail: bytes, runner: str) -> None:
    header = json.dumps(document).encode()
    for _ in range(2):  # the second time it may be remembered
        answered(header + tail, len(header), RUNNERS[runner])


@given(st.integers(0, 200), st.binary(min_size=1, max_size=4), st.integers(0, 4))
def test_a_good_request_with_any_bytes_changed_is_a_request_or_is_refused(at: int, new: bytes, cut: int) -> None:
    header = json.dumps(one(INT32, [2, 2], **sized(16)), separators=(",", ":")).encode()
    body = bytearray(header + struct.pack("<4i", 1, 2, 3, 4))
    body[at : at + cut] = new

    answered(bytes(body), min(len(header), len(body)), RUNNERS["batched"])


def test_a_refusal_takes_no_memory_to_speak_of() -> None:
    runner = identity_runner(FP32, "[ -1, -1 ]")
    hostile = [
        one(shape=[2**31, 2**31], **sized(4)),
        one(shape=[2**40], data=[]),
        one(shape=[0, 2**60], data=[]),
        one(BYTES, shape=[2**40], data=["a"]),
        one(BYTES, shape=[2**40], **sized(4)),
    ]
    tracemalloc.start()
    try:
        for document in hostile:
            answered(json.dumps(document).encode() + b"1234", len(json.dumps(document)), runner)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
