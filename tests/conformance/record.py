"""Ask a server every case and keep its answers as data.

From the root of the project, against a server that serves the models of `models.py`:

    python -m tests.conformance.record http://127.0.0.1:18000 tests/conformance/golden.json

`golden.json` came from the real Triton 2.51 (CPU build, Python backend, `--exit-on-error=false`
`--disable-auto-complete-config`). The order of the cases is part of the question: start from a fresh server.
"""

import base64
import http.client
import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .cases import CASES, HEADER_LENGTH, Case

Answer = dict[str, Any]
KEPT_HEADERS: Final = (HEADER_LENGTH, "Content-Encoding", "Accept-Encoding")
TIMEOUT_S: Final = 10


def ask(host: str, port: int, case: Case) -> Answer:
    """Send `case` on a connection of its own and return what came back, as `golden.json` keeps it.

    A server that closes the connection, or says nothing for ten seconds, answers `{"status": None}`.
    """
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        send(connection, case)
        response = connection.getresponse()
        return described(response.status, dict(response.getheaders()), response.read())
    except (OSError, http.client.HTTPException):
        return {"status": None}
    finally:
        connection.close()


def send(connection: http.client.HTTPConnection, case: Case) -> None:
    """Send the request exactly as the case says: no header of the library's own but Host."""
    connection.putrequest(case.method, case.path, skip_accept_encoding=True)
    for name, value in case.headers:
        connection.putheader(name, value)
    if case.chunked:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(in_two(case.body), encode_chunked=True)
        return
    if case.content_length and (case.body or case.method not in ("GET", "HEAD")):
        connection.putheader("Content-Length", str(len(case.body)))
    connection.endheaders(case.body)


def in_two(body: bytes) -> list[bytes]:
    """Return the body in two parts, cut in the middle."""
    return [body[: len(body) // 2], body[len(body) // 2 :]]


def described(status: int, headers: dict[str, str], body: bytes) -> Answer:
    """Return an answer as data: its JSON parsed where it is JSON, its other bytes in base64."""
    given = {name.lower(): value for name, value in headers.items()}
    answer: Answer = {"status": status, "content_type": given.get("content-type")}
    kept = {name: given[name.lower()] for name in KEPT_HEADERS if name.lower() in given}
    if kept.get("Content-Encoding") in ("gzip", "deflate"):
        body = zlib.decompress(body, wbits=47)
    if HEADER_LENGTH in kept:
        length = int(kept.pop(HEADER_LENGTH))
        answer["binary"] = base64.b64encode(body[length:]).decode()
        body = body[:length]
    if kept:
        answer["headers"] = kept
    try:
        answer["json"] = settled(json.loads(body))
    except ValueError:
        answer["body"] = base64.b64encode(body).decode()
    return answer


def settled(document: Any) -> Any:
    """Return `document` without what no two runs share: durations and times are 0, a reason is its first line."""
    if isinstance(document, list):
        return [settled(item) for item in document]
    if not isinstance(document, dict):
        return document
    fixed = {"ns": 0, "last_inference": 0}
    return {
        key: fixed[key] if key in fixed else value.splitlines()[0] if key == "reason" else settled(value)
        for key, value in document.items()
    }


def record(url: str) -> dict[str, Answer]:
    """Ask the server at `url` every case, in order, one at a time."""
    parts = urlsplit(url)
    assert parts.hostname
    return {case.name: ask(parts.hostname, parts.port or 80, case) for case in CASES}


def main(arguments: Sequence[str]) -> None:
    """Write the answers of the server at the first argument to the file named by the second."""
    url, file = arguments
    lines = (f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in record(url).items())
    Path(file).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
