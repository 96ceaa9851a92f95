"""Probabilities to the word for the most likely digit: the last step of `digits_pipeline`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models.digits_network import LABELS
from models.folder import Files, run_recipe
from models.onnx_file import graph_file, tensor

CONFIG = b"""\
# The word for the digit with the highest score; of equal ones, the smallest digit's.
name: "digits_label"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "SCORES" data_type: TYPE_FP32 dims: [ 10 ] } ]
output [ { name: "LABEL" data_type: TYPE_STRING dims: [ 1 ] } ]

# Whatever waits when the instance is free runs together.
dynamic_batching { }

instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def files() -> Files:
    """Return the model's folder."""
    graph = graph_file(
        "digits_label",
        nodes=[
            helper.make_node("ArgMax", ["SCORES"], ["DIGIT"], axis=1, keepdims=1),
            helper.make_node("Gather", ["WORDS", "DIGIT"], ["LABEL"]),
        ],
        inputs=[tensor("SCORES", TensorProto.FLOAT, "batch", 10)],
        outputs=[tensor("LABEL", TensorProto.STRING, "batch", 1)],
        constants=[numpy_helper.from_array(np.array(LABELS, dtype=object), "WORDS")],
    )
    return {"config.pbtxt": CONFIG, "1/model.onnx": graph}


if __name__ == "__main__":
    run_recipe("digits_label", files)
