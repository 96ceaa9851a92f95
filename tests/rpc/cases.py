"""Requests that are right, wrong, or odd, to be asked of the real Triton and of Jubako alike.

A case is a method and the bytes of its request; a stream's is a list of them. The models are those of
tests/conformance/models.py by name: `simple` (INT32 [16] twice, batches of 8), `strings` (BYTES [2] twice, batched),
`scores` (FP32 [3], batched, with labels), `matrix` (FP32 [-1,-1]), `failing` (INT64 [1], breaks above 3) and `broken`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2 as pb

Request = pb.ModelInferRequest


@dataclass(frozen=True)
class Case:
    """One question."""

    name: str
    method: str
    messages: Sequence[bytes]
    metadata: Sequence[tuple[str, str]] = ()


@dataclass
class Table:
    cases: list[Case] = field(default_factory=list)

    def unary(self, name: str, method: str, message: Any) -> None:
        raw = message if isinstance(message, bytes) else message.SerializeToString(deterministic=True)
        self.cases.append(Case(f"{method}/{name}", method, [raw]))

    def infer(self, name: str, message: Any) -> None:
        self.unary(name, "ModelInfer", message)

    def stream(self, name: str, *messages: Any, statuses: bool = False) -> None:
        raws = [m if isinstance(m, bytes) else m.SerializeToString(deterministic=True) for m in messages]
        metadata = [("triton_grpc_error", "true")] if statuses else []
        name = f"{name}, with statuses" if statuses else name
        self.cases.append(Case(f"ModelStreamInfer/{name}", "ModelStreamInfer", raws, metadata))


TABLE: Final = Table()


def simple(
    shape: Sequence[int] = (1, 16),
    datatype: str = "INT32",
    sizes: Sequence[int] = (64, 64),
    *,
    model: str = "simple",
    version: str = "",
    id: str = "",
) -> Any:
    request = Request(model_name=model, model_version=version, id=id)
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.extend(bytes(np.arange(size, dtype=np.uint8)) for size in sizes)
    return request


def typed(values: Mapping[str, Sequence[Any]], datatype: str, shape: Sequence[int], model: str = "simple") -> Any:
    request = Request(model_name=model)
    for name in ("INPUT0", "INPUT1"):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        tensor.contents.SetInParent()
        for field_name, elements in values.items():
            getattr(tensor.contents, field_name).extend(elements)
    return request


def changed(change: Callable[[Any], object], **options: Any) -> Any:
    request = simple(**options)
    change(request)
    return request


def strings(first: bytes, second: bytes, shape: Sequence[int] = (1, 2)) -> Any:
    request = Request(model_name="strings", id="s")
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="BYTES", shape=shape)
    request.raw_input_contents.extend((first, second))
    return request


KINDS: Final[dict[str, Any]] = {
    "int64_param": 3,
    "uint64_param": 3,
    "string_param": "a",
    "bool_param": True,
    "double_param": 1.5,
}


def set_parameter(parameters: Any, key: str, kind: str | None, value: Any) -> None:
    if kind is None:
        parameters[key].SetInParent()
    else:
        setattr(parameters[key], kind, value)


def add_inference() -> None:
    infer = TABLE.infer
    infer("plain", simple(id="x"))
    infer("no message", b"\xff\xff\xff")
    infer("a message cut short", simple().SerializeToString()[:-3])
    infer("an unknown field", simple(id="x").SerializeToString() + b"\xa2\x06\x03abc")
    infer("fields in another order", b"".join(reversed(fields_of(simple(id="x")))))
    infer("an id twice", simple(id="x").SerializeToString() + b"\x1a\x01y")
    infer("an id that is no UTF-8", simple().SerializeToString() + b"\x1a\x01\xff")
    for shape in ((1, -16), (), (1,) * 30, (2**33, 2**33), (1, 8), (9, 16), (1, 16, 1)):
        infer(f"shape {list(shape)}", simple(shape))
    for datatype in ("", "int32", "STRING", "FP32", "FP16"):
        infer(f"datatype '{datatype}'", simple(datatype=datatype))
    for sizes in ((60, 64), (68, 64), (64,), (64, 64, 3), (), (0, 64)):
        infer(f"raw sizes {list(sizes)}", simple(sizes=sizes))
    infer("an input twice", changed(lambda r: setattr(r.inputs[1], "name", "INPUT0")))
    infer("an input missing", changed(lambda r: r.inputs.pop(1)))
    infer("an input unknown", changed(lambda r: setattr(r.inputs[1], "name", "X")))
    for outputs in (["X"], [""], ["OUTPUT1"], ["OUTPUT1", "OUTPUT0"]):
        request = simple()
        for name in outputs:
            request.outputs.add(name=name)
        infer(f"outputs {outputs}", request)
    for model, version in (
        ("simple", "2"),
        ("simple", "x"),
        ("simple", "-1"),
        ("simple", "0"),
        ("simple", " 1"),
        ("simple", "1a"),
        ("simple", "9" * 30),
        ("unknown", ""),
        ("unknown", "1"),
        ("", ""),
        ("broken", ""),
        ("broken", "1"),
    ):
        infer(f"model '{model}' version '{version}'", simple(model=model, version=version))


def fields_of(request: Any) -> list[bytes]:
    """Return the message of each top-level field, serialised alone."""
    parts: list[bytes] = []
    for descriptor, value in request.ListFields():
        if descriptor.name in ("inputs", "raw_input_contents"):
            for item in value:
                part = Request()
                getattr(part, descriptor.name).append(item)
                parts.insert(0, part.SerializeToString())  # reversed twice, their own order stays
        else:
            parts.append(Request(**{descriptor.name: value}).SerializeToString())
    return parts


def add_parameters() -> None:
    keys = (
        "sequence_id",
        "sequence_start",
        "priority",
        "timeout",
        "triton_enable_empty_final_response",
        "triton_x",
        "mine",
        "binary_data_output",
    )
    for key in keys:
        for kind in (*KINDS, None):
            request = simple(id="p")
            set_parameter(request.parameters, key, kind, KINDS.get(kind or ""))
            TABLE.infer(f"parameter {key} as {kind}", request)
    for key in ("sequence_id", "priority", "timeout"):
        request = simple()
        request.parameters[key].int64_param = -1
        TABLE.infer(f"parameter {key} negative", request)
    for kind, value in (("int64_param", 0), ("int64_param", -1), *KINDS.items(), (None, None)):
        request = simple()
        set_parameter(request.outputs.add(name="OUTPUT0").parameters, "classification", kind, value)
        TABLE.infer(f"classification {value!r} as {kind}", request)


def add_regions() -> None:
    for where in ("input", "output"):
        for key in ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "binary_data"):
            for kind in (*KINDS, None):
                request, parameters = with_tensor(where)
                set_parameter(parameters, key, kind, KINDS.get(kind or ""))
                TABLE.infer(f"{where} {key} as {kind}", request)
        for offset, size in ((None, 64), (0, 64), ("x", 64), (0, "x"), (-1, 64)):
            request, parameters = with_tensor(where)
            parameters["shared_memory_region"].string_param = "reg"
            for key, value in (("shared_memory_offset", offset), ("shared_memory_byte_size", size)):
                if value is not None:
                    set_parameter(parameters, key, "string_param" if isinstance(value, str) else "int64_param", value)
            TABLE.infer(f"{where} region offset {offset!r} size {size!r}", request)
    request, parameters = with_tensor("input")
    parameters["shared_memory_region"].string_param = "reg"
    parameters["shared_memory_byte_size"].int64_param = 64
    request.inputs[0].contents.int_contents.extend(range(16))
    TABLE.infer("input region and contents", request)
    request, parameters = with_tensor("output")
    parameters["shared_memory_region"].string_param = "reg"
    parameters["shared_memory_byte_size"].int64_param = 64
    parameters["classification"].int64_param = 2
    TABLE.infer("output region and classification", request)


def with_tensor(where: str) -> tuple[Any, Any]:
    request = simple(id="p")
    tensor = request.inputs[0] if where == "input" else request.outputs.add(name="OUTPUT0")
    return request, tensor.parameters


def add_contents() -> None:
    infer, numbers = TABLE.infer, range(16)
    infer("typed", typed({"int_contents": numbers}, "INT32", [1, 16]))
    infer("typed few", typed({"int_contents": range(15)}, "INT32", [1, 16]))
    infer("typed many", typed({"int_contents": range(17)}, "INT32", [1, 16]))
    infer("typed none", typed({}, "INT32", [1, 16]))
    infer("typed two lists", typed({"int_contents": numbers, "fp32_contents": numbers}, "INT32", [1, 16]))
    infer("typed two lists, wrong first", typed({"bool_contents": [True], "int_contents": numbers}, "INT32", [1, 16]))
    for contents in ({"int_contents": numbers}, {}):
        request = typed(contents, "INT32", [1, 16])
        request.raw_input_contents.append(bytes(64))
        infer(f"typed {sorted(contents)} and raw", request)
    lists = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64")
    for name in lists:
        for datatype in ("INT32", "FP16", "INT8", "UINT16"):
            infer(f"typed {name} as {datatype}", typed({f"{name}_contents": [1] * 16}, datatype, [1, 16]))
    infer("typed bytes as INT32", typed({"bytes_contents": [b"a"] * 16}, "INT32", [1, 16]))
    for count in (1, 2, 3):
        infer(f"typed bytes {count}", typed({"bytes_contents": [b"a"] * count}, "BYTES", [1, 2], "strings"))
    two = b"\1\0\0\0a" * 2
    for first in (two, two[:5], two + two, two[:7], two[:9], b"", b"\xff\xff\xff\xff"):
        infer(f"strings {first!r}", strings(first, two))
    infer("strings of another datatype", changed(lambda r: None, datatype="BYTES"))
    for count in (1, 2, 5):
        request = Request(model_name="scores", id="c")
        request.inputs.add(name="INPUT0", datatype="FP32", shape=[2, 3])
        request.raw_input_contents.append(np.array([0.5, 0.25, 2, 3, 3, 1], np.float32).tobytes())
        request.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = count
        infer(f"classes {count}", request)
    for rows, columns in ((2, 3), (0, 3), (0, 0)):
        request = Request(model_name="matrix")
        request.inputs.add(name="INPUT0", datatype="FP32", shape=[rows, columns])
        request.raw_input_contents.append(bytes(4 * rows * columns))
        infer(f"matrix {rows}x{columns}", request)


def failing() -> Any:
    request = Request(model_name="failing", id="f")
    request.inputs.add(name="INPUT0", datatype="INT64", shape=[1]).contents.int64_contents.append(9)
    return request


def add_streams() -> None:
    empty_final = simple(id="e")
    empty_final.parameters["triton_enable_empty_final_response"].bool_param = True
    for statuses in (False, True):
        TABLE.stream("nothing", statuses=statuses)
        TABLE.stream("two", simple(id="a"), simple(id="b"), statuses=statuses)
        TABLE.stream("unknown model", simple(model="unknown", id="u"), simple(id="b"), statuses=statuses)
        TABLE.stream("refused", simple(sizes=(64,), id="r"), simple(id="b"), statuses=statuses)
        TABLE.stream("not admitted", simple(shape=(9, 16), id="r"), simple(id="b"), statuses=statuses)
        TABLE.stream("empty final", empty_final, statuses=statuses)
    TABLE.stream("fails", failing(), simple(id="b"))
    TABLE.stream("fails", failing(), statuses=True)


def add_control() -> None:
    unary = TABLE.unary
    for name, version in (
        ("simple", ""),
        ("simple", "1"),
        ("simple", "9"),
        ("simple", "x"),
        ("unknown", ""),
        ("broken", ""),
    ):
        for method in ("ModelReady", "ModelMetadata", "ModelStatistics", "ModelConfig"):
            if (
                method in ("ModelStatistics", "ModelConfig", "ModelMetadata")
                and version in ("", "1")
                and name == "simple"
            ):
                continue  # the backend shows in them
            message = getattr(pb, f"{method}Request")(name=name, version=version)
            unary(f"'{name}' version '{version}'", method, message)
    unary("", "ServerLive", pb.ServerLiveRequest())
    unary("of a repository", "RepositoryIndex", pb.RepositoryIndexRequest(repository_name="x"))
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        kind = getattr(pb, f"{method}Request")
        unary("plain", method, kind(model_name="simple"))
        unary("of a repository", method, kind(repository_name="x", model_name="simple"))
        for key, parameter, value in (
            ("config", "bool_param", True),
            ("config", "string_param", "{}"),
            ("file:1/m", "string_param", "x"),
            ("file:1/m", "bytes_param", b"x"),
            ("zzz", "string_param", "x"),
            ("unload_dependents", "bool_param", True),
            ("unload_dependents", "string_param", "x"),
        ):
            message = kind(model_name="simple")
            setattr(message.parameters[key], parameter, value)
            unary(f"{key} as {parameter}", method, message)
    unary("", "Nonsense", b"")


add_inference()
add_parameters()
add_regions()
add_contents()
add_streams()
add_control()
CASES: Final = tuple(TABLE.cases)
assert len({case.name for case in CASES}) == len(CASES)
