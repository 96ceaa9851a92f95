"""Repositories for the tests: copies of the example models, and a model that is slow to load."""

import math
import shutil
import time
from pathlib import Path

import onnxruntime
from onnx import TensorProto, helper

from e2e.serving import PROJECT
from models.folder import Files
from models.onnx_file import graph_file, tensor

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


def _scalar_tensor(value: float) -> object:
    return helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
