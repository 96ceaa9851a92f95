"""Any message at all, to a gRPC server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
import pytest
from fakes import identity, simple
from hypothesis import given
from hypothesis import strategies as st
from rpc.serving import serving
from tritonclient.grpc import service_pb2 as pb

from jubako.tensor import Datatype

from .budget import PATIENCE_S, explore
from .requests import MODELS, mutations
from .verdict import BUSY, LEAKS

SERVICE = "/inference.GRPCInferenceService/"
CONTROL: Final = (
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryStatus",
    "TraceSetting",
)
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
}
NO_MESSAGE = "Unable to parse request"
INT32S = st.integers(-(2**31), 2**31 - 1)


@st.composite
def parameters(draw: st.DrawFn) -> pb.InferParameter:
    kind = draw(st.sampled_from(["bool_param", "int64_param", "string_param", "double_param", "uint64_param", ""]))
    value: Any = {
        "bool_param": True,
        "int64_param": draw(st.integers(-(2**63), 2**63 - 1)),
        "string_param": draw(st.text(max_size=4)),
        "double_param": draw(st.floats()),
        "uint64_param": draw(st.integers(0, 2**64 - 1)),
    }.get(kind)
    return pb.InferParameter(**{kind: value}) if kind else pb.InferParameter()


RESERVED: Final = ("sequence_id", "sequence_start", "priority", "timeout", "triton_enable_empty_final_response")
OF_TENSORS: Final = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "classification")
KEYS = st.sampled_from((*RESERVED, *OF_TENSORS, "triton_x", "binary_data", "x"))


@st.composite
def infer_requests(draw: st.DrawFn) -> bytes:
    """Return a ModelInferRequest that is almost right, as bytes."""
    request = pb.ModelInferRequest(
        model_name=draw(st.sampled_from(MODELS) | st.text(max_size=4)),
        model_version=draw(st.sampled_from(["", "", "1", "-1", "x", "99999999999999999999"])),
        id=draw(st.text(max_size=4)),
    )
    for _ in range(draw(st.integers(0, 3))):
        tensor = request.inputs.add(
            name=draw(st.sampled_from(["INPUT0", "INPUT1", ""])),
            datatype=draw(st.sampled_from([datatype.name for datatype in Datatype]) | st.text(max_size=4)),
            shape=draw(st.lists(st.integers(-1, 17) | st.integers(-(2**63), 2**63 - 1), max_size=4)),
        )
        if draw(st.booleans()):
            tensor.contents.int_contents.extend(draw(st.lists(INT32S, max_size=4)))
            tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=2)))
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=4), max_size=2)))
        if draw(st.integers(0, 3)) == 0:
            tensor.parameters[draw(KEYS)].CopyFrom(draw(parameters()))
    for _ in range(draw(st.integers(0, 2))):
        output = request.outputs.add(name=draw(st.sampled_from(["OUTPUT0", "OUTPUT1", ""])))
        if draw(st.booleans()):
            output.parameters[draw(KEYS)].CopyFrom(draw(parameters()))
    for _ in range(draw(st.integers(0, 2))):
        request.parameters[draw(KEYS)].CopyFrom(draw(parameters()))
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=70) | st.just(bytes(64)), max_size=3)))
    written: bytes = request.SerializeToString()
    return draw(mutations(written)) if draw(st.integers(0, 2)) == 0 else written


def messages() -> st.SearchStrategy[bytes]:
    return infer_requests() | infer_requests() | st.binary(max_size=100)


def check_refusal(error: grpc.RpcError) -> None:
    code, details = error.code(), error.details() or ""
    assert not LEAKS.search(details), details
    if code is grpc.StatusCode.INTERNAL:
        assert details.startswith(NO_MESSAGE), details
    elif code is grpc.StatusCode.UNAVAILABLE:
        assert details.startswith(BUSY), details
    else:
        assert code in REFUSALS, (code, details)


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[grpc.Channel]:
    models = {
        "simple": simple(),
        "fp32": identity("FP32"),
        "int8": identity("INT8"),
        "strings": identity("STRING"),
        "matrix": identity("FP64", dims="[ -1, -1 ]"),
    }
    with serving(tmp_path, models) as served, grpc.insecure_channel(served.url) as channel:
        yield channel
        assert channel.unary_unary(f"{SERVICE}ServerReady")(b"", timeout=PATIENCE_S) == b"\x08\x01"


def test_any_message_is_answered_or_refused(channel: grpc.Channel) -> None:
    infer = channel.unary_unary(f"{SERVICE}ModelInfer")

    @given(messages())
    def is_answered(message: bytes) -> None:
        try:
            pb.ModelInferResponse.FromString(infer(message, timeout=PATIENCE_S))
        except grpc.RpcError as error:
            check_refusal(error)

    explore(is_answered, examples=100, share=0.1)


def test_any_stream_of_messages_is_answered(channel: grpc.Channel) -> None:
    stream = channel.stream_stream(f"{SERVICE}ModelStreamInfer")

    @given(st.lists(messages(), max_size=4))
    def ends(sent: list[bytes]) -> None:
        try:
            for answer in stream(iter(sent), timeout=PATIENCE_S):
                message = pb.ModelStreamInferResponse.FromString(answer)
                assert not LEAKS.search(message.error_message), message.error_message
        except grpc.RpcError as error:
            check_refusal(error)

    explore(ends, examples=40, share=0.1)


def test_any_message_to_any_other_call_is_answered_or_refused(channel: grpc.Channel) -> None:
    @given(st.sampled_from(CONTROL), st.binary(max_size=60) | infer_requests())
    def is_answered(name: str, message: bytes) -> None:
        try:
            channel.unary_unary(f"{SERVICE}{name}")(message, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            check_refusal(error)

    explore(is_answered, examples=40, share=0.05)
