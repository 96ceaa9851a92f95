"""Where Jubako's answer is, on purpose, not the one in `golden.json`.

Each entry is a case's name and what is right instead, beside the reason. docs/supported.md tells users about `BETTER`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Instead:
    """The answer expected in place of the golden one: an error, or a status with an empty body."""

    status: int
    error: str | None
    reason: str


@dataclass(frozen=True)
class Answered:
    """The answer expected is this document, with status 200."""

    document: Mapping[str, object]
    reason: str


@dataclass(frozen=True)
class Like:
    """The answer expected is the golden one of another case."""

    case: str
    reason: str


def _deep(prefix: str) -> Instead:
    text = f"{prefix}JSON nesting depth exceeds maximum allowed limit (100)"
    return Instead(400, text, "newer releases bound the nesting of a tensor's JSON")


def _not_ready(status: int, what: str) -> Instead:
    text = f"Request for unknown model: {what}"
    return Instead(status, text, "since mid-2026 readiness looks its model up as metadata does")


def _length(text: str) -> Instead:
    return Instead(400, text, "newer releases refuse what is no number; 2.51 took it for 0, a raw request")


_LENGTH: Final = "Unable to parse Inference-Header-Content-Length"
_RANGE: Final = "value is out of range [ -2147483648, 2147483647 ]"
_TOO_FEW: Final = Instead(
    500,
    "Failed to parse 'data' field: shape does not match true shape",
    "newer releases tell too few elements from too many",
)
_READY_IS_NO_BOOLEAN: Final = Instead(
    400, "Invalid value for 'ready': expected a boolean", "newer releases say what is wrong"
)

NEWER: Final[Mapping[str, Instead]] = {
    "infer/data nested 100 deep": _deep("Unable to parse 'data': "),
    "infer/data nested 5000 deep": _deep("Unable to parse 'data': "),
    "infer/BYTES nested 100 deep": _deep(""),
    "infer/data too few elements": _TOO_FEW,
    "infer/data no elements": _TOO_FEW,
    "generate/FP32 [[]]": _TOO_FEW,
    "infer/outputs twice": Instead(
        400,
        "[request id: <id_unknown>] output 'OUTPUT0' already exists in request",
        "newer releases refuse an output that is named twice",
    ),
    "infer/header length text": _length(f"{_LENGTH}, got: abc"),
    "infer/header length empty": _length(f"{_LENGTH}, got: "),
    "infer/header length past 31 bits": _length(f"{_LENGTH}, {_RANGE}, got: 2147483648"),
    "infer/header length past 64 bits": _length(f"{_LENGTH}, {_RANGE}, got: 99999999999999999999"),
    "index/ready is text": _READY_IS_NO_BOOLEAN,
    "index/ready is a number": _READY_IS_NO_BOOLEAN,
    "model/simple/versions/2/ready": _not_ready(404, "'simple' version 2 is not found"),
    "model/versions/versions/1/ready": _not_ready(404, "'versions' version 1 is not found"),
    "model/unknown/ready": _not_ready(404, "'unknown' is not found"),
    "model/unknown/versions/1/ready": _not_ready(404, "'unknown' is not found"),
    "model/broken/ready": _not_ready(404, "'broken' has no available versions"),
    "model/broken/versions/1/ready": _not_ready(503, "'broken' version 1 is not at ready state"),
}
"""What releases after 2.51 answer, from the current source."""

_HASH_ORDER: Final = "Triton looks at inputs, and names them, in the order of its hash table"
_DECODED: Final = "names are percent-decoded, as clients encode them"
_ANY_ROW: Final = "[request id: <id_unknown>] input '{}' batch size does not match other inputs for 'simple'"
_NO_READER: Final = "Triton's JSON is not Unicode here, so that no client can read it"
_KNOWN: Final = "a model whose configuration is wrong stays in the index, with its reason"


def _inputs_and_none_missing(counts: str, model: str, names: str) -> Instead:
    text = f"[request id: <id_unknown>] expected {counts} inputs for model '{model}'. Got input(s) [{names}], "
    text += "but missing required input(s) []. Please provide all required input(s)."
    return Instead(400, text, _HASH_ORDER)


def _invalid(status: int, what: str) -> Instead:
    return Instead(status, f"Request for unknown model: 'invalid' {what}", _KNOWN)


_NONE_OF_IT: Final = _invalid(404, "has no available versions")
_FIRST_NOT_READY: Final = _invalid(503, "version 1 is not at ready state")

_EMPTY: Final = {"datatype": "INT32", "shape": [0, 16], "data": []}

_NOT_WHOLE: Final = Instead(
    400, "request body is not a whole gzip or deflate stream", "Triton runs what it could inflate, be it nothing"
)

BETTER: Final[Mapping[str, Instead | Answered | Like]] = {
    "infer/compressed deflate without zlib's frame": _NOT_WHOLE,
    "infer/compressed gzip that is not": _NOT_WHOLE,
    "infer/compressed gzip cut off": _NOT_WHOLE,
    "route/GET /v2/health/ready": Instead(503, None, "not being ready is the server's state, not the request's fault"),
    "infer/compressed empty": Like("infer/compressed identity", "an empty Content-Encoding names no coding"),
    "spelling/GET /v2/models/sim%70le": Like("model/simple", _DECODED),
    "spelling/POST vari%61ble": Like("infer/variable of one", _DECODED),
    "infer/document inputs twice": Like(
        "infer/inputs in the other order", "of two equal keys the last counts, as in most JSON readers"
    ),
    "infer/input shape [16]": Instead(400, _ANY_ROW.format("INPUT1"), _HASH_ORDER),
    "infer/input shape [2,16]": Instead(400, _ANY_ROW.format("INPUT1"), _HASH_ORDER),
    "infer/input shape zero rows": Instead(400, _ANY_ROW.format("INPUT1"), _HASH_ORDER),
    "infer/scalars to a batching model": Instead(
        400,
        "[request id: <id_unknown>] input 'INPUT0' has no shape but model requires batch dimension for 'simple'",
        _HASH_ORDER,
    ),
    "infer/batch of none": Answered(
        {
            "model_name": "simple",
            "model_version": "1",
            "outputs": [{"name": "OUTPUT0", **_EMPTY}, {"name": "OUTPUT1", **_EMPTY}],
        },
        "a batch of no rows has an answer: one of no rows",
    ),
    "generate/counted, 0 elements": Answered(
        {"OUTPUT0": [], "model_name": "counted", "model_version": "1"}, "as a batch of none to infer"
    ),
    "generate/simple, no rows": Answered(
        {"OUTPUT0": [], "OUTPUT1": [], "model_name": "simple", "model_version": "1"}, "as a batch of none to infer"
    ),
    "generate/simple, two rows and one": Instead(400, _ANY_ROW.format("INPUT1"), _HASH_ORDER),
    'generate/body {"INPUT0":1,"INPUT0":2}': Like(
        "generate/FP32 2", "of two equal keys the last counts, as in most JSON readers"
    ),
    "infer/inputs three": _inputs_and_none_missing("2 inputs but got 3", "simple", "'INPUT0','INPUT1','INPUT2'"),
    "infer/optional, one too many": _inputs_and_none_missing(
        "number of inputs between 2 and 3 but got 4", "optional", "'BIAS','INPUT0','INPUT1','OTHER'"
    ),
    "infer/input shape past 63 bits": Instead(
        400,
        "invalid shape for input 'INPUT0': shape [1,9223372036854775808] causes total element count to exceed maximum "
        "size of 9223372036854775807",
        "Triton takes the dimension for a negative one",
    ),
    "infer/BYTES in bytes that are no UTF-8": Instead(
        500, "failed to parse the request JSON buffer: Invalid encoding in string. at 68", _NO_READER
    ),
    "infer/binary BYTES that are no UTF-8 to JSON": Instead(
        400,
        "input 'INPUT0' has a string that is not valid UTF-8 (invalid start byte at byte 0); the onnxruntime backend "
        "takes UTF-8 strings only",
        _NO_READER,
    ),
    "infer/invalid model, version left out": _NONE_OF_IT,
    "infer/invalid model, version 1": _FIRST_NOT_READY,
    "infer/invalid model, version 5": _invalid(404, "version 5 is not found"),
    "model/invalid": _NONE_OF_IT,
    "model/invalid/config": _NONE_OF_IT,
    "model/invalid/ready": _NONE_OF_IT,
}
"""Where Jubako differs on purpose."""

CLOSE: Final[Mapping[str, str]] = {
    "infer/FP64 given 123456789012345678901234567890": "Triton reads long numbers to the last bit but one",
    "statistics/after a run that failed": "Triton counts what a Python model refuses as answered; see the test of it",
    "infer/id with a NUL": "Triton's id ends at a NUL, ours is what came",
}
"""Where only the status must agree."""

LATER: Final[Mapping[str, str]] = {
    "model/decoupled": "decoupled models come with Python models",
    "infer/decoupled": "decoupled models come with Python models",
    "infer/raw to a decoupled": "decoupled models come with Python models",
}
"""Cases, by the start of their names, that other issues build."""

OWN_WORDS: Final = frozenset({"infer/a run that fails", "infer/optional, given INPUT0+BIAS"})
"""Errors that the model's runtime words, so that only the status can agree."""

OWN_ROWS: Final = frozenset({"broken", "decoupled", "invalid"})
"""Models whose row in the index Jubako writes in its own way: reasons that are its own, and more of them."""
