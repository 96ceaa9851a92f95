"""What a server may answer to anything at all."""

import json
import re
from pathlib import Path
from typing import Final

DOCUMENTED: Final = re.compile(
    r"(Converting keyword: 'parameters': )?"
    r"(Unable to (parse|set) |Failed to parse 'data' field|failed to parse the request JSON buffer: "
    r"|failed to get request params\.: |attempt to (get|access) |Expected JSON object for keyword: )"
)
"""Errors that are a client's fault, and 500 because they are so in Triton: JSON that is none, or of another type."""
NOT_DONE: Final = (
    "Unsupported compression type",
    "'repository_name' specification is not supported",
    "the server does not support",
    "Client shared memory is disabled.",
    "trace file location can not be updated",
)
BUSY: Final = (
    "explicit model load / unload is not allowed",
    "the server does not support tracing",
    "the server does not support dynamic logging",
    "invalid argument for --log_format",
)
HERE: Final = re.escape(str(Path(__file__).parents[2]))
LEAKS: Final = re.compile(rf"Traceback|File \"|/tmp/|{HERE}|unexpected error|0x[0-9a-f]{{8}}")
REFUSALS: Final = frozenset((400, 404, 405, 408, 413, 415, 431))


def error_of(body: bytes) -> str:
    """Return an error's text, having checked that there is nothing else."""
    document = json.loads(body)
    assert list(document) == ["error"]
    text = document["error"]
    assert isinstance(text, str)
    assert text
    assert not LEAKS.search(text), text
    return text


def check(status: int, body: bytes) -> None:
    """Check an answer of the REST side: good, or a refusal that says why."""
    if status == 200:
        return
    text = error_of(body)
    match status:
        case 500:
            assert DOCUMENTED.match(text), text
        case 501:
            assert text.startswith(NOT_DONE), text
        case 503:
            assert text.startswith(BUSY), text
        case _:
            assert status in REFUSALS, (status, text)
