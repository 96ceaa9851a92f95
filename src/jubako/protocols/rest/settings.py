"""Trace and log settings as JSON (observability.md 3.1, 4). Wrong JSON types are Internal, as in Triton."""

from typing import Any, Final

from jubako.errors import Internal, InvalidArgument, Unavailable
from jubako.log_settings import FILE, FORMAT, NAMES, SWITCHES, VERBOSE_LEVEL, LogSettings
from jubako.tracing.wire import FILE as TRACE_FILE
from jubako.tracing.wire import SETTINGS, Texts

LEVEL: Final = "trace_level"


def trace_texts(document: Any) -> Texts:
    """Return what a document says of trace settings; one that is no object says nothing.

    Raises:
        Internal: a value is of another type.
    """
    if not isinstance(document, dict):
        return {}
    if TRACE_FILE in document:  # said before anything else is looked at
        return {TRACE_FILE: None}
    texts: dict[str, list[str] | None] = {}
    for name in SETTINGS:
        if name not in document:
            continue
        value = document[name]
        if value is None:
            texts[name] = None
        elif name != LEVEL:
            texts[name] = [_text(value)]
        elif not isinstance(value, list):
            raise Internal("attempt to access JSON non-array as array")
        elif value:  # an empty list changes nothing
            texts[name] = [_text(level) for level in value]
    return texts


def change_logs(settings: LogSettings, document: Any) -> None:
    """Change what a document says; what stands before a mistake holds.

    Raises:
        Unsupported: it names the file.
        Unavailable: there is no such format; this is Triton's status here.
        Internal: a value is of another type.
    """
    if not isinstance(document, dict):
        return
    for name in NAMES:
        value = document.get(name)
        if value is not None:
            try:
                settings.set(name, _typed(name, value))
            except InvalidArgument as error:
                raise Unavailable(f"invalid argument for --log_format, got: {value}") from error


def _typed(name: str, value: Any) -> Any:
    if name == FILE:
        return value
    if name in SWITCHES and not isinstance(value, bool):
        raise Internal("attempt to access JSON non-boolean as boolean")
    if name == VERBOSE_LEVEL and (type(value) is not int or value < 0):
        raise Internal("attempt to access JSON non-unsigned-integer as unsigned-integer")
    return _text(value) if name == FORMAT else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Internal("attempt to access JSON non-string as string")
    return value
