from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from backends.contract import CPU, BackendContract
from backends.models import config, files, onnx, onnx_add_sub, onnx_bytes, onnx_identity
from jubako.backends.base import Backend, BackendOptions, ModelFiles
from jubako.backends.onnxruntime import OnnxRuntime
from jubako.errors import InvalidArgument, JubakoError, Unsupported
from jubako.tensor import Datatype

FP32 = Datatype.FP32


def backend() -> OnnxRuntime:
    return OnnxRuntime(BackendOptions())


class TestContract(BackendContract):
    filename = "model.onnx"
    platform = "onnxruntime"

    def backend(self) -> Backend:
        return backend()

    def identity(self, root: Path, datatype: Datatype, rank: int) -> ModelFiles:
        return files(root, onnx_identity(datatype, [f"d{i}" for i in range(rank)]), self.filename)

    def add(self, root: Path) -> ModelFiles:
        # Two dimension names: the model has to find out for itself that shapes differ.
        node = helper.make_node("Add", ["A", "B"], ["SUM"])
        inputs = [("A", FP32, ("N", "a")), ("B", FP32, ("N", "b"))]
        return files(root, onnx_bytes([node], inputs, [("SUM", FP32, ("N", "c"))]), self.filename)

    def heavy(self, root: Path, floats: int) -> ModelFiles:
        weights = numpy_helper.from_array(np.arange(floats, dtype=np.float32), "W")
        # Looked up by an input, so that no optimisation folds the weights away.
        nodes = [
            helper.make_node("Cast", ["X"], ["I"], to=TensorProto.INT64),
            helper.make_node("Gather", ["W", "I"], ["Y"]),
        ]
        return files(root, onnx_bytes(nodes, [("X", FP32, ("N",))], [("Y", FP32, ("N",))], [weights]), self.filename)


SIMPLE = """max_batch_size: 8
    input [{name: "INPUT0" data_type: TYPE_INT32 dims: 16}, {name: "INPUT1" data_type: TYPE_INT32 dims: 16}]
    output [{name: "OUTPUT0" data_type: TYPE_INT32 dims: 16}, {name: "OUTPUT1" data_type: TYPE_INT32 dims: 16}]"""


def test_outputs_come_in_the_order_asked_for_and_may_be_fewer_than_the_models(tmp_path: Path) -> None:
    instance = backend().load(config(SIMPLE), files(tmp_path, onnx_add_sub(), "model.onnx"), CPU)
    three, one = np.full((1, 16), 3, np.int32), np.full((1, 16), 1, np.int32)

    difference, total = instance.execute({"INPUT0": three, "INPUT1": one}, ["OUTPUT1", "OUTPUT0"])
    (only,) = instance.execute({"INPUT0": three, "INPUT1": one}, ["OUTPUT1"])

    assert (difference == 2).all()
    assert (total == 4).all()
    assert (only == 2).all()


def test_a_folder_may_hold_the_model_with_its_external_data(tmp_path: Path) -> None:
    model = with_external_data("weights.bin")
    made = files(tmp_path, model, "model.onnx/model.onnx")
    (tmp_path / "1" / "model.onnx" / "weights.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    wanted = config('input {name: "X" data_type: TYPE_FP32 dims: 4} output {name: "Y" data_type: TYPE_FP32 dims: 4}')

    instance = backend().load(wanted, made, CPU)

    assert instance.execute({"X": np.zeros(4, np.float32)}, ["Y"])[0].tolist() == [0, 1, 2, 3]


def with_external_data(location: str) -> bytes:
    weights = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    return onnx_bytes([helper.make_node("Add", ["X", "W"], ["Y"])], [("X", FP32, (4,))], [("Y", FP32, (4,))], [weights])


@pytest.mark.parametrize("location", ["../secret.bin", "{root}/secret.bin", "link.bin", "a/../../secret.bin"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    made = files(tmp_path, with_external_data(location.format(root=tmp_path)), "model.onnx")
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (tmp_path / "1" / "link.bin").symlink_to(tmp_path / "secret.bin")

    with pytest.raises(InvalidArgument, match="is outside the model's directory"):
        backend().complete(config(""), made)


def test_optional_inputs_may_be_given_or_left_out(tmp_path: Path) -> None:
    default = numpy_helper.from_array(np.array([10], np.float32), "BIAS")
    node = helper.make_node("Add", ["X", "BIAS"], ["Y"])
    model = onnx_bytes([node], [("X", FP32, (2,)), ("BIAS", FP32, (1,))], [("Y", FP32, (2,))], [default])
    wanted = config(
        """input [{name: "X" data_type: TYPE_FP32 dims: 2},
                  {name: "BIAS" data_type: TYPE_FP32 dims: 1 optional: true}]
        output {name: "Y" data_type: TYPE_FP32 dims: 2}"""
    )
    instance = backend().load(wanted, files(tmp_path, model, "model.onnx"), CPU)
    x = np.zeros(2, np.float32)

    assert instance.execute({"X": x}, ["Y"])[0].tolist() == [10, 10]
    assert instance.execute({"X": x, "BIAS": np.ones(1, np.float32)}, ["Y"])[0].tolist() == [1, 1]


def test_a_scalar_of_the_model_is_one_element_outside(tmp_path: Path) -> None:
    made = files(tmp_path, onnx_identity(FP32, []), "model.onnx")
    completed = backend().complete(config(""), made)
    instance = backend().load(completed, made, CPU)

    (returned,) = instance.execute({"X": np.array([2.5], np.float32)}, ["Y"])

    assert list(completed.input[0].dims) == [1]
    assert returned.tolist() == [2.5]


def test_a_scalar_for_each_row_is_reshaped_both_ways(tmp_path: Path) -> None:
    made = files(tmp_path, onnx_identity(FP32, ["N"]), "model.onnx")
    completed = backend().complete(config(""), made)
    instance = backend().load(completed, made, CPU)

    (returned,) = instance.execute({"X": np.array([[1], [2]], np.float32)}, ["Y"])

    assert list(completed.input[0].dims) == [1]
    assert completed.input[0].HasField("reshape")
    assert returned.tolist() == [[1], [2]]


def test_bf16_and_other_tensors_mix(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["X"], ["Y"], to=TensorProto.BFLOAT16), helper.make_node("Neg", ["X"], ["Z"])]
    model = onnx_bytes(nodes, [("X", FP32, ("N",))], [("Y", Datatype.BF16, ("N",)), ("Z", FP32, ("N",))])
    made = files(tmp_path, model, "model.onnx")
    instance = backend().load(backend().complete(config(""), made), made, CPU)

    bits, negative = instance.execute({"X": np.array([[1.0], [2.0]], np.float32)}, ["Y", "Z"])
    (alone,) = instance.execute({"X": np.array([[1.0]], np.float32)}, ["Z"])

    assert bits.tolist() == [[0x3F80], [0x4000]]
    assert negative.tolist() == [[-1], [-2]]
    assert alone.tolist() == [[-1]]


def test_bf16_may_go_in_where_none_comes_out(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["X"], ["Y"], to=TensorProto.FLOAT)
    made = files(tmp_path, onnx_bytes([node], [("X", Datatype.BF16, (2,))], [("Y", FP32, (2,))]), "model.onnx")
    instance = backend().load(backend().complete(config(""), made), made, CPU)

    (returned,) = instance.execute({"X": np.array([0x3F80, 0x4000], np.uint16)}, ["Y"])

    assert returned.tolist() == [1, 2]


def test_strings_in_and_bf16_out_are_refused_at_load(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["S"], ["T"]), helper.make_node("Identity", ["X"], ["Y"])]
    strings, bf16 = Datatype.BYTES, Datatype.BF16
    model = onnx_bytes(nodes, [("S", strings, (1,)), ("X", bf16, (1,))], [("T", strings, (1,)), ("Y", bf16, (1,))])
    made = files(tmp_path, model, "model.onnx")

    with pytest.raises(Unsupported, match="strings in and TYPE_BF16 out"):
        backend().load(backend().complete(config(""), made), made, CPU)


@pytest.mark.parametrize(
    "text",
    [
        'parameters {key: "execution_mode" value {string_value: "1"}}',
        'parameters {key: "intra_op_thread_count" value {string_value: "2"}}',
        'parameters {key: "enable_mem_arena" value {string_value: "0"}}',
        'parameters {key: "enable_mem_pattern" value {string_value: "0"}}',
        'parameters {key: "memory.enable_memory_arena_shrinkage" value {string_value: "cpu:0;gpu:0"}}',
        'parameters {key: "session.intra_op.allow_spinning" value {string_value: "1"}}',
        "optimization {graph {level: -1}}",
        "optimization {graph {level: 2}}",
    ],
)
def test_a_model_runs_under_each_setting(tmp_path: Path, text: str) -> None:
    instance = backend().load(config(SIMPLE + text), files(tmp_path, onnx_add_sub(), "model.onnx"), CPU)
    ones = np.ones((2, 16), np.int32)

    for _ in range(2):
        assert (instance.execute({"INPUT0": ones, "INPUT1": ones}, ["OUTPUT0"])[0] == 2).all()


def test_completion_leaves_the_given_configuration_alone_and_loads(tmp_path: Path) -> None:
    made, given = files(tmp_path, onnx_add_sub(), "model.onnx"), config("")

    completed = backend().complete(given, made)

    assert given == config("")
    assert completed.max_batch_size == 4
    assert completed.HasField("dynamic_batching")
    assert [tensor.name for tensor in completed.input] == ["INPUT0", "INPUT1"]
    assert [list(tensor.dims) for tensor in completed.output] == [[16], [16]]
    assert backend().load(completed, made, CPU)


def test_a_completed_configuration_does_not_open_the_file() -> None:
    nowhere = ModelFiles("m", 1, Path("/nonexistent"))

    assert backend().complete(config(SIMPLE), nowhere) == config(SIMPLE)


def test_a_sequence_output_may_be_left_out_but_not_asked_for(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("S", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["X"], ["Y"]), helper.make_node("SequenceConstruct", ["X"], ["S"])],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, (2,))],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (2,)), sequence],
    )
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = files(tmp_path, model.SerializeToString(), "model.onnx")
    x = 'input {name: "X" data_type: TYPE_FP32 dims: 2} '

    assert backend().load(config(x + 'output {name: "Y" data_type: TYPE_FP32 dims: 2}'), made, CPU)
    with pytest.raises(Unsupported) as failure:
        backend().load(config(x + 'output {name: "S" data_type: TYPE_FP32 dims: 2}'), made, CPU)

    assert str(failure.value) == "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'S', expected 'ONNX_TYPE_TENSOR'."


def test_a_broken_file_names_onnx_runtimes_reason(tmp_path: Path) -> None:
    made = files(tmp_path, onnx_add_sub()[:-40], "model.onnx")

    with pytest.raises(JubakoError, match=r"^onnx runtime error 7: .*Protobuf parsing failed") as failure:
        backend().load(config(SIMPLE), made, CPU)

    assert str(tmp_path) not in str(failure.value)
