"""A loaded ONNX session, as an instance. What a call costs beside `session.run` is decided at load.

A model of plain tensors gets a `PlainInstance`: the caller's mapping goes to ONNX Runtime as it is. One with strings,
BF16 or reshapes gets a `ConvertingInstance`, which touches only those tensors. Plain numpy is what ONNX Runtime is fed
on the CPU: it is several times cheaper for small tensors than `OrtValue`s, and not copied either.
"""

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.backends.base import Instance
from jubako.backends.onnxruntime.signature import ModelTensor, Signature
from jubako.backends.reshape import Reshape, inward, outward
from jubako.errors import Internal, InvalidArgument, JubakoError, Unsupported
from jubako.tensor import Array, Datatype

ONNX_BFLOAT16: Final = 16
"""Its number in ONNX's TensorProto.DataType."""
ORT_SOURCE: Final = re.compile(r"/\S+\.(?:h|cc|cpp|cu):\d+ ")
"""A place in ONNX Runtime's own source: nothing to a client."""
ORT_MESSAGE: Final = re.compile(r"\[ONNXRuntimeError\] : (?P<code>\d+) : \w+ : (?P<text>.*)")

Convert = Callable[[Any], Any]
Run = Callable[[Sequence[str], Mapping[str, Any], onnxruntime.RunOptions | None], Sequence[Any]]


def instance(
    session: onnxruntime.InferenceSession,
    config: ModelConfig,
    model: Signature,
    run_options: onnxruntime.RunOptions | None,
) -> Instance:
    """Return the cheapest instance that can run `model` as `config` describes it.

    Raises:
        Unsupported: the model mixes strings with BF16 outputs, which ONNX Runtime's Python API cannot run.
    """
    batched = config.max_batch_size > 0
    known = {**model.optional, **model.inputs}
    # A sequence's control and state inputs are not in config.input; what they need follows from the model alone.
    reshapes = {tensor.name: _reshape_in(tensor, known[tensor.name], batched) for tensor in config.input}
    before = {name: _to_model(tensor, reshapes.get(name)) for name, tensor in known.items()}
    after = {
        tensor.name: _from_model(model.outputs[tensor.name], _reshape_out(tensor, model.outputs[tensor.name], batched))
        for tensor in config.output
    }
    bf16_outputs = frozenset(
        tensor.name for tensor in config.output if model.outputs[tensor.name].datatype is Datatype.BF16
    )
    if bf16_outputs and any(tensor.datatype is Datatype.BYTES for tensor in known.values()):
        raise Unsupported(
            f"unable to load model '{config.name}': strings in and TYPE_BF16 out of one model are not supported by "
            "ONNX Runtime's Python API"
        )
    changed_in = {name: convert for name, convert in before.items() if convert is not None}
    changed_out = {name: convert for name, convert in after.items() if convert is not None}
    if changed_in or changed_out:
        return ConvertingInstance(session, run_options, changed_in, changed_out, bf16_outputs)
    return PlainInstance(session, run_options)


class PlainInstance(Instance):
    """Runs a model whose arrays need no conversion."""

    __slots__ = ("_run", "_run_options")

    def __init__(self, session: onnxruntime.InferenceSession, run_options: onnxruntime.RunOptions | None) -> None:
        self._run: Run | None = native_run(session)
        self._run_options = run_options

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """See `Instance.execute`."""
        try:
            return self._run(outputs, inputs, self._run_options)  # type: ignore[misc]  # not None until closed
        except Exception as error:
            raise execution_error(error) from error

    def close(self) -> None:
        """Free the session, and with it the model's memory."""
        self._run = None


class ConvertingInstance(Instance):
    """Runs a model of which some inputs and outputs are converted: strings, BF16 bits, reshapes."""

    __slots__ = ("_after", "_before", "_bf16_outputs", "_run", "_run_options", "_session")

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        run_options: onnxruntime.RunOptions | None,
        before: Mapping[str, Convert],
        after: Mapping[str, Convert],
        bf16_outputs: frozenset[str],
    ) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._run: Run | None = native_run(session)
        self._run_options = run_options
        self._before = before
        self._after = after
        self._bf16_outputs = bf16_outputs

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """See `Instance.execute`."""
        before, after = self._before, self._after
        try:
            feeds = {name: before[name](array) if name in before else array for name, array in inputs.items()}
            if self._bf16_outputs and not self._bf16_outputs.isdisjoint(outputs):
                results = self._run_values(list(outputs), feeds)
            else:
                results = self._run_arrays(outputs, feeds)
            return [
                after[name](result) if name in after else result for name, result in zip(outputs, results, strict=True)
            ]
        except JubakoError:
            raise
        except Exception as error:
            raise execution_error(error) from error

    def close(self) -> None:
        """Free the session, and with it the model's memory."""
        self._session = self._run = None

    def _run_arrays(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        assert self._run is not None, "closed"
        return self._run(outputs, feeds, self._run_options)

    def _run_values(self, outputs: list[str], feeds: dict[str, Any]) -> Sequence[Any]:
        """Run with `OrtValue`s, the only way to get BF16 out: numpy has no such type, so `run` cannot return it."""
        assert self._session is not None, "closed"
        value = onnxruntime.OrtValue
        values = {
            name: feed if isinstance(feed, value) else value.ortvalue_from_numpy(feed) for name, feed in feeds.items()
        }
        results = self._session.run_with_ort_values(outputs, values, self._run_options)
        return [
            result if name in self._bf16_outputs else result.numpy()
            for name, result in zip(outputs, results, strict=True)
        ]


def native_run(session: onnxruntime.InferenceSession) -> Run:
    """Return the cheapest `run` of `session`.

    The public one validates names in Python, a fifth of a small model's time, and then calls one that validates them
    again. Where a release has that no more, the public one does.
    """
    run: Run = getattr(session, "_sess", session).run
    return run


def execution_error(error: Exception) -> Internal:
    """Return `error`, raised by ONNX Runtime, in Triton's words."""
    text = ORT_SOURCE.sub("", " ".join(str(error).split()))
    found = ORT_MESSAGE.match(text)
    return Internal(f"onnx runtime error {found['code']}: {found['text']}" if found else f"onnx runtime error: {text}")


def _reshape_in(tensor: Any, model: ModelTensor, batched: bool) -> Reshape | None:
    if model.shape:
        return inward(tensor, batched)
    return Reshape(tensor.name, (*([1] if batched else []), *tensor.dims), (), batched=False)


def _reshape_out(tensor: Any, model: ModelTensor, batched: bool) -> Reshape | None:
    if model.shape:
        return outward(tensor, batched)
    return Reshape(tensor.name, (), (*([1] if batched else []), *tensor.dims), batched=False)


def _to_model(tensor: ModelTensor, reshape: Reshape | None) -> Convert | None:
    convert: Convert | None = None
    if tensor.datatype is Datatype.BYTES:
        convert = _Text(tensor.name)
    elif tensor.datatype is Datatype.BF16:
        convert = _bf16_value
    return _both(reshape, convert)


def _from_model(tensor: ModelTensor, reshape: Reshape | None) -> Convert | None:
    convert: Convert | None = None
    if tensor.datatype is Datatype.BYTES:
        convert = _encoded
    elif tensor.datatype is Datatype.BF16:
        convert = _bf16_bits
    return _both(convert, reshape)


def _both(first: Convert | None, second: Convert | None) -> Convert | None:
    if first is None or second is None:
        return first or second
    return lambda value: second(first(value))


class _Text:
    """Decodes the strings of one input: ONNX Runtime's Python API takes `str` only, and gives `str`."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, array: Array) -> Array:
        text = np.empty(array.size, dtype=object)
        try:
            text[:] = [element.decode() for element in array.ravel()]
        except UnicodeDecodeError as error:
            raise InvalidArgument(
                f"input '{self._name}' has a string that is not valid UTF-8 ({error.reason} at byte {error.start}); "
                "the onnxruntime backend takes UTF-8 strings only"
            ) from error
        return text.reshape(array.shape)


def _encoded(array: Array) -> Array:
    data = np.empty(array.size, dtype=object)
    data[:] = [element.encode() for element in array.ravel()]
    return data.reshape(array.shape)


def _bf16_value(bits: Array) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(bits), ONNX_BFLOAT16)


def _bf16_bits(value: onnxruntime.OrtValue) -> Array:
    """Copy the bits out of a BF16 tensor in CPU memory."""
    shape = value.shape()
    if 0 in shape:
        return np.empty(shape, dtype=Datatype.BF16.dtype)
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, dtype=Datatype.BF16.dtype).reshape(shape)
