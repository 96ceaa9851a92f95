"""The wide digits network as TorchScript: the weights of version 2 of `digits`, run by torch."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from models.digits_export import torchscript_file
from models.digits_network import LABEL_FILE, WIDE
from models.folder import Files, run_recipe

CONFIG = b"""\
# The network of digits, version 2, as TorchScript.
name: "digits_torchscript"
platform: "pytorch_libtorch"      # the pytorch backend; reads <version>/model.pt
max_batch_size: 64

# A TorchScript file does not say its tensors' names, types and shapes, so nothing here can be left out.
# NAME__N is the Nth argument of forward, or the Nth tensor that it returns.
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 1, 8, 8 ] } ]
output [
  {
    name: "OUTPUT__0"
    data_type: TYPE_FP32
    dims: [ 10 ]
    label_filename: "digits_labels.txt"
  }
]

dynamic_batching {
  preferred_batch_size: [ 16, 32, 64 ]
  max_queue_delay_microseconds: 500
}

instance_group [ { count: 1 kind: KIND_CPU } ]
# Counts for the whole process: torch has one pool of threads, and the first model that sets it wins.
parameters { key: "INTRA_OP_THREAD_COUNT" value: { string_value: "1" } }
"""


def files() -> Files:
    """Return the model's folder."""
    return {
        "config.pbtxt": CONFIG,
        "digits_labels.txt": LABEL_FILE,
        "1/model.pt": torchscript_file(WIDE),
    }


if __name__ == "__main__":
    run_recipe("digits_torchscript", files)
