"""Two words to one text: BYTES in and out, and a model that has no batching scheduler."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models.folder import Files, run_recipe
from models.onnx_file import graph_file, tensor

CONFIG = b"""\
# Joins FIRST and SECOND by a space, element by element.
name: "strings"
backend: "onnxruntime"
max_batch_size: 8

# TYPE_STRING is what clients send as BYTES. -1: any number of elements, but the same in both inputs.
input [
  { name: "FIRST" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "SECOND" data_type: TYPE_STRING dims: [ -1 ] }
]
output [ { name: "TEXT" data_type: TYPE_STRING dims: [ -1 ] } ]

# No dynamic_batching: each request runs alone, in order of arrival; max_batch_size only bounds its rows.

# Two copies: two requests may run at once.
instance_group [ { count: 2 kind: KIND_CPU } ]

parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def files() -> Files:
    """Return the model's folder."""
    words = ("batch", "count")
    graph = graph_file(
        "strings",
        nodes=[
            helper.make_node("StringConcat", ["FIRST", "SPACE"], ["SPACED"]),
            helper.make_node("StringConcat", ["SPACED", "SECOND"], ["TEXT"]),
        ],
        inputs=[tensor(name, TensorProto.STRING, *words) for name in ("FIRST", "SECOND")],
        outputs=[tensor("TEXT", TensorProto.STRING, *words)],
        constants=[numpy_helper.from_array(np.array([" "], dtype=object), "SPACE")],
    )
    return {"config.pbtxt": CONFIG, "1/model.onnx": graph}


if __name__ == "__main__":
    run_recipe("strings", files)
