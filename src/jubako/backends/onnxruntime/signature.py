"""What an ONNX model says of its inputs and outputs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jubako.errors import Unsupported
from jubako.tensor import Datatype

BY_ONNX_TYPE: Final[Mapping[str, Datatype]] = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
    "tensor(bfloat16)": Datatype.BF16,
}
CONTAINERS: Final = {"seq": "SEQUENCE", "map": "MAP", "optional": "OPTIONAL", "sparse_tensor": "SPARSETENSOR"}


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """An input or output. Unknown and symbolic dimensions are -1. `onnx_type` is ONNX Runtime's: `tensor(float)`."""

    name: str
    onnx_type: str
    shape: tuple[int, ...]

    @property
    def datatype(self) -> Datatype:
        """Its v2 datatype.

        Raises:
            Unsupported: it is no tensor, or has elements that v2 has no name for.
        """
        datatype = BY_ONNX_TYPE.get(self.onnx_type)
        if datatype is not None:
            return datatype
        container = CONTAINERS.get(self.onnx_type.partition("(")[0])
        if container is not None:
            raise Unsupported(
                f"Unsupported ONNX Type 'ONNX_TYPE_{container}' for I/O '{self.name}', expected 'ONNX_TYPE_TENSOR'."
            )
        raise Unsupported(f"unsupported datatype '{self.onnx_type}' for I/O '{self.name}'")


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's tensors by name, in the model's order. `optional` are initialisers that a request may override."""

    inputs: Mapping[str, ModelTensor]
    outputs: Mapping[str, ModelTensor]
    optional: Mapping[str, ModelTensor]


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that knows the signature."""

    def get_inputs(self) -> Iterable[Any]:
        """Return the inputs that a run must feed."""

    def get_outputs(self) -> Iterable[Any]:
        """Return the outputs."""

    def get_overridable_initializers(self) -> Iterable[Any]:
        """Return the inputs that have a default."""


def signature(session: Session) -> Signature:
    """Return what `session` says of its model."""
    return Signature(
        _tensors(session.get_inputs()),
        _tensors(session.get_outputs()),
        _tensors(session.get_overridable_initializers()),
    )


def _tensors(arguments: Iterable[Any]) -> dict[str, ModelTensor]:
    return {
        argument.name: ModelTensor(
            argument.name,
            argument.type,
            tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape or ()),
        )
        for argument in arguments
    }
