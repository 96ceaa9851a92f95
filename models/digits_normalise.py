"""Grey pixels to the ink that the digits networks read: the first step of `digits_pipeline`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models.folder import Files, run_recipe
from models.onnx_file import graph_file, tensor

CONFIG = b"""\
# A grey image, 0 (black) to 255 (white), to ink from 0 (paper) to 16, with the channel that the network wants.
name: "digits_normalise"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "PIXELS" data_type: TYPE_UINT8 dims: [ 8, 8 ] } ]
output [ { name: "IMAGE" data_type: TYPE_FP32 dims: [ 1, 8, 8 ] } ]

# Whatever waits when the instance is free runs together.
dynamic_batching { }

instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def files() -> Files:
    """Return the model's folder."""
    graph = graph_file(
        "digits_normalise",
        nodes=[
            helper.make_node("Cast", ["PIXELS"], ["GREY"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["WHITE", "GREY"], ["DARKNESS"]),
            helper.make_node("Mul", ["DARKNESS", "INK"], ["PLANE"]),
            helper.make_node("Unsqueeze", ["PLANE", "CHANNEL"], ["IMAGE"]),
        ],
        inputs=[tensor("PIXELS", TensorProto.UINT8, "batch", 8, 8)],
        outputs=[tensor("IMAGE", TensorProto.FLOAT, "batch", 1, 8, 8)],
        constants=[
            numpy_helper.from_array(np.array(255, np.float32), "WHITE"),
            numpy_helper.from_array(np.array(16 / 255, np.float32), "INK"),
            numpy_helper.from_array(np.array([1], np.int64), "CHANNEL"),
        ],
    )
    return {"config.pbtxt": CONFIG, "1/model.onnx": graph}


if __name__ == "__main__":
    run_recipe("digits_normalise", files)
