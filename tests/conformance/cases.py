"""The questions: HTTP requests, in the order in which they are asked, over the models of `models.py`.

Order matters only to the `counted` model, whose statistics are asked before and after its requests.
"""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Headers = tuple[tuple[str, str], ...]
HEADER_LENGTH: Final = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Case:
    """One request. `content_length` says whether the body's length is announced; `chunked` sends it in two chunks."""

    name: str
    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""
    content_length: bool = True
    chunked: bool = False


def encoded(document: Any) -> bytes:
    """Return `document` as JSON; bytes and text are taken as they are."""
    if isinstance(document, bytes):
        return document
    return document.encode() if isinstance(document, str) else json.dumps(document).encode()


def infer(name: str, model: str, document: Any, *, version: str = "", headers: Headers = ()) -> Case:
    """Ask `model` with a JSON body."""
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
    return Case(f"infer/{name}", "POST", path, headers, encoded(document))


def binary(
    name: str, model: str, document: Any, tail: bytes, *, length: str | None = None, headers: Headers = ()
) -> Case:
    """Ask `model` with a JSON header, its length announced (or `length` in its place), and binary tensors behind it."""
    head = encoded(document)
    announced = str(len(head)) if length is None else length
    return infer(name, model, head + tail, headers=((HEADER_LENGTH, announced), *headers))


def raw(name: str, model: str, body: bytes, *, length: str | None = "0", headers: Headers = ()) -> Case:
    """Ask `model` with nothing but its input's bytes."""
    return infer(name, model, body, headers=(() if length is None else ((HEADER_LENGTH, length),)) + headers)


def tensor(name: str, datatype: str, shape: Sequence[Any], data: Any = None, **more: Any) -> dict[str, Any]:
    """Return an input's JSON; without `data` the key is left out."""
    given = {} if data is None else {"data": data}
    return {"name": name, "datatype": datatype, "shape": list(shape), **given, **more}


def of_size(count: int) -> dict[str, Any]:
    """Return the parameters of an input whose `count` bytes follow the JSON."""
    return {"parameters": {"binary_data_size": count}}


def byte_strings(*elements: bytes) -> bytes:
    """Return BYTES elements as the binary extension writes them."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


INTEGERS: Final = ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
DATATYPES: Final = ("BOOL", *INTEGERS, "FP16", "BF16", "FP32", "FP64", "BYTES")
ROW: Final = list(range(16))
ONES: Final = [1] * 16
INT32_ROW: Final = struct.pack("<16i", *ROW)
INT32_ONES: Final = struct.pack("<16i", *ONES)
BINARY_INPUTS: Final = [
    tensor("INPUT0", "INT32", [1, 16], **of_size(64)),
    tensor("INPUT1", "INT32", [1, 16], **of_size(64)),
]


def sums(first: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a good request of `simple`, or one whose INPUT0 is `first`; `more` are its other keys."""
    first = first or tensor("INPUT0", "INT32", [1, 16], ROW)
    return {"inputs": [first, tensor("INPUT1", "INT32", [1, 16], ONES)], **more}


def one(datatype: str, shape: Sequence[Any], data: Any = None, **more: Any) -> dict[str, Any]:
    """Return a request of a model with the one input INPUT0."""
    return {"inputs": [tensor("INPUT0", datatype, shape, data)], **more}


# Routes: what answers, to which method, under which spelling.

METHODS: Final = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
ROUTES: Final = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/simple",
    "/v2/models/simple/ready",
    "/v2/models/simple/config",
    "/v2/models/simple/infer",
    "/v2/models/counted/stats",
    "/v2/repository/index",
)
MODEL_ROUTES: Final = ("", "/ready", "/config", "/stats")
SPELLINGS: Final = (
    "/",
    "/v2/",
    "//v2",
    "/v1",
    "/V2",
    "/v2?verbose=1",
    "/v2/health",
    "/v2/health/",
    "/v2/health/live/",
    "/v2/health/dead",
    "/v2/models",
    "/v2/models/",
    "/v2/models/simple/",
    "/v2/models/simple/ready/",
    "/v2/models/simple/ready?x=1",
    "/v2/models/simple/other",
    "/v2/models/simple/versions",
    "/v2/models/simple/versions/",
    "/v2/models/simple/versions/1/",
    "/v2/models/simple/versions/01",
    "/v2/models/simple/versions/0",
    "/v2/models/simple/versions/abc",
    "/v2/models/simple/versions/v1",
    "/v2/models/simple/versions/-1",
    "/v2/models/simple/versions/99999999999999999999",
    "/v2/models/simple/versions/1/trace/setting",
    "/v2/models/sim%70le",
    "/v2/models/Dense.Net-1_x",
    "/v2/models/dense.net-1_x",
    "/v2/models/SIMPLE",
    "/v2/repository",
    "/v2/repository/models/simple",
    "/metrics2",
)
NAMES: Final = (
    "simple",
    "simple/versions/1",
    "simple/versions/2",
    "versions",
    "versions/versions/1",
    "versions/versions/2",
    "versions/versions/3",
    "unknown",
    "unknown/versions/1",
    "broken",
    "broken/versions/1",
    "invalid",
    "Dense.Net-1_x",
    "configured",
    "strings",
    "optional",
    "scores",
    "reshaped",
    "decoupled",
    "identity_bf16",
    "identity_bytes",
    "matrix",
)


def routes() -> Iterator[Case]:
    """Every route by every method, and paths that nearly are routes."""
    for path in ROUTES:
        for method in METHODS:
            yield Case(f"route/{method} {path}", method, path)
    for path in SPELLINGS:
        yield Case(f"spelling/GET {path}", "GET", path)
    yield Case("spelling/POST /v2/models/simple/infer/", "POST", "/v2/models/simple/infer/", (), encoded(sums()))
    yield Case("spelling/POST infer?x=1", "POST", "/v2/models/simple/infer?x=1", (), encoded(sums()))
    yield Case("spelling/POST vari%61ble", "POST", "/v2/models/vari%61ble/infer", (), encoded(one("FP32", [1, 1], [1])))
    for name in NAMES:
        for end in MODEL_ROUTES:
            yield Case(f"model/{name}{end}", "GET", f"/v2/models/{name}{end}")


def repository() -> Iterator[Case]:
    """The repository index, and load and unload where model control is off."""
    index = "/v2/repository/index"
    for name, body in (
        ("empty body", b""),
        ("empty object", b"{}"),
        ("ready true", b'{"ready":true}'),
        ("ready false", b'{"ready":false}'),
        ("ready is text", b'{"ready":"true"}'),
        ("ready is a number", b'{"ready":1}'),
        ("unknown key", b'{"other":1}'),
        ("not JSON", b"ready"),
        ("an array", b"[]"),
    ):
        yield Case(f"index/{name}", "POST", index, (), body)
    yield Case("index/of a named repository", "POST", "/v2/repository/mine/index")
    for action in ("load", "unload"):
        for model in ("simple", "unknown"):
            path = f"/v2/repository/models/{model}/{action}"
            yield Case(f"control/{action} {model}", "POST", path)
            yield Case(f"control/GET {action} {model}", "GET", path)
        yield Case(f"control/{action} with a body", "POST", f"/v2/repository/models/simple/{action}", (), b"{}")
        yield Case(f"control/{action} not JSON", "POST", f"/v2/repository/models/simple/{action}", (), b"{")
        yield Case(f"control/{action} of a named repository", "POST", f"/v2/repository/r/models/simple/{action}")
    yield Case("control/other", "POST", "/v2/repository/models/simple/reload")


def statistics() -> Iterator[Case]:
    """The statistics of one model before, between and after a known history."""
    path = "/v2/models/counted/stats"
    yield Case("statistics/untouched", "GET", path)
    yield infer("counted, one row", "counted", one("FP32", [1, 2], [1, 2]))
    yield infer("counted, three rows", "counted", one("FP32", [3, 2], [1, 2, 3, 4, 5, 6]))
    yield infer("counted, wrong shape", "counted", one("FP32", [1, 3], [1, 2, 3]))
    yield infer("counted, bad JSON", "counted", "{")
    yield Case("statistics/after two good and two refused requests", "GET", path)
    yield Case("statistics/of its version", "GET", "/v2/models/counted/versions/1/stats")
    yield infer("a run that fails", "failing", one("INT64", [1], [9]))
    yield infer("a run that does not fail", "failing", one("INT64", [1], [3]))
    yield Case("statistics/after a run that failed", "GET", "/v2/models/failing/stats")


# Inference: good requests.

NUMBERS: Final[dict[str, list[Any]]] = {
    "BOOL": [True, False, True],
    "UINT8": [0, 1, 255],
    "UINT16": [0, 1, 65535],
    "UINT32": [0, 1, 4294967295],
    "UINT64": [0, 1, 18446744073709551615],
    "INT8": [-128, 0, 127],
    "INT16": [-32768, 0, 32767],
    "INT32": [-2147483648, 0, 2147483647],
    "INT64": [-9223372036854775808, 0, 9223372036854775807],
    "FP16": [0.5, -1, 65504],
    "FP32": [0.1, -1, 3.4028234663852886e38],
    "FP64": [0.1, -1, 1.7976931348623157e308],
    "BYTES": ["a", "", "häß €"],
    "BF16": [0.5, -1, 2],
}
FORMATS: Final = {
    "BOOL": "<3?",
    "UINT8": "<3B",
    "UINT16": "<3H",
    "UINT32": "<3I",
    "UINT64": "<3Q",
    "INT8": "<3b",
    "INT16": "<3h",
    "INT32": "<3i",
    "INT64": "<3q",
    "FP16": "<3e",
    "FP32": "<3f",
    "FP64": "<3d",
}


def three(datatype: str) -> bytes:
    """Return the three elements of `NUMBERS[datatype]` as binary tensor data."""
    if datatype == "BYTES":
        return byte_strings(*(str(text).encode() for text in NUMBERS[datatype]))
    if datatype == "BF16":
        return b"".join(struct.pack("<f", number)[2:] for number in NUMBERS[datatype])
    return struct.pack(FORMATS[datatype], *NUMBERS[datatype])


WRONG: Final[dict[str, tuple[Any, ...]]] = {
    "BOOL": (1, "true", None),
    "UINT8": (-1, 1.0, True, "1", 256),
    "UINT16": (-1, 1.5, 65536),
    "UINT32": (-1, 4294967296),
    "UINT64": (-1, 18446744073709551616),
    "INT8": (1.0, True, "1", 300, None),
    "INT16": (40000, 1e3),
    "INT32": (1.0, "1", True, 4294967296),
    "INT64": (9223372036854775808, 1.0, [1]),
    "FP32": ("1", True, None, 1e39, {"a": 1}),
    "FP64": ("NaN", False, 123456789012345678901234567890),
    "BYTES": (1, True, None, ["a"], 1.5),
}


def datatypes() -> Iterator[Case]:
    """Each datatype in JSON and binary, both ways, and values that do not fit it."""
    wants_binary = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    for datatype, values in NUMBERS.items():
        model = f"identity_{datatype.lower()}"
        data = three(datatype)
        binary_input = {"inputs": [tensor("INPUT0", datatype, [3], **of_size(len(data)))]}
        yield infer(f"{datatype} JSON to JSON", model, one(datatype, [3], values))
        yield infer(f"{datatype} JSON to binary", model, one(datatype, [3], values, outputs=wants_binary))
        yield binary(f"{datatype} binary to JSON", model, binary_input, data)
        yield binary(f"{datatype} binary to binary", model, {**binary_input, "outputs": wants_binary}, data)
        yield binary(f"{datatype} binary, a byte short", model, binary_input, data[:-1])
        yield infer(f"{datatype} empty", model, one(datatype, [0], []))
        if datatype != "BYTES":
            yield raw(f"{datatype} raw", model, data)
    for datatype, wrong in WRONG.items():
        for value in wrong:
            document = one(datatype, [1], [value])
            yield infer(f"{datatype} given {json.dumps(value)}", f"identity_{datatype.lower()}", document)


def json_tensors() -> Iterator[Case]:
    """How `data` may be written."""
    fp32 = '{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[%d],"data":%s}]}'
    for literal in (
        "NaN",
        "Infinity",
        "-Infinity",
        "Inf",
        "-Inf",
        "nan",
        "1e5",
        "1E400",
        "-0.0",
        "01",
        "+1",
        ".5",
        "1.",
    ):
        yield infer(f"FP32 literal {literal}", "identity_fp32", fp32 % (1, f"[{literal}]"))
    for name, shape, data in (
        ("nested", [2, 2], [[1, 2], [3, 4]]),
        ("flat for two dimensions", [2, 2], [1, 2, 3, 4]),
        ("nested the wrong way", [2, 2], [[1, 2, 3], [4]]),
        ("nested deeper than the shape", [2, 2], [[[[1]], [2]], [3, 4]]),
        ("too many elements", [2, 2], [1, 2, 3, 4, 5]),
        ("too few elements", [2, 2], [1, 2, 3]),
        ("no elements", [2, 2], []),
        ("a number in place of an array", [1, 1], 5),
        ("text in place of an array", [1, 1], "5"),
        ("an object in place of an array", [1, 1], {}),
        ("zero rows", [0, 2], []),
        ("zero rows with data", [0, 2], [1, 2]),
        ("too many, nested", [2, 2], [[1, 2], [3, 4], [5, 6]]),
    ):
        yield infer(f"data {name}", "matrix", one("FP32", shape, data))
    yield infer("data null", "matrix", fp32.replace("[%d]", "[1,1]").replace("%s", "null"))
    for depth in (99, 100, 5000):
        yield infer(f"data nested {depth} deep", "identity_fp32", fp32 % (1, "[" * depth + "1" + "]" * depth))
    strings = fp32.replace("FP32", "BYTES")
    for depth in (99, 100):
        yield infer(f"BYTES nested {depth} deep", "identity_bytes", strings % (1, "[" * depth + '"a"' + "]" * depth))
    yield infer("BYTES too few elements", "identity_bytes", one("BYTES", [3], ["a", "b"]))
    yield infer("BYTES too many elements", "identity_bytes", one("BYTES", [1], ["a", "b"]))
    yield infer("BYTES no elements", "identity_bytes", one("BYTES", [1], []))
    yield infer("BYTES with NUL", "identity_bytes", one("BYTES", [1], ["a\0b"]))
    yield infer("BYTES with escapes", "identity_bytes", one("BYTES", [1], ['"\\/\b\f\n\r\t\x01\x7f\u2028😀']))
    yield infer("BYTES with a lone surrogate", "identity_bytes", one("BYTES", [1], ["\ud800"]))
    yield infer(
        "BYTES in bytes that are no UTF-8",
        "identity_bytes",
        b'{"inputs":[{"name":"INPUT0","datatype":"BYTES","shape":[1],"data":["\xff\xfe"]}]}',
    )
    yield infer("BYTES with an unescaped newline", "identity_bytes", strings % (1, '["a\nb"]'))
    wants_json = {"inputs": [tensor("INPUT0", "BYTES", [2], **of_size(13))]}
    yield binary("binary BYTES with NUL to JSON", "identity_bytes", wants_json, byte_strings(b"a\0b", b"cd"))
    yield binary(
        "binary BYTES that are no UTF-8 to JSON", "identity_bytes", wants_json, byte_strings(b"\xff\xfe", b"abc")
    )
    yield infer(
        "strings",
        "strings",
        {
            "inputs": [
                tensor("INPUT0", "BYTES", [2, 2], [["a", "b"], ["c", "d"]]),
                tensor("INPUT1", "BYTES", [2, 2], ["1", "2", "", "ü"]),
            ]
        },
    )
    yield infer("variable of one", "variable", one("FP32", [1, 1], [1]))
    yield infer("variable", "variable", one("FP32", [2, 3], [[1, 2, 3], [0.5, 0.25, -1]]))
    yield infer("variable of no width", "variable", one("FP32", [2, 0], []))
    yield infer("matrix", "matrix", one("FP32", [2, 3], [1, 2, 3, 4, 5, 6]))
    yield infer("reshaped", "reshaped", one("FP32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]))
    yield infer("reshaped, asked in the model's shape", "reshaped", one("FP32", [1, 2, 2], [1, 2, 3, 4]))
    yield infer("a name with dots and capitals", "Dense.Net-1_x", sums())


def the_document() -> Iterator[Case]:
    """The request's JSON as a whole, and the keys it must have."""
    for name, document in (
        ("empty object", "{}"),
        ("array", "[]"),
        ("number", "1"),
        ("text", '"x"'),
        ("null", "null"),
        ("only a space", " "),
        ("cut off", '{"inputs":['),
        ("unquoted", "{inputs:[]}"),
        ("single quotes", "{'inputs':[]}"),
        ("trailing comma", '{"inputs":[],}'),
        ("more behind it", json.dumps(sums()) + " x"),
        ("white space around it", "  \n" + json.dumps(sums()) + "\n "),
        ("a NUL behind it", json.dumps(sums()) + "\0"),
        ("a byte order mark", "\ufeff" + json.dumps(sums())),
        ("not JSON", "hello"),
        ("inputs is an object", '{"inputs":{}}'),
        ("inputs is null", '{"inputs":null}'),
        ("inputs is text", '{"inputs":"x"}'),
        ("inputs is empty", '{"inputs":[]}'),
        ("an input is a number", '{"inputs":[1]}'),
        ("an input is an array", '{"inputs":[[]]}'),
        ("inputs twice", '{"inputs":[],"inputs":' + json.dumps(sums()["inputs"]) + "}"),
        ("comment", '{"inputs":[] /* none */}'),
    ):
        yield infer(f"document {name}", "simple", document)
    yield infer("unknown keys", "simple", sums(other={"a": [1]}))
    yield infer("id", "simple", sums(id="seven"))
    yield infer("id empty", "simple", sums(id=""))
    yield infer("id a number", "simple", sums(id=7))
    yield infer("id null", "simple", {**sums(), "id": None})
    yield infer("id with odd characters", "simple", sums(id='ü"\n'))
    yield infer("id with a NUL", "simple", sums(id="a\0b"))
    yield infer("id in an error", "simple", {"id": "seven", "inputs": sums()["inputs"][:1]})


def inputs() -> Iterator[Case]:
    """Inputs that do not suit the protocol or the model."""
    good = tensor("INPUT0", "INT32", [1, 16], ROW)
    for key in good:
        for name, value in (("missing", None), ("a number", 5), ("null", "null"), ("an object", {})):
            if key == "data":
                continue
            changed = {**good, key: None if value == "null" else value}
            if value is None:
                del changed[key]
            yield infer(f"input {key} {name}", "simple", sums(changed))
    no_data = tensor("INPUT0", "INT32", [1, 16])
    for name, first in (
        ("without data", no_data),
        ("parameters a number", {**good, "parameters": 1}),
        ("parameters an array", {**good, "parameters": []}),
        ("parameters null", {**good, "parameters": None}),
        ("parameters empty", {**good, "parameters": {}}),
        ("unknown parameter", {**good, "parameters": {"other": [1]}}),
        ("data and binary_data_size", {**good, **of_size(64)}),
        ("data and shared_memory_region", {**good, "parameters": {"shared_memory_region": "r"}}),
        ("everything", {**good, "parameters": {"shared_memory_region": "r", "binary_data_size": 64}}),
        ("unknown region", {**no_data, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 64}}),
        ("region without size", {**no_data, "parameters": {"shared_memory_region": "r"}}),
        ("region a number", {**no_data, "parameters": {"shared_memory_region": 1}}),
        ("binary_data_size text", {**no_data, "parameters": {"binary_data_size": "64"}}),
        ("binary_data_size negative", {**no_data, "parameters": {"binary_data_size": -1}}),
        ("binary_data_size true", {**no_data, "parameters": {"binary_data_size": True}}),
        ("binary_data_size float", {**no_data, "parameters": {"binary_data_size": 64.0}}),
        ("datatype unknown", tensor("INPUT0", "INT33", [1, 16], ROW)),
        ("datatype lower case", tensor("INPUT0", "int32", [1, 16], ROW)),
        ("datatype TYPE_INT32", tensor("INPUT0", "TYPE_INT32", [1, 16], ROW)),
        ("datatype empty", tensor("INPUT0", "", [1, 16], ROW)),
        ("datatype not the model's", tensor("INPUT0", "FP32", [1, 16], ROW)),
        ("name unknown", tensor("INPUT2", "INT32", [1, 16], ROW)),
        ("name twice", tensor("INPUT1", "INT32", [1, 16], ROW)),
        ("name empty", tensor("", "INT32", [1, 16], ROW)),
        ("shape empty", tensor("INPUT0", "INT32", [], [1])),
        ("shape [16]", tensor("INPUT0", "INT32", [16], ROW)),
        ("shape [1,8]", tensor("INPUT0", "INT32", [1, 8], ROW[:8])),
        ("shape [1,16,1]", tensor("INPUT0", "INT32", [1, 16, 1], ROW)),
        ("shape [2,16]", tensor("INPUT0", "INT32", [2, 16], ROW + ROW)),
        ("shape negative", tensor("INPUT0", "INT32", [1, -1], ROW)),
        ("shape of text", tensor("INPUT0", "INT32", ["1", "16"], ROW)),
        ("shape of floats", tensor("INPUT0", "INT32", [1.0, 16], ROW)),
        ("shape of true", tensor("INPUT0", "INT32", [True, 16], ROW)),
        ("shape nested", tensor("INPUT0", "INT32", [[1, 16]], ROW)),
        ("shape zero rows", tensor("INPUT0", "INT32", [0, 16], [])),
        ("shape past 64 bits", tensor("INPUT0", "INT32", [1, 2**64], ROW)),
        ("shape past 63 bits", tensor("INPUT0", "INT32", [1, 2**63], ROW)),
    ):
        yield infer(f"input {name}", "simple", sums(first))
    first, second = sums()["inputs"]
    yield infer("inputs only one", "simple", {"inputs": [second]})
    yield infer("inputs three", "simple", {"inputs": [first, second, tensor("INPUT2", "INT32", [1, 16], ROW)]})
    yield infer("inputs in the other order", "simple", {"inputs": [second, first]})
    both = [tensor(name, "INT32", [9, 16], ROW * 9) for name in ("INPUT0", "INPUT1")]
    yield infer("batch too large", "simple", {"inputs": both})
    both = [tensor(name, "INT32", [0, 16], []) for name in ("INPUT0", "INPUT1")]
    yield infer("batch of none", "simple", {"inputs": both})
    both = [tensor(name, "INT32", [8, 16], ROW * 8) for name in ("INPUT0", "INPUT1")]
    yield infer("batch full", "simple", {"inputs": both})
    both = [tensor(name, "INT32", [], [1]) for name in ("INPUT0", "INPUT1")]
    yield infer("scalars to a batching model", "simple", {"inputs": both})
    both = [tensor(name, "INT32", [16], ROW) for name in ("INPUT0", "INPUT1")]
    yield infer("no batch dimension", "simple", {"inputs": both})
    yield infer("matrix of rank one", "matrix", one("FP32", [4], [1, 2, 3, 4]))
    yield infer("matrix of rank three", "matrix", one("FP32", [1, 1, 1], [1]))
    yield infer("unbatched of wrong width", "versions", one("FP32", [3], [1, 2, 3]))
    yield infer("unbatched with a batch", "versions", one("FP32", [1, 2], [1, 2]))
    yield infer("wrong datatype and wrong shape", "simple", sums(tensor("INPUT0", "FP32", [1, 8], ROW[:8])))
    yield infer("wrong datatype and too large", "versions", one("INT32", [3], [1, 2, 3]))
    for names in (("INPUT0", "INPUT1"), ("INPUT0", "INPUT1", "BIAS"), ("INPUT0", "BIAS"), ("INPUT0",), ("BIAS",), ()):
        given = [tensor(name, "FP32", [4], [1, 2, 3, 4]) for name in names]
        yield infer(f"optional, given {'+'.join(names) or 'nothing'}", "optional", {"inputs": given})
    given = [tensor(name, "FP32", [4], [1, 2, 3, 4]) for name in ("INPUT0", "INPUT1", "BIAS", "OTHER")]
    yield infer("optional, one too many", "optional", {"inputs": given})
    yield infer("optional, a stranger in place", "optional", {"inputs": [*given[:2], given[3]]})


def outputs() -> Iterator[Case]:
    """Which outputs are asked for, and how."""
    for name, asked in (
        ("one", [{"name": "OUTPUT1"}]),
        ("both, other order", [{"name": "OUTPUT1"}, {"name": "OUTPUT0"}]),
        ("twice", [{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]),
        ("none", []),
        ("unknown", [{"name": "OUTPUT2"}]),
        ("name missing", [{}]),
        ("name a number", [{"name": 1}]),
        ("a number", [1]),
        ("an object", {}),
        ("text", "OUTPUT0"),
        ("null", None),
        ("parameters a number", [{"name": "OUTPUT0", "parameters": 1}]),
        ("parameters empty", [{"name": "OUTPUT0", "parameters": {}}]),
        ("unknown parameter", [{"name": "OUTPUT0", "parameters": {"other": {}}}]),
        ("one binary", [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]),
        (
            "one binary, one not",
            [
                {"name": "OUTPUT0", "parameters": {"binary_data": True}},
                {"name": "OUTPUT1", "parameters": {"binary_data": False}},
            ],
        ),
        ("binary_data a number", [{"name": "OUTPUT0", "parameters": {"binary_data": 1}}]),
        ("binary_data text", [{"name": "OUTPUT0", "parameters": {"binary_data": "true"}}]),
        (
            "unknown region",
            [
                {
                    "name": "OUTPUT0",
                    "parameters": {
                        "shared_memory_region": "r",
                        "shared_memory_byte_size": 64,
                    },
                }
            ],
        ),
        (
            "region and classification",
            [
                {
                    "name": "OUTPUT0",
                    "parameters": {
                        "shared_memory_region": "r",
                        "shared_memory_byte_size": 64,
                        "classification": 1,
                    },
                }
            ],
        ),
        (
            "region and binary_data",
            [
                {
                    "name": "OUTPUT0",
                    "parameters": {
                        "shared_memory_region": "r",
                        "shared_memory_byte_size": 64,
                        "binary_data": True,
                    },
                }
            ],
        ),
    ):
        yield infer(f"outputs {name}", "simple", sums(outputs=asked))
    first = [{"name": "OUTPUT0"}]
    for name, document in (
        ("true", sums(parameters={"binary_data_output": True})),
        ("false", sums(parameters={"binary_data_output": False})),
        ("true, one output named", sums(outputs=first, parameters={"binary_data_output": True})),
        ("true, outputs empty", sums(outputs=[], parameters={"binary_data_output": True})),
        ("a number", sums(parameters={"binary_data_output": 1})),
        ("text", sums(parameters={"binary_data_output": "true"})),
    ):
        yield infer(f"binary_data_output {name}", "simple", document)
    empty = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    yield infer("an empty binary output", "identity_fp32", one("FP32", [0], [], outputs=empty))
    yield infer("decoupled", "decoupled", one("FP32", [2], [1, 2]))


def parameters() -> Iterator[Case]:
    """Request parameters, reserved and free."""
    for name, given in (
        ("a number", 1),
        ("an array", []),
        ("null", None),
        ("text", "x"),
        ("empty", {}),
        ("free of each kind", {"text": "x", "whole": 1, "real": 1.5, "flag": True}),
        ("free, negative", {"whole": -1}),
        ("free, past 63 bits", {"whole": 2**63}),
        ("free, past 64 bits", {"whole": 2**64}),
        ("free, an object", {"deep": {}}),
        ("free, an array", {"deep": []}),
        ("free, null", {"deep": None}),
        ("reserved prefix", {"triton_x": 1}),
        ("reserved prefix, known", {"triton_enable_empty_final_response": True}),
        ("headers", {"headers": "x"}),
        ("sequence_id", {"sequence_id": 1, "sequence_start": True, "sequence_end": True}),
        ("sequence_id text", {"sequence_id": "one", "sequence_start": True}),
        ("sequence_id negative", {"sequence_id": -1}),
        ("sequence_id float", {"sequence_id": 1.5}),
        ("sequence_id true", {"sequence_id": True}),
        ("sequence_start a number", {"sequence_id": 1, "sequence_start": 1}),
        ("sequence_end text", {"sequence_id": 1, "sequence_end": "true"}),
        ("priority", {"priority": 1}),
        ("priority out of range", {"priority": 99}),
        ("priority negative", {"priority": -1}),
        ("priority text", {"priority": "1"}),
        ("priority float", {"priority": 1.0}),
        ("timeout", {"timeout": 10_000_000}),
        ("timeout negative", {"timeout": -1}),
        ("timeout text", {"timeout": "1"}),
        ("timeout float", {"timeout": 1.5}),
    ):
        yield infer(f"parameters {name}", "simple", sums(parameters=given))
    for level in (0, 1, 2, 3):
        yield infer(f"priority {level} where there are two", "configured", sums(parameters={"priority": level}))


def binary_tensors() -> Iterator[Case]:
    """The binary tensor extension: sizes, order, and the length of the JSON header."""
    header: dict[str, Any] = {"inputs": BINARY_INPUTS}
    tail = INT32_ROW + INT32_ONES
    yield binary("binary", "simple", header, tail)
    yield binary("binary to binary", "simple", {**header, "parameters": {"binary_data_output": True}}, tail)
    yield binary("binary, inputs in the other order", "simple", {"inputs": BINARY_INPUTS[::-1]}, tail)
    mixed = {"inputs": [tensor("INPUT0", "INT32", [1, 16], ROW), BINARY_INPUTS[1]]}
    yield binary("binary, mixed with JSON", "simple", mixed, INT32_ONES)
    yield binary("binary, four bytes short", "simple", header, tail[:-4])
    yield binary("binary, second input missing", "simple", header, INT32_ROW)
    yield binary("binary, nothing behind the header", "simple", header, b"")
    yield binary("binary, four bytes too many", "simple", header, tail + b"\0\0\0\0")
    yield binary("JSON only, four bytes too many", "simple", sums(), b"\0\0\0\0")
    small = [tensor("INPUT0", "INT32", [1, 16], **of_size(60)), BINARY_INPUTS[1]]
    yield binary("binary, less than the shape", "simple", {"inputs": small}, tail[4:])
    large = [tensor("INPUT0", "INT32", [1, 16], **of_size(68)), BINARY_INPUTS[1]]
    yield binary("binary, more than the shape", "simple", {"inputs": large}, b"\0\0\0\0" + tail)
    none = [tensor("INPUT0", "INT32", [1, 16], **of_size(0)), BINARY_INPUTS[1]]
    yield binary("binary, size zero for a full shape", "simple", {"inputs": none}, INT32_ONES)
    huge = [tensor("INPUT0", "INT32", [1, 16], **of_size(2**63)), BINARY_INPUTS[1]]
    yield binary("binary, size past 63 bits", "simple", {"inputs": huge}, tail)
    empty = {"inputs": [tensor("INPUT0", "FP32", [0], **of_size(0))]}
    yield binary("binary, empty", "identity_fp32", empty, b"")
    yield binary(
        "binary, bytes for an empty shape",
        "identity_fp32",
        {"inputs": [tensor("INPUT0", "FP32", [0], **of_size(4))]},
        b"\0\0\0\0",
    )
    yield binary(
        "binary BOOL that is 2", "identity_bool", {"inputs": [tensor("INPUT0", "BOOL", [2], **of_size(2))]}, b"\2\0"
    )
    for name, body in (
        ("too few elements", byte_strings(b"a", b"bc")),
        ("too many elements", byte_strings(b"a", b"b", b"c", b"d")),
        ("a cut length", byte_strings(b"a", b"b") + b"\1\0"),
        ("a cut element", byte_strings(b"a", b"b") + b"\5\0\0\0cd"),
        ("a huge length", byte_strings(b"a", b"b") + b"\xff\xff\xff\xff"),
        ("nothing", b""),
    ):
        document = {"inputs": [tensor("INPUT0", "BYTES", [3], **of_size(len(body)))]}
        yield binary(f"binary BYTES with {name}", "identity_bytes", document, body)
    for name, value in (
        ("text", "abc"),
        ("empty", ""),
        ("negative", "-1"),
        ("a fraction", "3.5"),
        ("with text behind", "12abc"),
        ("hexadecimal", "0x10"),
        ("exponent", "1e3"),
        ("with spaces", " 12 "),
        ("signed", "+12"),
        ("past the body", "100000"),
        ("past 31 bits", "2147483648"),
        ("past 64 bits", "99999999999999999999"),
        ("one less than the JSON", str(len(encoded(sums())) - 1)),
        ("ten less than the JSON", str(len(encoded(sums())) - 10)),
        ("zero", "0"),
    ):
        yield binary(f"header length {name}", "simple", sums(), b"", length=value)
    good = str(len(encoded(sums())))
    yield infer("header length exact, lower case", "simple", sums(), headers=((HEADER_LENGTH.lower(), good),))
    yield infer("header length twice", "simple", sums(), headers=((HEADER_LENGTH, good), (HEADER_LENGTH, "5")))
    yield infer("header length of an empty body", "simple", b"", headers=((HEADER_LENGTH, "10"),))


def raw_tensors() -> Iterator[Case]:
    """Bodies that are one input's bytes and nothing else."""
    yield raw("raw to a batching model", "variable", struct.pack("<3f", 1, 2, 3))
    yield raw("raw to a fixed shape", "versions", struct.pack("<2f", 1, 2))
    yield raw("raw, too short for a fixed shape", "versions", struct.pack("<f", 1))
    yield raw("raw, too long for a fixed shape", "versions", struct.pack("<3f", 1, 2, 3))
    yield raw("raw, not a whole element", "identity_fp32", b"\0\0\0\0\0")
    yield raw("raw, two variable dimensions", "matrix", struct.pack("<2f", 1, 2))
    yield raw("raw, two inputs", "simple", INT32_ROW)
    yield raw("raw, optional input", "optional", struct.pack("<4f", 1, 2, 3, 4))
    yield raw("raw, text", "line", b"hello")
    yield raw("raw, text of no length", "line", b"")
    yield raw("raw, text to a variable shape", "identity_bytes", b"hello")
    yield raw("raw, empty body and length zero", "identity_fp32", b"")
    yield raw("raw, empty body and no header", "identity_fp32", b"", length=None)
    yield raw("raw, empty body to two inputs", "simple", b"", length=None)
    yield raw("raw, empty body to an unknown model", "unknown", b"", length=None)
    yield raw("raw to an unknown model", "unknown", b"1234")
    yield raw("raw to a decoupled model", "decoupled", struct.pack("<2f", 1, 2))


def classification() -> Iterator[Case]:
    """Classes in place of scores."""

    def top(count: Any, **more: Any) -> list[dict[str, Any]]:
        return [{"name": "OUTPUT0", "parameters": {"classification": count, **more}}]

    rows = [0.1, 0.7, 0.2, 5, 4, 6]
    for name, count in (
        ("of one", 1),
        ("of two", 2),
        ("of more than there are", 9),
        ("of none", 0),
        ("negative", -1),
        ("text", "1"),
        ("true", True),
        ("a fraction", 1.5),
    ):
        yield infer(f"classification {name}", "scores", one("FP32", [2, 3], rows, outputs=top(count)))
    yield infer("classification, binary", "scores", one("FP32", [2, 3], rows, outputs=top(2, binary_data=True)))
    yield infer("classification of ties", "scores", one("FP32", [1, 3], [1, 1, 1], outputs=top(3)))
    yield infer("classification of large and small", "scores", one("FP32", [1, 3], [1e20, 1e-20, -3], outputs=top(3)))
    nan = '{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,3],"data":[NaN,Infinity,-Infinity]}],"outputs":%s}'
    yield infer("classification of no numbers", "scores", nan % json.dumps(top(3)))
    yield infer("classification of a matrix", "matrix", one("FP32", [2, 2], [1, 4, 3, 2], outputs=top(3)))
    for datatype in ("UINT8", "INT8", "INT64", "UINT64", "FP64"):
        data = [3, 1, 2]
        yield infer(
            f"classification of {datatype}", f"identity_{datatype.lower()}", one(datatype, [3], data, outputs=top(2))
        )
    yield infer("classification of BOOL", "identity_bool", one("BOOL", [2], [True, False], outputs=top(1)))
    for datatype in ("FP16", "BF16"):
        document = {"inputs": [tensor("INPUT0", datatype, [3], **of_size(6))], "outputs": top(1)}
        yield binary(f"classification of {datatype}", f"identity_{datatype.lower()}", document, three(datatype))


def compression() -> Iterator[Case]:
    """Content-Encoding and Accept-Encoding."""
    body = encoded(sums())
    packed = {"gzip": gzip.compress(body, mtime=0), "deflate": zlib.compress(body)}
    bare = zlib.compressobj(wbits=-15)
    bare_deflate = bare.compress(body) + bare.flush()
    for name, encoding, content in (
        ("gzip", "gzip", packed["gzip"]),
        ("deflate", "deflate", packed["deflate"]),
        ("deflate, gzip inside", "deflate", packed["gzip"]),
        ("gzip, zlib inside", "gzip", packed["deflate"]),
        ("deflate without zlib's frame", "deflate", bare_deflate),
        ("identity", "identity", body),
        ("empty", "", body),
        ("capitals", "GZIP", packed["gzip"]),
        ("br", "br", body),
        ("a list", "gzip, deflate", packed["gzip"]),
        ("gzip that is not", "gzip", body),
        ("gzip cut off", "gzip", packed["gzip"][:-10]),
        ("gzip twice", "gzip", packed["gzip"] + packed["gzip"]),
        ("gzip of nothing", "gzip", b""),
    ):
        yield infer(f"compressed {name}", "simple", content, headers=(("Content-Encoding", encoding),))
    head = encoded({"inputs": BINARY_INPUTS, "parameters": {"binary_data_output": True}})
    whole = gzip.compress(head + INT32_ROW + INT32_ONES, mtime=0)
    yield infer(
        "compressed binary",
        "simple",
        whole,
        headers=(("Content-Encoding", "gzip"), (HEADER_LENGTH, str(len(head)))),
    )
    yield infer(
        "compressed raw",
        "variable",
        gzip.compress(struct.pack("<3f", 1, 2, 3), mtime=0),
        headers=(("Content-Encoding", "gzip"), (HEADER_LENGTH, "0")),
    )
    for accept in (
        "gzip",
        "deflate",
        "identity",
        "",
        "*",
        "br",
        "GZIP",
        "gzip, deflate",
        "deflate, gzip",
        "gzip;q=0",
        "gzip;q=0.5, deflate;q=0.8",
        "gzip;q=0.5,identity;q=0.6",
        "gzip; q=0.5",
        "gzip;q=x",
        "br, gzip",
    ):
        yield infer(f"accepting {accept or 'nothing'}", "simple", body, headers=(("Accept-Encoding", accept),))
    yield infer(
        "accepting gzip, binary",
        "simple",
        sums(parameters={"binary_data_output": True}),
        headers=(("Accept-Encoding", "gzip"),),
    )
    yield infer("accepting gzip, an error", "simple", "{}", headers=(("Accept-Encoding", "gzip"),))
    yield Case("compressed/metadata, accepting gzip", "GET", "/v2", (("Accept-Encoding", "gzip"),))
    index = (("Content-Encoding", "gzip"),)
    yield Case("compressed/index", "POST", "/v2/repository/index", index, gzip.compress(b'{"ready":true}', mtime=0))


def messages() -> Iterator[Case]:
    """How the request arrives, whatever it says."""
    path, body = "/v2/models/simple/infer", encoded(sums())
    yield Case("message/chunked", "POST", path, (), body, chunked=True)
    head = encoded({"inputs": BINARY_INPUTS})
    lengths = ((HEADER_LENGTH, str(len(head))),)
    yield Case("message/chunked, binary", "POST", path, lengths, head + INT32_ROW + INT32_ONES, chunked=True)
    yield Case("message/no length and no body", "POST", path, content_length=False)
    yield Case("message/text content type", "POST", path, (("Content-Type", "text/plain"),), body)
    yield Case("message/expect", "POST", path, (("Expect", "100-continue"),), body)
    yield Case("message/a GET with a body", "GET", "/v2/health/live", (), b"hello")


def versions_and_models() -> Iterator[Case]:
    """Infer by version, and models that cannot answer."""
    good = one("FP32", [2], [1, 2])
    for version in ("", "1", "2", "3", "4", "02", "0", "abc", "-1", "99999999999999999999"):
        yield infer(f"version {version or 'left out'}", "versions", good, version=version)
    for model in ("unknown", "broken", "invalid"):
        for version in ("", "1", "5"):
            yield infer(f"{model} model, version {version or 'left out'}", model, good, version=version)
    yield infer("unknown model, bad JSON", "unknown", "{")
    yield infer("unknown model, bad header length", "unknown", good, headers=((HEADER_LENGTH, "-1"),))


def later_extensions() -> Iterator[Case]:
    """Routes of the extensions that other issues bring: answers are kept so that they can be held to them."""
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        yield Case(f"shm/{kind} status", "GET", f"/v2/{kind}/status")
        yield Case(f"shm/{kind} status of one", "GET", f"/v2/{kind}/region/r/status")
        yield Case(f"shm/{kind} status by POST", "POST", f"/v2/{kind}/status")
        yield Case(f"shm/{kind} register nothing", "POST", f"/v2/{kind}/region/r/register", (), b"{}")
        yield Case(f"shm/{kind} register without a name", "POST", f"/v2/{kind}/register", (), b"{}")
        yield Case(f"shm/{kind} unregister", "POST", f"/v2/{kind}/region/r/unregister")
        yield Case(f"shm/{kind} unregister all", "POST", f"/v2/{kind}/unregister")
        yield Case(f"shm/{kind} other", "GET", f"/v2/{kind}/other")
    system, cuda = ("/v2/systemsharedmemory/region/r/register", "/v2/cudasharedmemory/region/r/register")
    for name, document in (
        ("no byte_size", {"key": "/none"}),
        ("a number for a key", {"key": 1, "byte_size": 4}),
        ("text for a size", {"key": "/none", "byte_size": "4"}),
        ("a negative size", {"key": "/none", "byte_size": -4}),
        ("text for an offset", {"key": "/none", "byte_size": 4, "offset": "0"}),
        ("no such segment", {"key": "/none", "byte_size": 4}),
        ("a path", {"key": "/../etc/hostname", "byte_size": 4}),
        ("an array", []),
        ("not JSON", b"{"),
        ("an empty body", b""),
    ):
        yield Case(f"shm/system, {name}", "POST", system, (), encoded(document))
    handle = {"b64": base64.b64encode(bytes(64)).decode()}
    for name, document in (
        ("no device_id", {"raw_handle": handle, "byte_size": 4}),
        ("no byte_size", {"raw_handle": handle, "device_id": 0}),
        ("text for a handle", {"raw_handle": "x", "device_id": 0, "byte_size": 4}),
        ("an empty handle", {"raw_handle": {}, "device_id": 0, "byte_size": 4}),
        ("a short handle", {"raw_handle": {"b64": "QUFB"}, "device_id": 0, "byte_size": 4}),
    ):
        yield Case(f"shm/cuda, {name}", "POST", cuda, (), encoded(document))
    yield Case("trace/settings", "GET", "/v2/trace/setting")
    yield Case("trace/settings of a model", "GET", "/v2/models/simple/trace/setting")
    yield Case("trace/settings of an unknown model", "GET", "/v2/models/unknown/trace/setting")
    yield Case("trace/unknown key", "POST", "/v2/trace/setting", (), b'{"x":"y"}')
    yield Case("trace/by PUT", "PUT", "/v2/trace/setting")
    yield Case("logging/settings", "GET", "/v2/logging")
    yield Case("logging/unknown key", "POST", "/v2/logging", (), b'{"x":1}')
    yield Case("logging/not JSON", "POST", "/v2/logging", (), b"x")
    yield Case("logging/by PUT", "PUT", "/v2/logging")


def generate(name: str, model: str, body: Any, *, stream: bool = False, headers: Headers = ()) -> Case:
    """Ask `model` to generate."""
    path = f"/v2/models/{model}/generate" + ("_stream" if stream else "")
    return Case(f"generate/{name}", "POST", path, headers, encoded(body))


def generating() -> Iterator[Case]:
    """Flat JSON in and out, and what of it is no tensor."""
    one_value = {"INPUT0": 1.5}
    yield generate("one value", "identity_fp32", b'{"INPUT0":1.5}')
    yield generate("three values", "identity_fp32", b'{"INPUT0":[1,2,3],"id":"seven"}')
    yield generate("no input", "identity_fp32", b"{}")
    yield generate("not JSON", "identity_fp32", b"{")
    yield Case("generate/by GET", "GET", "/v2/models/identity_fp32/generate")
    yield generate("unknown model", "unknown", b'{"INPUT0":1}')
    yield generate("batching model", "variable", b'{"INPUT0":[1,2]}')
    yield generate("stream", "identity_fp32", b'{"INPUT0":1.5}', stream=True)
    yield Case("generate/stream by GET", "GET", "/v2/models/identity_fp32/generate_stream")
    yield from tensors_to_generate_from()
    for text in ("", "[]", '"x"', "1", "null", '{"INPUT0":1}x', '{"INPUT0":1,"INPUT0":2}', '{"":1,"INPUT0":1}'):
        yield generate(f"body {text}", "identity_fp32", text)
    for given in ("7", "null", '""', '"caf\u00e9"'):
        yield generate(f"id {given}", "identity_fp32", b'{"INPUT0":1,"id":%b}' % given.encode())
    for given in ("1", "null", "{}", '{"x":1}', '{"x":null}', '{"parameters":{"y":2}}', '{"id":"z"}', '{"INPUT0":1}'):
        yield generate(f"nested {given}", "identity_fp32", b'{"INPUT0":2,"parameters":%b}' % given.encode())
    for given in ("1", '"x"', "[[1,2],[3]]", "[]"):
        yield generate(f"nested input {given}", "identity_fp32", b'{"parameters":{"INPUT0":%b}}' % given.encode())
    yield generate("nested input of a wrong count", "counted", '{"parameters":{"INPUT0":[1]}}')
    for key in ("sequence_id", "sequence_start", "priority", "timeout", "triton_x", "binary_data_output", "OUTPUT0"):
        for given in ("-1", '"x"', "true", "1.5"):
            yield generate(
                f"parameter {key} {given}", "identity_fp32", b'{"INPUT0":1,"%b":%b}' % (key.encode(), given.encode())
            )
    for given in ("null", "[]", "{}", "1e400", "NaN", "9223372036854775808", "123456789012345678901234567890"):
        yield generate(f"parameter x {given}", "identity_fp32", b'{"INPUT0":1,"x":%b}' % given.encode())
    yield generate("version 2", "versions/versions/2", {"INPUT0": [1, 2]})
    yield generate("version 9", "versions/versions/9", {"INPUT0": [1, 2]})
    yield generate("broken model", "broken", one_value)
    yield generate("unknown model in a coding", "unknown", one_value, headers=(("Content-Encoding", "gzip"),))
    for coding in ("gzip", "deflate", "br", "identity", ""):
        headers = (("Content-Encoding", coding),)
        yield generate(f"coding {coding or 'empty'}", "identity_fp32", one_value, headers=headers)
        yield generate(f"coding {coding or 'empty'}, stream", "identity_fp32", one_value, stream=True, headers=headers)
    for name, value in (
        ("Accept-Encoding", "gzip"),
        (HEADER_LENGTH, "3"),
        (HEADER_LENGTH, "abc"),
        ("endpoint-load-metrics-format", "json"),
        ("endpoint-load-metrics-format", "text"),
    ):
        yield generate(f"{name} {value}", "identity_fp32", one_value, headers=((name, value),))
    for name, body in (("no input", "{}"), ("not JSON", "{"), ("of text", '{"INPUT0":"x"}')):
        yield generate(f"stream, {name}", "identity_fp32", body, stream=True)
    yield generate("stream, unknown model", "unknown", one_value, stream=True)


def tensors_to_generate_from() -> Iterator[Case]:
    """Scalars and lists as inputs, and the shapes that they are given."""
    values = ("1", "2", "-1", "1.5", "true", '"text"', "[1,0]", "[true,false]", '["a","b"]', "300", "[]", "null", "{}")
    for datatype in DATATYPES:
        for value in values:
            model = f"identity_{datatype.lower()}"
            yield generate(f"{datatype} {value}", model, b'{"INPUT0":%b}' % value.encode())
    for value in ("NaN", "[1,NaN,-Infinity]", "1e300", "[[1],[2]]", "[[1,2],[3,4]]", "[[]]", "[[[[[1]]]]]", '[1,"x"]'):
        yield generate(f"FP32 {value}", "identity_fp32", b'{"INPUT0":%b}' % value.encode())
    for value in ('["a",1]', '[["a","b"],["c"]]', '[["a"]]', "[[]]", '""', '"\\ud800"', '"caf\u00e9"'):
        yield generate(f"BYTES {value}", "identity_bytes", b'{"INPUT0":%b}' % value.encode())
    for model, counts in (
        ("matrix", (0, 1, 4, 6)),
        ("counted", (0, 1, 2, 3, 4)),
        ("reshaped", (4, 5, 8)),
        ("scores", (3, 6, 15)),
        ("variable", (0, 1, 3)),
    ):
        for count in counts:
            yield generate(f"{model}, {count} elements", model, {"INPUT0": list(range(count))})
    yield generate("variable, a scalar", "variable", {"INPUT0": 5})
    for value in ('"x"', '["x"]', '["x","y"]', "[]"):
        yield generate(f"line, {value}", "line", b'{"INPUT0":%b}' % value.encode())
    yield generate("simple", "simple", {"INPUT0": ROW, "INPUT1": ONES})
    yield generate("simple, one input", "simple", {"INPUT0": ROW})
    yield generate("simple, two rows", "simple", {"INPUT0": ROW * 2, "INPUT1": ONES * 2})
    yield generate("simple, nine rows", "simple", {"INPUT0": ROW * 9, "INPUT1": ONES * 9})
    yield generate("simple, two rows and one", "simple", {"INPUT0": ROW * 2, "INPUT1": ONES})
    yield generate("simple, no rows", "simple", {"INPUT0": [], "INPUT1": []})
    yield generate("strings", "strings", {"INPUT0": ["a", "b"], "INPUT1": ["c", "d"]})
    yield generate("optional input left out", "optional", {"INPUT0": [1, 2, 3, 4], "INPUT1": [1, 2, 3, 4]})


def all_cases() -> Iterator[Case]:
    """Every case, statistics first: nothing else may have touched its model."""
    for group in (
        statistics,
        routes,
        repository,
        datatypes,
        json_tensors,
        the_document,
        inputs,
        outputs,
        parameters,
        binary_tensors,
        raw_tensors,
        classification,
        compression,
        messages,
        versions_and_models,
        later_extensions,
        generating,
    ):
        yield from group()


CASES: Final = tuple(all_cases())
