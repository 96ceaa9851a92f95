"""A model whose executions take as long as a request asks for."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIZE = 256
CONFIG = """
backend: "onnxruntime"
input { name: "ROUNDS" data_type: TYPE_INT64 dims: 1 }
output { name: "DONE" data_type: TYPE_INT64 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def write_slow_model(repository: Path, name: str = "slow") -> None:
    """Write a model that multiplies 256 × 256 matrices `ROUNDS` times and returns `ROUNDS`.

    A thousand rounds take about 0.4 s on one core of a small machine.
    """
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["kept_in", "weights"], ["kept_out"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept_in", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept_out", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
    )
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [SIZE, SIZE], [1.0 / SIZE] * SIZE * SIZE)
    nodes = [
        helper.make_node("Constant", [], ["go"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True])),
        helper.make_node("Constant", [], ["scalar"], value=helper.make_tensor("none", TensorProto.INT64, [0], [])),
        helper.make_node("Reshape", ["ROUNDS", "scalar"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "go", "weights"], ["kept"], body=body),
        helper.make_node("ReduceSum", ["kept"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Cast", ["nothing"], ["integer"], to=TensorProto.INT64),
        helper.make_node("Add", ["ROUNDS", "integer"], ["DONE"]),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("ROUNDS", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("DONE", TensorProto.INT64, [1])],
        [weights, helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (repository / name / "config.pbtxt").write_text(CONFIG)
