"""The models that the golden answers were asked of, as ONNX files that Jubako can serve.

Triton gave the golden answers with Python models of the same names, the same config.pbtxt (but for `backend`) and the
same arithmetic, because its ONNX Runtime backend is not to be had outside its container.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
Value = tuple[str, int, Shape]
"""A graph's input or output: name, element type, shape."""

ELEMENT_TYPES: Final = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}
FP32: Final = TensorProto.FLOAT
INT32: Final = TensorProto.INT32
INT64: Final = TensorProto.INT64
STRING: Final = TensorProto.STRING


@dataclass(frozen=True)
class Model:
    """One model: its config.pbtxt without name and backend, a graph a version, and files beside config.pbtxt."""

    name: str
    config: str
    graph: Callable[[int], bytes]
    versions: tuple[int, ...] = (1,)
    files: Mapping[str, str] = field(default_factory=dict)

    def config_text(self, backend: str) -> str:
        """Return the whole config.pbtxt for `backend`; one CPU instance unless the model says otherwise."""
        groups = "" if "instance_group" in self.config else "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
        return f'name: "{self.name}"\nbackend: "{backend}"\n{groups}{self.config}'


def graph(
    nodes: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> bytes:
    """Return a serialised ONNX model; a constant named as an input makes that input optional."""
    made = helper.make_graph(
        [helper.make_node(operator, list(takes), list(gives)) for operator, takes, gives in nodes],
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tensors(kind: str, *lines: tuple[str, str, str]) -> str:
    """Write `input` or `output` entries of a config.pbtxt from (name, datatype, dims and what follows)."""
    entries = (f'{{ name: "{name}" data_type: TYPE_{datatype} dims: {rest} }}' for name, datatype, rest in lines)
    return f"{kind} [ {', '.join(entries)} ]\n"


def sum_and_difference(_: int) -> bytes:
    shape = ("batch", 16)
    return graph(
        [("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]), ("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])],
        [("INPUT0", INT32, shape), ("INPUT1", INT32, shape)],
        [("OUTPUT0", INT32, shape), ("OUTPUT1", INT32, shape)],
    )


def concatenation(_: int) -> bytes:
    shape = ("batch", 2)
    return graph(
        [("StringConcat", ["INPUT0", "INPUT1"], ["OUTPUT0"])],
        [("INPUT0", STRING, shape), ("INPUT1", STRING, shape)],
        [("OUTPUT0", STRING, shape)],
    )


def identity(element_type: int, shape: Shape) -> Callable[[int], bytes]:
    return lambda _: graph(
        [("Identity", ["INPUT0"], ["OUTPUT0"])],
        [("INPUT0", element_type, shape)],
        [("OUTPUT0", element_type, shape)],
    )


def doubling(_: int) -> bytes:
    return graph(
        [("Add", ["INPUT0", "INPUT0"], ["OUTPUT0"])],
        [("INPUT0", FP32, ("batch", "n"))],
        [("OUTPUT0", FP32, ("batch", "n"))],
    )


def sum_with_optional_third(_: int) -> bytes:
    shape = (4,)
    names = ("INPUT0", "INPUT1", "BIAS")
    return graph(
        [("Add", ["INPUT0", "INPUT1"], ["sum"]), ("Add", ["sum", "BIAS"], ["OUTPUT0"])],
        [(name, FP32, shape) for name in names],
        [("OUTPUT0", FP32, shape)],
        {"BIAS": np.zeros(4, np.float32)},
    )


def plus_version(version: int) -> bytes:
    return graph(
        [("Add", ["INPUT0", "version"], ["OUTPUT0"])],
        [("INPUT0", FP32, (2,))],
        [("OUTPUT0", FP32, (2,))],
        {"version": np.array([version], np.float32)},
    )


def element_of_four(_: int) -> bytes:
    return graph(
        [("Gather", ["table", "INPUT0"], ["OUTPUT0"])],
        [("INPUT0", INT64, (1,))],
        [("OUTPUT0", FP32, (1,))],
        {"table": np.array([0, 1, 2, 3], np.float32)},
    )


def one_to_one(datatype: str, dims: str, *, max_batch_size: int = 0) -> str:
    """Write the config of a model with INPUT0 and OUTPUT0 alike."""
    return (
        f"max_batch_size: {max_batch_size}\n"
        + tensors("input", ("INPUT0", datatype, dims))
        + tensors("output", ("OUTPUT0", datatype, dims))
    )


def _sums(max_batch_size: int, extra: str = "") -> str:
    return (
        f"max_batch_size: {max_batch_size}\n"
        + tensors("input", ("INPUT0", "INT32", "[ 16 ]"), ("INPUT1", "INT32", "[ 16 ]"))
        + tensors("output", ("OUTPUT0", "INT32", "[ 16 ]"), ("OUTPUT1", "INT32", "[ 16 ]"))
        + extra
    )


CONFIGURED: Final = """version_policy { specific { versions: [ 1 ] } }
instance_group [ { name: "pool" count: 2 kind: KIND_CPU } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 5000000 allow_timeout_override: true }
}
parameters [ { key: "flavour" value: { string_value: "plain" } } ]
"""

MODELS: Final = (
    Model("simple", _sums(8), sum_and_difference),
    Model("configured", _sums(8, CONFIGURED), sum_and_difference),
    Model("Dense.Net-1_x", _sums(8), sum_and_difference),
    Model(
        "strings",
        "max_batch_size: 8\n"
        + tensors("input", ("INPUT0", "STRING", "[ 2 ]"), ("INPUT1", "STRING", "[ 2 ]"))
        + tensors("output", ("OUTPUT0", "STRING", "[ 2 ]")),
        concatenation,
    ),
    Model("variable", one_to_one("FP32", "[ -1 ]", max_batch_size=8), doubling),
    Model("counted", one_to_one("FP32", "[ 2 ]", max_batch_size=8), identity(FP32, ("batch", 2))),
    Model("matrix", one_to_one("FP32", "[ -1, -1 ]"), identity(FP32, ("rows", "columns"))),
    Model("line", one_to_one("STRING", "[ 1 ]"), identity(STRING, (1,))),
    Model(
        "optional",
        "max_batch_size: 0\n"
        + tensors(
            "input",
            ("INPUT0", "FP32", "[ 4 ]"),
            ("INPUT1", "FP32", "[ 4 ]"),
            ("BIAS", "FP32", "[ 4 ] optional: true"),
        )
        + tensors("output", ("OUTPUT0", "FP32", "[ 4 ]")),
        sum_with_optional_third,
    ),
    Model(
        "scores",
        "max_batch_size: 4\n"
        + tensors("input", ("INPUT0", "FP32", "[ 3 ]"))
        + tensors("output", ("OUTPUT0", "FP32", '[ 3 ] label_filename: "labels.txt"')),
        identity(FP32, ("batch", 3)),
        files={"labels.txt": "zero\none\n"},
    ),
    Model(
        "versions",
        one_to_one("FP32", "[ 2 ]") + "version_policy { latest { num_versions: 2 } }\n",
        plus_version,
        versions=(1, 2, 3),
    ),
    Model(
        "reshaped",
        one_to_one("FP32", "[ 4 ] reshape { shape: [ 2, 2 ] }", max_batch_size=8),
        identity(FP32, ("batch", 2, 2)),
    ),
    Model(
        "failing",
        "max_batch_size: 0\n"
        + tensors("input", ("INPUT0", "INT64", "[ 1 ]"))
        + tensors("output", ("OUTPUT0", "FP32", "[ 1 ]")),
        element_of_four,
    ),
    Model(
        "decoupled",
        one_to_one("FP32", "[ 2 ]") + "model_transaction_policy { decoupled: true }\n",
        identity(FP32, (2,)),
    ),
    Model(
        "invalid",
        _sums(8, "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }\n"),
        sum_and_difference,
    ),
    Model("broken", one_to_one("FP32", "[ 2 ]"), lambda _: b"this is no ONNX file"),
    *(
        Model(
            f"identity_{datatype.lower()}",
            one_to_one("STRING" if datatype == "BYTES" else datatype, "[ -1 ]"),
            identity(element_type, ("n",)),
        )
        for datatype, element_type in ELEMENT_TYPES.items()
    ),
)


def write_repository(folder: Path) -> None:
    """Write every model into `folder`, as a Triton model repository of ONNX files."""
    for model in MODELS:
        root = folder / model.name
        root.mkdir(parents=True)
        (root / "config.pbtxt").write_text(model.config_text("onnxruntime"))
        for name, text in model.files.items():
            (root / name).write_text(text)
        for version in model.versions:
            (root / str(version)).mkdir()
            (root / str(version) / "model.onnx").write_bytes(model.graph(version))
