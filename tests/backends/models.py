"""Tiny models, made where a test needs them: ONNX by the onnx package, TorchScript by torch.jit."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf import text_format
from onnx import TensorProto, helper
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.base import ModelFiles
from jubako.tensor import Datatype

ONNX_TYPE = {
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.UINT16: TensorProto.UINT16,
    Datatype.UINT32: TensorProto.UINT32,
    Datatype.UINT64: TensorProto.UINT64,
    Datatype.INT8: TensorProto.INT8,
    Datatype.INT16: TensorProto.INT16,
    Datatype.INT32: TensorProto.INT32,
    Datatype.INT64: TensorProto.INT64,
    Datatype.FP16: TensorProto.FLOAT16,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.BYTES: TensorProto.STRING,
    Datatype.BF16: TensorProto.BFLOAT16,
}
Shape = Sequence[int | str]
Tensor = tuple[str, Datatype, Shape]


def config(text: str, name: str = "m") -> ModelConfig:
    """Parse `text` as config.pbtxt, with `name`."""
    parsed = text_format.Parse(text, ModelConfig())
    parsed.name = name
    return parsed


def onnx_bytes(
    nodes: Sequence[Any], inputs: Sequence[Tensor], outputs: Sequence[Tensor], initializers: Sequence[Any] = ()
) -> bytes:
    """Return an ONNX file of `nodes`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, ONNX_TYPE[datatype], shape) for name, datatype, shape in inputs],
        [helper.make_tensor_value_info(name, ONNX_TYPE[datatype], shape) for name, datatype, shape in outputs],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def onnx_identity(datatype: Datatype, shape: Shape) -> bytes:
    """Return an ONNX file that gives `X` back as `Y`."""
    node = helper.make_node("Identity", ["X"], ["Y"])
    return onnx_bytes([node], [("X", datatype, shape)], [("Y", datatype, shape)])


def onnx_add_sub(datatype: Datatype = Datatype.INT32, shape: Shape = ("N", 16)) -> bytes:
    """Return Triton's quick-start model: OUTPUT0 is the sum of INPUT0 and INPUT1, OUTPUT1 their difference."""
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    return onnx_bytes(
        nodes,
        [(name, datatype, shape) for name in ("INPUT0", "INPUT1")],
        [(name, datatype, shape) for name in ("OUTPUT0", "OUTPUT1")],
    )


def files(root: Path, content: bytes, filename: str, name: str = "m") -> ModelFiles:
    """Write `content` as the file of version 1 of a model folder at `root`."""
    path = root / "1" / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return ModelFiles(name, 1, root)


def script(module: torch.nn.Module) -> Any:
    """Return `module` as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


def script_files(root: Path, module: torch.nn.Module, name: str = "m") -> ModelFiles:
    """Write `module` as the TorchScript file of version 1 of a model folder at `root`."""
    path = root / "1" / "model.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    script(module).save(str(path))
    return ModelFiles(name, 1, root)


__all__ = ["config", "files", "onnx", "onnx_add_sub", "onnx_bytes", "onnx_identity", "script", "script_files"]
