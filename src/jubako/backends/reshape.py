"""`reshape` of config.pbtxt: requests and responses have the shape of `dims`, the model sees that of `reshape`.

Pure. A backend's instance applies one `Reshape` to each such input on the way in, and one to each such output on the
way out; tensors without a reshape have none and cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelInput, ModelOutput

from jubako.errors import InvalidArgument
from jubako.tensor import Array, shape_text


@dataclass(frozen=True, slots=True)
class Reshape:
    """From one shape to another of as many elements; the batch dimension, where there is one, is kept.

    The n-th -1 of `target` is the size that the n-th -1 of `source` has (config validation has matched them).
    """

    name: str
    source: tuple[int, ...]
    target: tuple[int, ...]
    batched: bool

    def __call__(self, array: Array) -> Array:
        """Return `array`, shaped as `source` is, as a view shaped as `target` is.

        Raises:
            InvalidArgument: the array is not shaped as `source` is.
        """
        shape = array.shape
        if (
            self.batched and shape[1:] == self.source and -1 not in self.source
        ):  # what most have, at a third of the cost
            return array.reshape((shape[0], *self.target))
        return array.reshape(self.shape(shape))

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape that an array of `shape` gets."""
        head, tail = (shape[:1], shape[1:]) if self.batched else ((), shape)
        if len(head) != self.batched or len(tail) != len(self.source):
            raise InvalidArgument(self._mismatch(shape))
        variable: list[int] = []
        for size, expected in zip(tail, self.source, strict=True):
            if expected == -1:
                variable.append(size)
            elif size != expected:
                raise InvalidArgument(self._mismatch(shape))
        sizes = iter(variable)
        return (*head, *(next(sizes) if size == -1 else size for size in self.target))

    def _mismatch(self, shape: Sequence[int]) -> str:
        expected = (-1, *self.source) if self.batched else self.source
        return f"tensor '{self.name}': cannot reshape from {shape_text(shape)}, expected {shape_text(expected)}"


def model_dims(tensor: ModelInput | ModelOutput) -> tuple[int, ...]:
    """Return the dims that the model itself has for `tensor`: those of its reshape, where it has one."""
    return tuple(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def inward(tensor: ModelInput, batched: bool) -> Reshape | None:
    """Return the reshape that takes a request's array of input `tensor` to the model."""
    if not tensor.HasField("reshape"):
        return None
    return Reshape(tensor.name, tuple(tensor.dims), tuple(tensor.reshape.shape), batched)


def outward(tensor: ModelOutput, batched: bool) -> Reshape | None:
    """Return the reshape that takes the model's array of output `tensor` to the response."""
    if not tensor.HasField("reshape"):
        return None
    return Reshape(tensor.name, tuple(tensor.reshape.shape), tuple(tensor.dims), batched)
