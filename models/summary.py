"""A vector of any length to its sum, mean, maximum and softmax: a variable dimension, in and out."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from onnx import NodeProto, TensorProto, helper

from models.folder import Files, run_recipe
from models.onnx_file import graph_file, tensor

CONFIG = b"""\
# What is in a vector: its sum, mean and maximum, and each element's share (softmax).
name: "summary"
backend: "onnxruntime"
max_batch_size: 16

# -1: a dimension that each request chooses.
input [ { name: "VALUES" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [
  { name: "SUM" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "MEAN" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "MAX" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "SHARE" data_type: TYPE_FP32 dims: [ -1 ] }       # as long as VALUES
]

# Only vectors of one length make a batch: a request of another length ends the batch before it.
dynamic_batching { max_queue_delay_microseconds: 200 }

instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def files() -> Files:
    """Return the model's folder."""
    graph = graph_file(
        "summary",
        nodes=[
            _reduce("ReduceSum", "SUM"),
            _reduce("ReduceMean", "MEAN"),
            _reduce("ReduceMax", "MAX"),
            helper.make_node("Softmax", ["VALUES"], ["SHARE"], axis=1),
        ],
        inputs=[tensor("VALUES", TensorProto.FLOAT, "batch", "length")],
        outputs=[
            *(tensor(name, TensorProto.FLOAT, "batch", 1) for name in ("SUM", "MEAN", "MAX")),
            tensor("SHARE", TensorProto.FLOAT, "batch", "length"),
        ],
        constants=[helper.make_tensor("LENGTH_AXIS", TensorProto.INT64, [1], [1])],
    )
    return {"config.pbtxt": CONFIG, "1/model.onnx": graph}


def _reduce(operator: str, output: str) -> NodeProto:
    """Reduce each row to one element, keeping the dimension."""
    return helper.make_node(operator, ["VALUES", "LENGTH_AXIS"], [output], keepdims=1)


if __name__ == "__main__":
    run_recipe("summary", files)
