"""Any bytes at all, to a listening server: it answers or closes, and serves the next client."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import LANES, Served, identity, serving, simple
from hypothesis import given
from hypothesis import strategies as st

from jubako.protocols.rest.limits import Limits

from .budget import PATIENCE_S, explore
from .requests import Request, mutations, requests
from .verdict import check

LAST = b"GET /v2/health/live HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
QUIET_S = 0.1
LIMITS = Limits(max_input_size=1 << 20, max_body_size=1 << 21)


def written(request: Request) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{request.method} {request.path} HTTP/1.1", "host: t", f"content-length: {len(request.body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Return what a client sends, in pieces: requests one behind the other, some of them damaged."""
    sent = []
    for _ in range(draw(st.integers(1, 3))):
        whole = written(draw(requests()))
        damaged = draw(mutations(whole)) if draw(st.booleans()) else whole
        at = draw(st.integers(0, len(damaged)))
        sent += [damaged[:at], damaged[at:]]
    return draw(st.just(sent) | st.lists(st.binary(max_size=100), max_size=3))


def exchanged(served: Served, pieces: list[bytes]) -> bytes:
    """Send `pieces` and a good last request; return all that comes until the server closes.

    Raises:
        TimeoutError: it does not close, though nothing more is sent.
    """
    received = bytearray()
    with socket.create_connection((served.host, served.port), PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in [*pieces, LAST]:
                connection.sendall(piece)
            connection.settimeout(QUIET_S)
            try:
                while data := connection.recv(1 << 16):
                    received += data
                return bytes(received)
            except TimeoutError:  # it waits for more of a body that will not come
                connection.settimeout(PATIENCE_S)
                connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(1 << 16):
                received += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    return bytes(received)


ANSWER = re.compile(
    rb"HTTP/1\.1 (?P<status>[0-9]{3}) [^\r]*\r\n(?P<head>.*?)\r\n\r\n(?P<body>.*?)(?=HTTP/1\.1 [0-9]{3} |\Z)", re.DOTALL
)


def answers(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut what came into statuses and JSON bodies; the body of an answer to a HEAD, or of one cut short, is empty."""
    assert not received or received.startswith(b"HTTP/1.1 ")
    for found in ANSWER.finditer(received):
        head = found["head"].lower()
        length = re.search(rb"content-length: ([0-9]+)", head)
        whole = length is not None and int(length[1]) == len(found["body"])
        yield int(found["status"]), found["body"] if whole and b"application/json" in head else b""


@pytest.mark.parametrize("lane", LANES)
def test_any_bytes_are_answered_or_the_connection_ends(tmp_path: Path, lane: str) -> None:
    models = {
        "simple": simple(),
        "fp32": identity("FP32"),
        "int8": identity("INT8"),
        "strings": identity("STRING"),
        "matrix": identity("FP64", dims="[ -1, -1 ]"),
    }
    with serving(lane, tmp_path, models, limits=LIMITS) as served:

        @given(conversations())
        def ends(pieces: list[bytes]) -> None:
            for status, body in answers(exchanged(served, pieces)):
                if body:
                    check(status, body)

        explore(ends, examples=25, share=0.15)
        assert exchanged(served, [written(Request("GET", "/v2/health/ready", (), b""))]).count(b"200 OK") == 2
