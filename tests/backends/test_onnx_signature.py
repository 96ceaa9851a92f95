import pytest

from backends.models import config
from jubako.backends.onnxruntime.checks import check
from jubako.backends.onnxruntime.complete import completed
from jubako.backends.onnxruntime.signature import ModelTensor, Signature
from jubako.errors import InvalidArgument, JubakoError, Unsupported

FLOAT, INT, TEXT = "tensor(float)", "tensor(int32)", "tensor(string)"


def model(
    inputs: dict[str, tuple[str, tuple[int, ...]]],
    outputs: dict[str, tuple[str, tuple[int, ...]]],
    optional: dict[str, tuple[str, tuple[int, ...]]] | None = None,
) -> Signature:
    def tensors(described: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, ModelTensor]:
        return {name: ModelTensor(name, onnx_type, shape) for name, (onnx_type, shape) in described.items()}

    return Signature(tensors(inputs), tensors(outputs), tensors(optional or {}))


BATCHING = model({"X": (FLOAT, (-1, 3))}, {"Y": (INT, (-1, -1))})
FIXED = model({"X": (FLOAT, (2, 3))}, {"Y": (FLOAT, (-1, 3))})
ROWS = model({"X": (FLOAT, (-1,))}, {"Y": (FLOAT, (-1,))})
SCALAR = model({"X": (FLOAT, ())}, {"Y": (FLOAT, ())})

X = 'input {name: "X" data_type: TYPE_FP32 dims: 3} '
Y = 'output {name: "Y" data_type: TYPE_INT32 dims: -1} '
X_Y_BATCHED = 'input {name: "X" data_type: TYPE_FP32 dims: 3} output {name: "Y" data_type: TYPE_INT32 dims: -1} '

COMPLETED = [
    (BATCHING, "", "max_batch_size: 4 dynamic_batching {} " + X_Y_BATCHED),
    (BATCHING, "max_batch_size: 0", "max_batch_size: 4 dynamic_batching {} " + X_Y_BATCHED),
    (BATCHING, "max_batch_size: 16", "max_batch_size: 16 dynamic_batching {} " + X_Y_BATCHED),
    (BATCHING, "max_batch_size: 1", "max_batch_size: 1 " + X_Y_BATCHED),
    (
        BATCHING,
        "dynamic_batching {max_queue_delay_microseconds: 7}",
        "max_batch_size: 4 dynamic_batching {max_queue_delay_microseconds: 7} " + X_Y_BATCHED,
    ),
    (BATCHING, "sequence_batching {}", "max_batch_size: 4 sequence_batching {} " + X_Y_BATCHED),
    # Only the empty list is filled, never merged.
    (
        BATCHING,
        'input {name: "mine" data_type: TYPE_FP64 dims: 9}',
        'max_batch_size: 4 dynamic_batching {} input {name: "mine" data_type: TYPE_FP64 dims: 9} ' + Y,
    ),
    (BATCHING, Y, "max_batch_size: 4 dynamic_batching {} " + X_Y_BATCHED),
    (BATCHING, X + Y, X + Y),  # both listed: nothing is touched
    (BATCHING, "max_batch_size: 0 " + X + Y, X + Y),
    (
        FIXED,
        "",
        'input {name: "X" data_type: TYPE_FP32 dims: [2, 3]} output {name: "Y" data_type: TYPE_FP32 dims: [-1, 3]}',
    ),
    (
        ROWS,
        "",
        """max_batch_size: 4 dynamic_batching {}
        input {name: "X" data_type: TYPE_FP32 dims: 1 reshape {}}
        output {name: "Y" data_type: TYPE_FP32 dims: 1 reshape {}}""",
    ),
    (
        SCALAR,
        "",
        'input {name: "X" data_type: TYPE_FP32 dims: 1} output {name: "Y" data_type: TYPE_FP32 dims: 1}',
    ),
    (
        model({"X": (TEXT, (-1, 1))}, {"Y": ("tensor(bfloat16)", (-1, 1))}, {"B": (FLOAT, (1,))}),
        "max_batch_size: 1",
        """max_batch_size: 1 input {name: "X" data_type: TYPE_STRING dims: 1}
        output {name: "Y" data_type: TYPE_BF16 dims: 1}""",
    ),
]


@pytest.mark.parametrize(("signature", "given", "expected"), COMPLETED)
def test_what_is_missing_is_filled_in_from_the_model(signature: Signature, given: str, expected: str) -> None:
    wanted = config(given)

    assert completed(wanted, signature, default_max_batch_size=4) == config(expected)
    assert wanted == config(given)


@pytest.mark.parametrize("default", [0, -2])
def test_a_default_of_zero_leaves_batching_off(default: int) -> None:
    filled = completed(config(""), BATCHING, default)

    assert filled.max_batch_size == 0
    assert list(filled.input[0].dims) == [-1, 3]
    assert filled.WhichOneof("scheduling_choice") is None


def test_a_model_that_cannot_batch_refuses_to_be_told_so() -> None:
    with pytest.raises(InvalidArgument) as failure:
        completed(config("max_batch_size: 2"), FIXED, 4)

    assert str(failure.value) == (
        "autofill failed for model 'm': model does not support batching while non-zero max_batch_size is specified"
    )


NO_TENSOR = [
    ("seq(tensor(float))", "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'Y', expected 'ONNX_TYPE_TENSOR'."),
    ("map(int64,tensor(float))", "Unsupported ONNX Type 'ONNX_TYPE_MAP' for I/O 'Y', expected 'ONNX_TYPE_TENSOR'."),
    ("tensor(float8e5m2)", "unsupported datatype 'tensor(float8e5m2)' for I/O 'Y'"),
]


@pytest.mark.parametrize(("onnx_type", "message"), NO_TENSOR)
def test_what_is_no_tensor_of_v2_cannot_be_filled_in(onnx_type: str, message: str) -> None:
    with pytest.raises(Unsupported) as failure:
        completed(config(""), model({"X": (FLOAT, (1,))}, {"Y": (onnx_type, (1,))}), 4)

    assert str(failure.value) == message


def listed(inputs: str, outputs: str = "Y TYPE_FP32 [3]", batch: int = 0) -> str:
    """Write a configuration; each tensor is `name datatype dims`, then more fields."""
    text = f"max_batch_size: {batch} "
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in filter(None, tensors.split("; ")):
            name, datatype, dims, *more = tensor.split(" ", 3)
            text += f'{kind} {{name: "{name}" data_type: {datatype} dims: {dims} {" ".join(more)}}} '
    return text


TWO = model({"A": (FLOAT, (3,)), "B": (FLOAT, (3,))}, {"Y": (FLOAT, (3,)), "Z": (FLOAT, (3,))})
ONE = model({"X": (FLOAT, (-1, 3))}, {"Y": (FLOAT, (-1, 3))}, {"O": (FLOAT, (1,))})

AGREEING = [
    (TWO, listed("A TYPE_FP32 [3]; B TYPE_FP32 [3]")),  # a subset of the outputs
    (TWO, listed("B TYPE_FP32 [3]; A TYPE_FP32 [3]", "Z TYPE_FP32 [3]; Y TYPE_FP32 [3]")),
    (ONE, listed("X TYPE_FP32 [3]", batch=8)),
    (ONE, listed("X TYPE_FP32 [5,3]", "Y TYPE_FP32 [-1,3]")),  # a model's -1 takes any size of an input
    (ONE, listed("X TYPE_FP32 [-1,3]; O TYPE_FP32 [1] optional: true", "Y TYPE_FP32 [-1,3]")),
    (ONE, listed("X TYPE_FP32 [1,3] reshape {shape: 3}", "Y TYPE_FP32 [3,1] reshape {shape: 3}", batch=2)),
    (SCALAR, listed("X TYPE_FP32 [1]", "Y TYPE_FP32 [1,1]")),
    (ROWS, listed("X TYPE_FP32 [-1] allow_ragged_batch: true", "Y TYPE_FP32 [1] reshape {}", batch=4)),
]


@pytest.mark.parametrize(("signature", "text"), AGREEING)
def test_a_configuration_that_fits_passes(signature: Signature, text: str) -> None:
    check(config(text), signature)


DISAGREEING = [
    (TWO, listed("A TYPE_FP32 [3]"), "unable to load model 'm', configuration expects 1 inputs, model provides 2"),
    (
        ONE,
        listed("X TYPE_FP32 [-1,3] optional: true", "Y TYPE_FP32 [-1,3]"),
        "unable to load model 'm', configuration expects 0 inputs, model provides 1",
    ),
    (
        TWO,
        listed("A TYPE_FP32 [3]; C TYPE_FP32 [3]"),
        "unexpected inference input 'C', allowed inputs are: A, B",
    ),
    (
        TWO,
        listed("A TYPE_FP32 [3]; B TYPE_FP32 [3]", "W TYPE_FP32 [3]"),
        "unexpected inference output 'W', allowed outputs are: Y, Z",
    ),
    (
        TWO,
        listed("A TYPE_INT32 [3]; B TYPE_FP32 [3]"),
        "unable to load model 'm', configuration expects datatype TYPE_INT32 for input 'A', model provides TYPE_FP32",
    ),
    (
        TWO,
        listed("A TYPE_FP32 [3]; B TYPE_FP32 [3]", "Y TYPE_STRING [3]"),
        "unable to load model 'm', configuration expects datatype TYPE_STRING for output 'Y', model provides TYPE_FP32",
    ),
    (
        model({"X": (FLOAT, (-1, 16))}, {"Y": (FLOAT, (-1, 3))}),
        listed("X TYPE_FP32 [16,1]", batch=8),
        "model 'm', tensor 'X': the model expects 2 dimensions (shape [-1,16]) but the model configuration specifies 3 "
        "dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
        "making complete shape [-1,16,1])",
    ),
    (
        model({"X": (FLOAT, (-1, 16))}, {"Y": (FLOAT, (3,))}),
        listed("X TYPE_FP32 [1,256]"),
        "model 'm', tensor 'X': the model expects 2 dimensions (shape [-1,16]) but the model configuration specifies 2 "
        "dimensions (shape [1,256])",
    ),
    (
        ONE,  # an output's sizes must be the model's own
        listed("X TYPE_FP32 [2,3]", "Y TYPE_FP32 [2,3]"),
        "model 'm', tensor 'Y': the model expects 2 dimensions (shape [-1,3]) but the model configuration specifies 2 "
        "dimensions (shape [2,3])",
    ),
    (
        FIXED,
        listed("X TYPE_FP32 [3]", batch=2),
        "model 'm', tensor 'X': for the model to support batching the shape should have at least 1 dimension and the "
        "first dimension must be -1; but shape expected by the model is [2,3]",
    ),
    (
        ONE,
        listed("X TYPE_FP32 [3]; O TYPE_FP32 [1] optional: true", batch=2),
        "unable to load model 'm', optional input 'O' is not supported for models that support batching",
    ),
    (
        SCALAR,
        listed("X TYPE_FP32 [2]", "Y TYPE_FP32 [1]"),
        "unable to load model 'm', scalar tensor 'X', should only provide 1 in the model configuration when the model "
        "doesn't support batching. Model configuration provided: [2].",
    ),
    (
        ONE,
        listed("X TYPE_FP32 [-1] allow_ragged_batch: true", batch=2),
        "unable to load model 'm', configuration expects model provides input with shape [-1]  for ragged input 'X', "
        "model provides [-1,3]",
    ),
]


@pytest.mark.parametrize(("signature", "text", "message"), DISAGREEING)
def test_a_configuration_that_does_not_fit_is_refused_in_tritons_words(
    signature: Signature, text: str, message: str
) -> None:
    with pytest.raises(JubakoError) as failure:
        check(config(text), signature)

    assert isinstance(failure.value, InvalidArgument)
    assert str(failure.value) == message
