"""Sum and difference of two vectors: the `simple` of Triton's quick start, which its clients and perf_analyzer use."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from onnx import TensorProto, helper

from models.folder import Files, run_recipe
from models.onnx_file import graph_file, tensor

CONFIG = b"""\
# Two vectors of 16 integers to their sum and their difference.
name: "simple"                    # the name of this folder
backend: "onnxruntime"            # reads <version>/model.onnx

# A request may carry up to 8 rows. Shapes below leave the batch dimension out: clients send [rows, 16].
max_batch_size: 8

input [
  { name: "INPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "INPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
output [
  { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] },   # INPUT0 + INPUT1
  { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] }    # INPUT0 - INPUT1
]

# Requests that wait at the same time run together, up to max_batch_size rows; none waits for company.
dynamic_batching { }

# One copy of the model, on the CPU.
instance_group [ { count: 1 kind: KIND_CPU } ]

# So small a graph gains nothing from threads of its own.
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def files() -> Files:
    """Return the model's folder."""
    vector = ("batch", 16)
    graph = graph_file(
        "simple",
        nodes=[
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        inputs=[tensor(name, TensorProto.INT32, *vector) for name in ("INPUT0", "INPUT1")],
        outputs=[tensor(name, TensorProto.INT32, *vector) for name in ("OUTPUT0", "OUTPUT1")],
    )
    return {"config.pbtxt": CONFIG, "1/model.onnx": graph}


if __name__ == "__main__":
    run_recipe("simple", files)
