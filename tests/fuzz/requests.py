"""HTTP requests that are almost right, half right, and not right at all."""

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from strategies import almost_requests, json_values

MODELS = ("simple", "fp32", "int8", "strings", "matrix")
VERBS = ("", "/infer", "/generate", "/generate_stream", "/ready", "/config", "/stats", "/trace/setting")
PATHS = (
    "/v2",
    "/v2/",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/stats",
    "/v2/logging",
    "/v2/trace/setting",
    "/v2/repository/index",
    "/v2/repository/models/simple/load",
    "/v2/repository/models/simple/unload",
    "/v2/repository/other/index",
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/r/register",
    "/v2/systemsharedmemory/unregister",
    "/v2/cudasharedmemory/region/r/register",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE")
CODINGS = ("gzip", "deflate", "identity", "", "br", "gzip, deflate", "deflate;q=0.5,gzip;q=x")


@dataclass(frozen=True)
class Request:
    """A request as a client would write it; its Content-Length is the body's."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def paths() -> st.SearchStrategy[str]:
    """Return paths that are routes mostly, as they stand on the wire."""
    odd = st.text("%/.abcxyz0123456789-_~%2e%00", min_size=1, max_size=12)
    models = st.sampled_from(MODELS) | odd
    versions = st.just("") | (st.sampled_from(["1", "2", "01", "999999999999999999999", "x"]) | odd).map(
        "/versions/{}".format
    )
    of_models = st.builds("/v2/models/{}{}{}".format, models, versions, st.sampled_from(VERBS) | odd)
    of_inference = st.builds("/v2/models/{}{}".format, st.sampled_from(MODELS), st.sampled_from(VERBS[1:4]))
    return of_inference | of_models | st.sampled_from(PATHS) | odd.map("/v2/{}".format)


def header_values() -> st.SearchStrategy[str]:
    """Return text that may stand in a header."""
    return st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)


def headers() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Return the headers that the server reads, and others."""
    lengths = (
        st.integers(-3, 200).map(str) | st.sampled_from(["1e3", "+5", "0x10", "99999999999999999999"]) | header_values()
    )
    one = (
        st.tuples(st.just("inference-header-content-length"), lengths)
        | st.tuples(
            st.sampled_from(["content-encoding", "accept-encoding"]), st.sampled_from(CODINGS) | header_values()
        )
        | st.tuples(st.sampled_from(["content-type", "x-other", "endpoint-load-metrics-format"]), header_values())
    )
    return st.lists(one, max_size=3).map(tuple)


def generate_bodies() -> st.SearchStrategy[Any]:
    """Return documents for `generate`."""
    keys = st.sampled_from(["INPUT0", "INPUT1", "OUTPUT0", "id", "parameters", "x"]) | st.text(max_size=3)
    return st.dictionaries(keys, json_values() | st.dictionaries(keys, json_values(), max_size=3), max_size=4)


def _dumped(document: Any) -> bytes:
    return json.dumps(document).encode()


@st.composite
def binary_requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return the JSON of a binary request of `simple`, and its tensors, a little off perhaps."""
    sizes = [draw(st.just(64) | st.integers(0, 130)) for _ in range(2)]
    inputs = [
        {"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": size}}
        for i, size in enumerate(sizes)
    ]
    outputs = [{"name": "OUTPUT0", "parameters": {"binary_data": draw(st.booleans())}}]
    document = draw(
        st.sampled_from([{"inputs": inputs}, {"inputs": inputs, "outputs": outputs}, {"id": "a", "inputs": inputs}])
    )
    tail = draw(st.just(bytes(128)) | st.binary(max_size=140))
    return _dumped(document), tail


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Return a request."""
    method = draw(st.sampled_from(("POST",) * 8 + METHODS))
    path = draw(paths())
    given = list(draw(headers()))
    kind = draw(st.sampled_from(("json", "json", "generate", "binary", "any", "none")))
    if kind == "binary":
        header, tail = draw(binary_requests())
        given.insert(0, ("inference-header-content-length", str(len(header))))
        body = header + tail
    elif kind == "any":
        body = draw(st.binary(max_size=200))
    else:
        documents = {"json": almost_requests(), "generate": generate_bodies(), "none": st.just({})}[kind]
        body = _dumped(draw(documents)) if kind != "none" else b""
    body = draw(mutations(body)) if draw(st.integers(0, 3)) == 0 else body
    coding = dict(given).get("content-encoding")
    if coding in ("gzip", "deflate") and draw(st.booleans()):
        body = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    return Request(method, path, tuple(given), body)


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """Return `data` with some of it cut out, doubled, or overwritten."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        filling = draw(
            st.binary(max_size=8) | st.sampled_from([b"\r\n", b"\0", b"[" * 600, b"9" * 400, data[start:end] * 2])
        )
        data = data[:start] + filling + data[end:]
    return data
