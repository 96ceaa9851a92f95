"""Models that the tests need beside the examples: slow to load, slow to execute, batching by the clock, or broken.

All are plain ONNX files with a config.pbtxt, as a user would have them; nothing in the product knows about them.
"""

import math
import shutil
import time
from pathlib import Path

import onnxruntime
from onnx import TensorProto, helper

from e2e.serving import PROJECT
from models.folder import Files, write_model
from models.onnx_file import graph_file, tensor
from models.simple import files as simple_files

EXAMPLES = PROJECT / "repository"
WIDTH = 1024
"""Of the matrices that a slow load multiplies; a power of two, so that the products are exact."""


def copy_examples(repository: Path, *names: str) -> Path:
    """Copy some of the example models into `repository` and return it."""
    for name in names:
        shutil.copytree(EXAMPLES / name, repository / name)
    return repository


def slow_to_load(name: str, seconds: float) -> Files:
    """Return a model that takes about `seconds` to load on this machine, and next to no time to run.

    Its one weight is a product of constant matrices, which onnxruntime computes while it prepares the graph.
    """
    probe = 4
    started = time.monotonic()
    onnxruntime.InferenceSession(_folded(probe), providers=["CPUExecutionProvider"])
    per_product_s = (time.monotonic() - started) / probe
    config = f"""\
name: "{name}"
backend: "onnxruntime"
max_batch_size: 0
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }} ]
"""
    return {"config.pbtxt": config.encode(), "1/model.onnx": _folded(math.ceil(seconds / per_product_s))}


def _folded(products: int) -> bytes:
    """Return a graph in which Y is X: each product of matrices full of 1/WIDTH is that matrix again."""
    nodes = [
        helper.make_node("ConstantOfShape", ["SHAPE"], ["W0"], value=_scalar_tensor(1.0 / WIDTH)),
        *(helper.make_node("MatMul", [f"W{i}", "W0"], [f"W{i + 1}"]) for i in range(products)),
        helper.make_node("ReduceMean", [f"W{products}"], ["MEAN"], keepdims=0),
        helper.make_node("Mul", ["MEAN", "WIDTH"], ["ONE"]),
        helper.make_node("Mul", ["X", "ONE"], ["Y"]),
    ]
    constants = [
        helper.make_tensor("SHAPE", TensorProto.INT64, [2], [WIDTH, WIDTH]),
        helper.make_tensor("WIDTH", TensorProto.FLOAT, [], [float(WIDTH)]),
    ]
    vector = [tensor(name, TensorProto.FLOAT, 1) for name in ("X", "Y")]
    return graph_file("slow_to_load", nodes, vector[:1], vector[1:], constants)


SPIN_CONFIG = b"""\
# Multiplies matrices for as many ROUNDS as the request asks, and returns how many that were.
name: "spin"
backend: "onnxruntime"
max_batch_size: 0
input [ { name: "ROUNDS" data_type: TYPE_INT64 dims: [ 1 ] } ]
output [ { name: "DONE" data_type: TYPE_INT64 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def spin() -> Files:
    """Return a model whose execution takes as long as its request says, some 0.4 ms a round."""
    side = 256
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "WEIGHT"], ["next_state"]),
            helper.make_node("Add", ["count", "ONE"], ["next_count"]),
            helper.make_node("Identity", ["go"], ["going"]),
        ],
        "round",
        [
            tensor("round", TensorProto.INT64),
            tensor("go", TensorProto.BOOL),
            tensor("state", TensorProto.FLOAT, side, side),
            tensor("count", TensorProto.INT64, 1),
        ],
        [
            tensor("going", TensorProto.BOOL),
            tensor("next_state", TensorProto.FLOAT, side, side),
            tensor("next_count", TensorProto.INT64, 1),
        ],
    )
    nodes = [
        helper.make_node("ConstantOfShape", ["SHAPE"], ["WEIGHT"], value=_scalar_tensor(1.0 / side)),
        helper.make_node("Squeeze", ["ROUNDS"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "", "WEIGHT", "NONE"], ["end", "counted"], body=body),
        helper.make_node("ReduceMax", ["end"], ["largest"], keepdims=0),
        helper.make_node("Ceil", ["largest"], ["whole"]),  # 1: so that the products are needed for the answer
        helper.make_node("Cast", ["whole"], ["factor"], to=TensorProto.INT64),
        helper.make_node("Mul", ["counted", "factor"], ["DONE"]),
    ]
    constants = [
        helper.make_tensor("SHAPE", TensorProto.INT64, [2], [side, side]),
        helper.make_tensor("NONE", TensorProto.INT64, [1], [0]),
        helper.make_tensor("ONE", TensorProto.INT64, [1], [1]),
    ]
    numbers = [tensor(name, TensorProto.INT64, 1) for name in ("ROUNDS", "DONE")]
    return {"config.pbtxt": SPIN_CONFIG, "1/model.onnx": graph_file("spin", nodes, numbers[:1], numbers[1:], constants)}


def _scalar_tensor(value: float) -> object:
    return helper.make_tensor("value", TensorProto.FLOAT, [1], [value])


def pair() -> Files:
    """Return `simple` as a model that waits ten seconds for a second request before it runs one alone."""
    config = b"""\
name: "pair"
backend: "onnxruntime"
max_batch_size: 2
input [
  { name: "INPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "INPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
output [
  { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
dynamic_batching { preferred_batch_size: [ 2 ] max_queue_delay_microseconds: 10000000 }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
    return {"config.pbtxt": config, "1/model.onnx": simple_files()["1/model.onnx"]}


def write_extras(repository: Path) -> Path:
    """Write `spin` and `pair` into `repository` and return it."""
    write_model("spin", spin(), repository)
    write_model("pair", pair(), repository)
    return repository
