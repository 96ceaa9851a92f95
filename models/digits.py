"""A network that reads handwritten digits, in two versions of different width."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from models.digits_export import onnx_file
from models.digits_network import LABEL_FILE, NARROW, WIDE
from models.folder import Files, run_recipe

CONFIG = b"""\
# Reads a handwritten digit: a scan of 8x8 pixels, ink from 0 (paper) to 16, to the probability of each digit.
name: "digits"
backend: "onnxruntime"
max_batch_size: 64

input [ { name: "IMAGE" data_type: TYPE_FP32 dims: [ 1, 8, 8 ] } ]
output [
  {
    name: "SCORES"
    data_type: TYPE_FP32
    dims: [ 10 ]
    label_filename: "digits_labels.txt"   # line N names class N, for the classification extension
  }
]

# Serve every version folder: 1 is narrow and quick, 2 is wide and what a request without a version gets.
# Without this field only the newest version would be served.
version_policy { all { } }

dynamic_batching {
  # A batch of one of these sizes leaves at once, as soon as the instance is free.
  preferred_batch_size: [ 16, 32, 64 ]
  # Any other size leaves when its oldest request has waited this long.
  max_queue_delay_microseconds: 500
}

instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def files() -> Files:
    """Return the model's folder."""
    return {
        "config.pbtxt": CONFIG,
        "digits_labels.txt": LABEL_FILE,
        "1/model.onnx": onnx_file(NARROW),
        "2/model.onnx": onnx_file(WIDE),
    }


if __name__ == "__main__":
    run_recipe("digits", files)
