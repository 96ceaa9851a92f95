"""How a line of the log looks, and where it goes. One record is one line, whatever a client has sent."""

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TextIO

from jubako.log_settings import ROOT, LogSettings

CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that end a line, move the cursor, turn the direction of writing, or do not show at all."""
SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
REQUEST_ID: Final = "request_id"
"""The attribute of a record that names the request it is about: `log.error(…, extra={"request_id": …})`."""
OTHERS: Final = ("", "bentoml", "uvicorn.error", "circus")
"""Loggers of this process that have handlers of BentoML's."""


def escaped(text: str) -> str:
    r"""Return `text` with each control character written as `\n`, `\x1b` or `\u2028`."""
    return CONTROL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in SHORT:
        return SHORT[character]
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


class LineFormatter(logging.Formatter):
    """Triton's lines, in the format that the settings name at that moment: `I0102 03:04:05.678901 1234 file.py:56] …`.

    Times are UTC. A traceback is part of its line.
    """

    def __init__(self, settings: LogSettings) -> None:
        super().__init__()
        self._settings = settings

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        when = datetime.fromtimestamp(record.created, UTC)
        letter = "E" if record.levelno >= logging.ERROR else "W" if record.levelno >= logging.WARNING else "I"
        if self._settings.format == "ISO8601":
            head = f"{when:%Y-%m-%dT%H:%M:%SZ} {letter}"
        else:
            head = f"{letter}{when:%m%d %H:%M:%S.%f}"
        return f"{head} {record.process} {record.filename}:{record.lineno}] {escaped(_text(self, record))}"


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, logger, message, and the request's id where the record knows it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end; nothing in it is outside ASCII."""
        when = datetime.fromtimestamp(record.created, UTC)
        document = {
            "time": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _text(self, record),
        }
        if (request_id := getattr(record, REQUEST_ID, None)) is not None:
            document[REQUEST_ID] = str(request_id)
        return json.dumps(document)


def _text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [record.getMessage()]
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


class StandardStreams(logging.Handler):
    """Warnings and errors to the standard error, the rest to the standard output, as the settings allow."""

    def __init__(self, settings: LogSettings) -> None:
        super().__init__()
        self.addFilter(lambda record: settings.allows(record.levelno))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line."""
        try:
            stream: TextIO = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
            stream.write(self.format(record) + "\n")
            stream.flush()
        except Exception:
            self.handleError(record)


def install(settings: LogSettings, *, as_json: bool) -> None:
    """Log what `settings` allow, in lines of our own; with `as_json` BentoML's and uvicorn's lines are JSON too."""
    formatter = JsonFormatter() if as_json else LineFormatter(settings)
    handler = StandardStreams(settings)
    handler.setFormatter(formatter)
    ours = logging.getLogger(ROOT)
    ours.handlers = [handler]
    ours.propagate = False
    settings.apply()
    if as_json:
        for other in _handlers(OTHERS):
            other.setFormatter(formatter)


def _handlers(names: Iterable[str]) -> Iterable[logging.Handler]:
    for name in names:
        yield from logging.getLogger(name).handlers
