"""A command line in `tritonserver`'s own syntax, which is getopt's: `--name=value` or `--name value`, repeatable.

Pure: words in, options out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from jubako.bundle.options import ALIASES, OPTIONS, Fate, Kind, Option

TRUE: Final = frozenset({"true", "on", "1"})
FALSE: Final = frozenset({"false", "off", "0"})
HELP: Final = frozenset({"--help", "-h", "-?"})
INT_BOUNDS: Final = (-(2**63), 2**63 - 1)
N = TypeVar("N", int, float)
Value = str | int | float | bool | list[str]


class UsageError(Exception):
    """The command line is wrong; the text says how, in Triton's words where it has any."""


@dataclass(slots=True)
class Given:
    """What a command line says: options by Triton's name, in the order in which they came first."""

    options: dict[str, Value] = field(default_factory=dict)
    help: bool = False


def parse(words: Sequence[str]) -> Given:
    """Return what `words` say.

    Raises:
        UsageError: an unknown option, a value that is missing, not wanted, or of the wrong kind, or a word that is
            no option.
    """
    given = Given()
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if word in HELP:
            given.help = True
            return given
        if not word.startswith("--") or word == "--":
            raise UsageError(f"Unexpected argument: {word}")
        spelled, equals, text = word[2:].partition("=")
        option = OPTIONS.get(ALIASES.get(spelled, spelled))
        if option is None:
            raise UsageError(f"unrecognized option '--{spelled}'")
        _add(given.options, option, _value(option, spelled, text if equals else None, rest))
    return given


def _value(option: Option, spelled: str, text: str | None, rest: list[str]) -> Value:
    if option.kind is Kind.FLAG:
        if text is not None:
            raise UsageError(f"option '--{spelled}' doesn't allow an argument")
        return True
    if text is None:
        if not rest:
            raise UsageError(f"option '--{spelled}' requires an argument")
        text = rest.pop()
    try:
        return _converted(option.kind, text)
    except ValueError as error:
        raise UsageError(f'Bad option: "--{spelled}".\n{error}') from None


def _converted(kind: Kind, text: str) -> Value:
    match kind:
        case Kind.BOOLEAN:
            if text.lower() in TRUE | FALSE:
                return text.lower() in TRUE
            raise ValueError(f"invalid value for bool option: {text}")
        case Kind.INTEGER:
            number = _number(int, text)
            if not INT_BOUNDS[0] <= number <= INT_BOUNDS[1]:
                raise ValueError(f"Provided option value is out of bound. Got {text}")
            return number
        case Kind.FLOAT:
            return _number(float, text)
        case _:
            return text


def _number(convert: Callable[[str], N], text: str) -> N:
    try:
        return convert(text)
    except ValueError:
        raise ValueError(f"Invalid option value. Got {text}") from None


def _add(options: dict[str, Value], option: Option, value: Value) -> None:
    if option.repeatable:
        values = options.setdefault(option.name, [])
        assert isinstance(values, list)
        values.append(str(value))
    else:
        options[option.name] = value


def arguments_of(options: Mapping[str, Value]) -> dict[str, Value]:
    """Return the options that the service is to hear of, by its own names: all but where to listen."""
    return {OPTIONS[name].argument: value for name, value in options.items() if OPTIONS[name].fate is not Fate.ADDRESS}


def usage() -> str:
    """Return the text of `--help`."""
    return "\n".join(_usage_lines()) + "\n"


def _usage_lines() -> Iterable[str]:
    yield "Usage: jubako serve [options]"
    yield ""
    yield "Serves model repositories over the v2 protocol. The options are tritonserver's own."
    yield ""
    for option in OPTIONS.values():
        if option.fate in {Fate.ARGUMENT, Fate.ADDRESS}:
            value = "" if option.kind is Kind.FLAG else f" <{option.kind.value}>"
            yield f"  --{option.name}{value}"
            yield f"\t{option.help}"
    yield ""
    yield "Known, and ignored with a warning:"
    yield from _wrapped(option.name for option in OPTIONS.values() if option.fate is Fate.IGNORED)
    yield "Known, and refused:"
    yield from _wrapped(option.name for option in OPTIONS.values() if option.fate is Fate.REFUSED)


def _wrapped(names: Iterable[str]) -> Iterable[str]:
    line = " "
    for name in names:
        if len(line) + len(name) > 110:
            yield line
            line = " "
        line += f" --{name}"
    yield line
