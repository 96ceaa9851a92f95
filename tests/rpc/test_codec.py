"""Messages of inference, from bytes to requests and back, without sockets."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.interface import interface_of
from jubako.errors import Internal, JubakoError
from jubako.protocols.grpc.decode import Targets, decode
from jubako.protocols.grpc.encode import encode, joined
from jubako.protocols.grpc.plan import ReplyPlan
from jubako.protocols.grpc.wire import cut
from jubako.request import InferRequest, InferResponse, ResponseSignature, Signature, TensorSpec
from jubako.tensor import Array, Datatype, encode_bytes


class Model:
    """What a codec needs of a runner: a model with one input."""

    name = "m"
    version = 3

    def __init__(self, datatype: Datatype = Datatype.INT32, dims: tuple[int, ...] = (-1,)) -> None:
        self.memo: dict[bytes, object] = {}
        self.config = ModelConfig(name="m")
        self.config.input.add(name="I", data_type=datatype.config_name, dims=dims)
        self.config.output.add(name="O", data_type=datatype.config_name, dims=dims)
        self.interface = interface_of(self.config)


def read(message: bytes, model: Any) -> tuple[InferRequest, ReplyPlan]:
    return decode(cut(message), model, 1)


def a_message(array: Array, datatype: Datatype, *, id: str = "") -> bytes:
    request = pb.ModelInferRequest(model_name="m", id=id)
    request.inputs.add(name="I", datatype=datatype.name, shape=array.shape)
    request.raw_input_contents.append(encode_bytes(array) if datatype is Datatype.BYTES else array.tobytes())
    written: bytes = request.SerializeToString()
    return written


def same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and (one.tobytes() == other.tobytes() or one.tolist() == other.tolist())


@given(data=st.data(), id=st.text(max_size=200))
@pytest.mark.parametrize("datatype", Datatype)
def test_a_tensor_is_read_as_it_was_written(datatype: Datatype, data: st.DataObject, id: str) -> None:
    model = Model(datatype)
    array = data.draw(arrays(datatype))

    for _ in range(2):  # the second time by what is remembered
        request, _ = read(a_message(array, datatype, id=id), model)

        assert request.id == id
        assert request.model_version == 3
        assert same(request.arrays[0], array)


@given(data=st.data(), id=st.text(max_size=200))
@pytest.mark.parametrize("datatype", Datatype)
def test_an_answer_is_written_as_it_is(datatype: Datatype, data: st.DataObject, id: str) -> None:
    array = data.draw(arrays(datatype))
    plan = ReplyPlan()
    signature = ResponseSignature("m", 3, (TensorSpec("O", datatype, array.shape),))
    request = InferRequest("m", 3, Signature(()), [], id)

    for written in (array, np.asfortranarray(array), array):  # the later ones by what is remembered
        encoded = encode(InferResponse(request, signature, [written]), plan)
        message = joined(encoded.parts)

        answer = pb.ModelInferResponse.FromString(message)
        assert len(message) == encoded.size
        assert (answer.model_name, answer.model_version, answer.id) == ("m", "3", id)
        assert answer.outputs[0] == pb.ModelInferResponse.InferOutputTensor(
            name="O", datatype=datatype.name, shape=array.shape
        )
        raw = encode_bytes(array) if datatype is Datatype.BYTES else array.tobytes()
        assert list(answer.raw_output_contents) == [raw]


def test_a_raw_tensor_is_a_view_of_the_message() -> None:
    model = Model()
    message = a_message(np.arange(4, dtype=np.int32), Datatype.INT32)

    for _ in range(2):
        request, _ = read(message, model)

        assert np.shares_memory(request.arrays[0], np.frombuffer(message, np.uint8))


def test_a_repeated_header_gives_the_same_signature_whatever_the_id_and_the_numbers() -> None:
    model = Model()
    messages = [a_message(np.full(4, n, np.int32), Datatype.INT32, id=str(n)) for n in range(3)]

    signatures = {read(message, model)[0].signature for message in messages}

    assert len(signatures) == 1


def test_typed_contents_are_not_remembered() -> None:
    model = Model()
    for n in range(3):
        request = pb.ModelInferRequest(model_name="m")
        request.inputs.add(name="I", datatype="INT32", shape=[1]).contents.int_contents.append(n)

        decoded, _ = read(request.SerializeToString(), model)

        assert decoded.arrays[0].tolist() == [n]
        assert not decoded.signature.reusable
    assert not model.memo


@pytest.mark.parametrize(
    ("datatype", "field", "value", "expected"),
    [
        (Datatype.BOOL, "bool_contents", True, True),
        (Datatype.INT8, "int_contents", 300, 44),
        (Datatype.INT16, "int_contents", -1, -1),
        (Datatype.INT32, "int_contents", -(2**31), -(2**31)),
        (Datatype.INT64, "int64_contents", -(2**63), -(2**63)),
        (Datatype.UINT8, "uint_contents", 257, 1),
        (Datatype.UINT16, "uint_contents", 65535, 65535),
        (Datatype.UINT32, "uint_contents", 2**32 - 1, 2**32 - 1),
        (Datatype.UINT64, "uint64_contents", 2**64 - 1, 2**64 - 1),
        (Datatype.FP32, "fp32_contents", 0.5, 0.5),
        (Datatype.FP64, "fp64_contents", 0.1, 0.1),
        (Datatype.BYTES, "bytes_contents", b"a\x00b", b"a\x00b"),
    ],
    ids=lambda value: value.name if isinstance(value, Datatype) else None,
)
def test_each_typed_list_is_read(datatype: Datatype, field: str, value: Any, expected: Any) -> None:
    request = pb.ModelInferRequest(model_name="m")
    getattr(request.inputs.add(name="I", datatype=datatype.name, shape=[1]).contents, field).append(value)

    decoded, _ = read(request.SerializeToString(), Model(datatype))

    assert decoded.arrays[0].tolist() == [expected]


def test_parameters_reach_the_signature() -> None:
    request = pb.ModelInferRequest.FromString(a_message(np.zeros(1, np.int32), Datatype.INT32))
    request.parameters["sequence_id"].string_param = "s"
    request.parameters["sequence_start"].bool_param = True
    request.parameters["sequence_end"].bool_param = True
    request.parameters["priority"].uint64_param = 2
    request.parameters["timeout"].int64_param = 500
    request.parameters["flavour"].double_param = 0.5
    request.parameters["triton_enable_empty_final_response"].bool_param = True

    decoded, plan = read(request.SerializeToString(), Model())

    signature = decoded.signature
    assert (signature.sequence_id, signature.sequence_start, signature.sequence_end) == ("s", True, True)
    assert (signature.priority, signature.timeout_us) == (2, 500)
    assert signature.parameters == {"flavour": 0.5}
    assert plan.empty_final


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_an_error(message: bytes) -> None:
    _read_or_refuse(message)


PARAMETERS = (
    st.builds(
        pb.InferParameter,
        bool_param=st.booleans(),
    )
    | st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1))
    | st.builds(pb.InferParameter, string_param=st.text(max_size=5))
)
KEYS = st.sampled_from(
    ["sequence_id", "priority", "timeout", "classification", "shared_memory_region", "shared_memory_byte_size", "x"]
)
TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["I", "", "other"]),
    datatype=st.sampled_from([*[datatype.name for datatype in Datatype], "", "nonsense"]),
    shape=st.lists(st.integers(-2, 4) | st.integers(-(2**63), 2**63 - 1), max_size=4),
    parameters=st.dictionaries(KEYS, PARAMETERS, max_size=2),
    contents=st.none()
    | st.builds(
        pb.InferTensorContents,
        int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
        bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
    ),
)
REQUESTS = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("m"),
    model_version=st.sampled_from(["", "3", "x"]),
    id=st.text(max_size=5),
    parameters=st.dictionaries(KEYS, PARAMETERS, max_size=2),
    inputs=st.lists(TENSORS, max_size=2),
    outputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferRequestedOutputTensor,
            name=st.sampled_from(["O", "x"]),
            parameters=st.dictionaries(KEYS, PARAMETERS, max_size=2),
        ),
        max_size=2,
    ),
    raw_input_contents=st.lists(st.binary(max_size=64), max_size=3),
)


@given(REQUESTS, st.sampled_from(list(Datatype)))
def test_any_message_is_a_request_or_an_error(message: Any, datatype: Datatype) -> None:
    _read_or_refuse(message.SerializeToString(), datatype)


def _read_or_refuse(message: bytes, datatype: Datatype = Datatype.INT32) -> None:
    model = Model(datatype)
    outcomes = []
    for _ in range(2):
        try:
            parts = cut(message)
            Targets().of(parts.header)
            request, _ = read(message, model)
            admission = model.interface.admit(request.signature)
        except JubakoError as error:
            outcomes.append(str(error))
            continue
        outcomes.append("taken")
        assert admission.rows == 1
        for spec, array in zip(request.signature.inputs, request.arrays, strict=True):
            assert array.shape == spec.shape
            assert array.dtype == spec.datatype.dtype
    assert outcomes[0] == outcomes[1]  # what is remembered changes nothing


@given(REQUESTS)
def test_what_is_cut_is_all_there_is(message: Any) -> None:
    written = message.SerializeToString()

    parts = cut(written)

    whole = pb.ModelInferRequest.FromString(parts.header)
    whole.id = parts.id
    whole.raw_input_contents.extend(written[offset : offset + size] for offset, size in parts.tensors)
    assert whole == message


def test_a_long_field_and_a_long_id_are_cut() -> None:
    array = np.arange(100_000, dtype=np.int32)
    message = a_message(array, Datatype.INT32, id="x" * 70_000)

    request, _ = read(message, Model())

    assert request.id == "x" * 70_000
    assert same(request.arrays[0], array)


def test_what_is_no_message_is_an_error_of_ours_not_of_python() -> None:
    with pytest.raises(Internal, match="Unable to parse request"):
        cut(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
