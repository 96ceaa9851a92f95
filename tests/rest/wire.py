"""HTTP/1.1 by hand over a socket, for what no well-behaved client would send."""

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fakes import PATIENCE_S, Served

HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass
class Answer:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON part of the body."""
        return json.loads(self.body[: int(self.headers.get(HEADER_LENGTH.lower(), len(self.body)))])

    @property
    def error(self) -> str:
        """The message of an error."""
        document = self.json
        assert list(document) == ["error"]
        return str(document["error"])


@dataclass
class Wire:
    """A connection to a server."""

    socket: socket.socket
    buffer: bytearray = field(default_factory=bytearray)

    @classmethod
    def to(cls, served: Served, *, receive_buffer: int = 0) -> "Wire":
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE_S)
        connection.connect((served.host, served.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def reset(self) -> None:
        """Close so that the peer hears of it at once."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self, *, head: bool = False) -> Answer:
        """Read one response; `head` says that the request was a HEAD."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        raw, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        status_line, *lines = raw.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(status_line.split(" ")[1])
        if status == 100:
            return Answer(status, headers, b"")
        assert "transfer-encoding" not in headers
        size = 0 if head else int(headers["content-length"])
        while len(self.buffer) < size:
            self._more()
        body = bytes(self.buffer[:size])
        del self.buffer[:size]
        return Answer(status, headers, body)

    def is_closed_by_peer(self, within_s: float = 3) -> bool:
        """Wait for the end of the connection, less long than idle ones are kept; False if something else comes."""
        self.socket.settimeout(within_s)
        try:
            return not self.buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self.buffer += data


def message(
    method: str, path: str, body: bytes | None = None, *headers: tuple[str, str], version: str = "1.1"
) -> bytes:
    """Return a request; with a body, its Content-Length too."""
    lines = [f"{method} {path} HTTP/{version}", "Host: test"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def chunked(path: str, chunks: Sequence[bytes], *headers: tuple[str, str]) -> bytes:
    """Return a POST with a chunked body."""
    head = message("POST", path, None, ("Transfer-Encoding", "chunked"), *headers)
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def get(path: str, *headers: tuple[str, str]) -> bytes:
    return message("GET", path, None, *headers)


INT32_ROW = struct.pack("<16i", *range(16))


def sums_header(request_id: str = "", **more: Any) -> bytes:
    """Return the JSON of a binary request of `simple`."""
    document = {
        **({"id": request_id} if request_id else {}),
        "inputs": [
            {"name": name, "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}}
            for name in ("INPUT0", "INPUT1")
        ],
        "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}],
        **more,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def sums(value: int, *headers: tuple[str, str], model: str = "simple", version: str = "1.1") -> bytes:
    """Return a binary request whose OUTPUT0 is 16 times `value` + its index."""
    header = sums_header(f"r{value}")
    body = header + INT32_ROW + struct.pack("<16i", *[value] * 16)
    path = f"/v2/models/{model}/infer"
    return message("POST", path, body, (HEADER_LENGTH, str(len(header))), *headers, version=version)


def sum_of(answer: Answer) -> int:
    """Return the `value` of the request that `answer` answers, having checked all of it."""
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/octet-stream"
    numbers = struct.unpack("<16i", answer.body[int(answer.headers[HEADER_LENGTH.lower()]) :])
    assert [number - numbers[0] for number in numbers] == list(range(16))
    assert answer.json["id"] == f"r{numbers[0]}"
    return int(numbers[0])


def document(data: Sequence[Any], datatype: str = "FP32", **more: Any) -> bytes:
    """Return a JSON request of an identity model."""
    tensor = {"name": "INPUT0", "datatype": datatype, "shape": [len(data)], "data": list(data)}
    return json.dumps({"inputs": [tensor], **more}).encode()
