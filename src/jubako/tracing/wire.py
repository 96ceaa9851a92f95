"""Trace settings as both protocols write them: names and texts (observability.md 3.1). Pure.

A protocol brings each value as a list of texts, or None to clear it; what else its own form allows is its own concern.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from jubako.errors import InvalidArgument, Unsupported
from jubako.tracing.settings import Level, Update, Values

Texts = Mapping[str, Sequence[str] | None]
UINT32_MAX: Final = 2**32 - 1
INT32_MAX: Final = 2**31 - 1
NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
LEVELS: Final = {level.value: level for level in Level}
OFF: Final = "OFF"
FILE: Final = "trace_file"


def parse_update(texts: Texts) -> Update:
    """Return the update that a client asks for; unknown names are ignored, as Triton ignores them.

    Raises:
        Unsupported: it names the file.
        InvalidArgument: a value that does not fit.
    """
    if FILE in texts:
        raise Unsupported("trace file location can not be updated through network protocol")
    update: dict[str, Any] = {}
    for name, (field, parse) in SETTINGS.items():
        if name not in texts:
            continue
        values = texts[name]
        if values is None:
            update[field] = None
        elif (parsed := parse(name, values)) is not None:
            update[field] = parsed
    return update


def level_texts(values: Values) -> list[str]:
    """Return the level as it is shown."""
    return [level.value for level in Level if level in values.level] or [OFF]


def _level(_: str, texts: Sequence[str]) -> frozenset[Level] | None:
    """Return a level; None where no name in it is known, which changes nothing."""
    if OFF in texts:
        if len(texts) > 1:
            raise InvalidArgument("Expect only one trace level 'OFF' is specified")
        return frozenset()
    return frozenset(LEVELS[text] for text in texts if text in LEVELS) or None


def _unsigned(name: str, texts: Sequence[str]) -> int:
    return _number(name, texts, 0, UINT32_MAX)


def _count(name: str, texts: Sequence[str]) -> int:
    number = _number(name, texts, -INT32_MAX - 1, INT32_MAX, shown_least=-1)
    if number < -1:
        raise InvalidArgument(f"Unable to parse '{name}'. Expecting value >= -1, got:{texts[0]}")
    return number


def _number(name: str, texts: Sequence[str], least: int, most: int, shown_least: int | None = None) -> int:
    """Read a number as C does: blanks before it and anything behind it are ignored."""
    if len(texts) != 1:
        raise InvalidArgument(f"expect only 1 value for '{name}'")
    (text,) = texts
    found = NUMBER.match(text)
    if found is None:
        raise InvalidArgument(f"Unable to parse '{name}', got: {text}")
    number = int(found[1]) if len(found[1]) < 24 else most + 1
    if not least <= number <= most:
        shown = least if shown_least is None else shown_least
        raise InvalidArgument(f"Unable to parse '{name}', value is out of range [ {shown}, {most} ], got: {text}")
    return number


SETTINGS: Final[Mapping[str, tuple[str, Callable[[str, Sequence[str]], Any]]]] = {
    "trace_level": ("level", _level),
    "trace_rate": ("rate", _unsigned),
    "trace_count": ("count", _count),
    "log_frequency": ("log_frequency", _unsigned),
}
"""By the name on the wire: the field of `Values`, and what reads it."""
