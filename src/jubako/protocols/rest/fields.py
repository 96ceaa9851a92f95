"""Members of JSON objects, with Triton's words for those that are missing or of another type (http.md section 10).

All of these are Internal, which is HTTP 500, because that is what Triton answers.
"""

from typing import Any, TypeVar

from jubako.errors import Internal

T = TypeVar("T")

_WORDS = {
    list: "non-array as array",
    dict: "non-object as object",
    str: "non-string as string",
    bool: "non-boolean as boolean",
}


def required(document: Any, key: str, kind: type[T]) -> T:
    """Return a member that must be there.

    Raises:
        Internal: `document` is no object, has no `key`, or has it with another type.
    """
    if not isinstance(document, dict) or key not in document:
        raise Internal(f"Unable to parse '{key}': attempt to access non-existing object member '{key}'")
    return _typed(document[key], key, kind)


def member(document: Any, key: str, kind: type[T], default: T | None = None) -> T:
    """Return a member that may be there; `default` where it is not.

    Raises:
        Internal: it has another type.
    """
    if isinstance(document, dict) and key in document:
        return _typed(document[key], key, kind)
    assert default is not None
    return default


def _typed(value: Any, key: str, kind: type[T]) -> T:
    if type(value) is not kind:
        raise Internal(f"Unable to parse '{key}': attempt to access JSON {_WORDS[kind]}")
    return value


def object_or_nothing(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a member that is an object; an empty one for anything else, which Triton does not look into either."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def unsigned(document: dict[str, Any], key: str, default: int | None = None, *, doing: str = "parse") -> int:
    """Return a member that is an unsigned 64-bit integer; `doing` is Triton's verb for what failed.

    Raises:
        Internal: it is something else.
    """
    if default is not None and key not in document:
        return default
    value = document[key]
    if type(value) is not int or not 0 <= value < 2**64:
        raise Internal(f"Unable to {doing} '{key}': attempt to access JSON non-unsigned-integer as unsigned-integer")
    return value


def shape_of(entries: list[Any]) -> tuple[int, ...]:
    """Return a shape as clients write it.

    Raises:
        Internal: an entry is no unsigned integer.
    """
    for entry in entries:
        if type(entry) is not int or not 0 <= entry < 2**64:
            raise Internal("Unable to parse 'shape': attempt to access JSON non-unsigned-integer as unsigned-integer")
    return tuple(entries)
