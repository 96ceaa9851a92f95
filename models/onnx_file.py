"""ONNX models as the bytes of one file, the same bytes at each making.

What differs from one machine or release to the next and changes no answer is left out: stack traces with their paths,
and the exporter's version. `IR_VERSION` is what onnxruntime 1.20 still reads.
"""

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

IR_VERSION = 10
OPSET = 20
"""20 is the first opset that has StringConcat."""


def tensor(name: str, datatype: int, *shape: int | str) -> ValueInfoProto:
    """Describe a graph's input or output; a dimension that is a word is variable."""
    return helper.make_tensor_value_info(name, datatype, list(shape))


def graph_file(
    name: str,
    nodes: list[NodeProto],
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    constants: list[TensorProto] | None = None,
) -> bytes:
    """Return the file of a graph written by hand, checked."""
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=constants)
    return model_file(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def model_file(model: ModelProto) -> bytes:
    """Return `model` as one file, checked, without the traces of who made it and where. `model` itself is changed.

    Raises:
        onnx.checker.ValidationError: the graph is not valid.
    """
    model.ir_version = IR_VERSION
    model.producer_name = "jubako"
    model.producer_version = ""
    _forget_origin(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _forget_origin(graph: GraphProto) -> None:
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
