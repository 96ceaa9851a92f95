"""Grey pixels to the word for a digit: an ensemble of three models."""

import sys
from pathlib import Path

if not __package__:  # run as a file: put the project on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from models.folder import Files, run_recipe

CONFIG = b"""\
# One request in, one out, and three models between: pixels -> ink -> probabilities -> word.
name: "digits_pipeline"

# An ensemble has no file and no instance of its own; it is ready when the models of its steps are.
platform: "ensemble"
max_batch_size: 64

input [ { name: "PIXELS" data_type: TYPE_UINT8 dims: [ 8, 8 ] } ]
output [
  { name: "LABEL" data_type: TYPE_STRING dims: [ 1 ] },
  # Its class names are those of digits, whose output it is. A request that asks for it alone never runs digits_label.
  { name: "SCORES" data_type: TYPE_FP32 dims: [ 10 ] }
]

# A step runs as soon as its inputs exist. key: the model's name for a tensor; value: the ensemble's.
# Each model batches what comes from here with what its other clients send.
ensemble_scheduling {
  step {
    model_name: "digits_normalise"
    model_version: -1   # the newest that is ready
    input_map { key: "PIXELS" value: "PIXELS" }
    output_map { key: "IMAGE" value: "INK" }
  }
  step {
    model_name: "digits"
    model_version: 2
    input_map { key: "IMAGE" value: "INK" }
    output_map { key: "SCORES" value: "SCORES" }
  }
  step {
    model_name: "digits_label"
    model_version: -1
    input_map { key: "SCORES" value: "SCORES" }
    output_map { key: "LABEL" value: "LABEL" }
  }
}
"""


def files() -> Files:
    """Return the model's folder. Its version folder is empty but for what makes git keep it."""
    return {"config.pbtxt": CONFIG, "1/.gitkeep": b""}


if __name__ == "__main__":
    run_recipe("digits_pipeline", files)
