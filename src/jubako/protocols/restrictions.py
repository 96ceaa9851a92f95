"""Access rules as they are written: `<api>[,<api>…]:<key>=<secret>`.

The secret stands there itself, as in Triton, or is named: `@/run/secrets/key` is the content of a file, `$NAME` an
environment variable. Reading what is written and fetching the secret are two steps, because a Bento may be built where
its secrets are not.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from jubako.errors import InvalidArgument
from jubako.protocols.access import AccessRules, Group, Key

FILE: Final = "@"
VARIABLE: Final = "$"
HIDDEN: Final = "***"
KEY_OF_HTTP: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
KEY_OF_GRPC: Final = re.compile(r"[0-9A-Za-z_.-]+(?<!-bin)")
"""What may follow `triton-grpc-protocol-`: a key that ends in -bin would have a value that is no text."""
SECRET: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
"""What a header's value, or a metadata value, can be in ASCII."""


class Dialect(Enum):
    """Whose option it is, and which word Triton has for a category there."""

    HTTP = ("http-restricted-api", "api", KEY_OF_HTTP)
    GRPC = ("grpc-restricted-protocol", "protocol", KEY_OF_GRPC)
    BOTH = ("restricted-api", "api", KEY_OF_GRPC)

    def __init__(self, option: str, noun: str, key: re.Pattern[str]) -> None:
        self.option = option
        self.noun = noun
        self.key = key


@dataclass(frozen=True, slots=True)
class Restriction:
    """One entry: categories, the name of their key, and its secret or where that is."""

    option: str
    groups: tuple[Group, ...]
    key: str
    written: str = field(repr=False)
    """The secret, or `@` or `$` and where it is."""

    @property
    def literal(self) -> bool:
        """The secret itself is written down."""
        return not self.written.startswith((FILE, VARIABLE))

    def __str__(self) -> str:
        return f"{','.join(self.groups)}:{self.key}={HIDDEN if self.literal else self.written}"


def parse(entry: str, dialect: Dialect) -> Restriction:
    """Return what an entry says. No message has a secret in it.

    Raises:
        InvalidArgument: it has another form, an unknown category, or a key that no client could send.
    """
    apis, _, setting = entry.partition(":")
    key, _, written = setting.partition("=")
    if not (apis and key and written):
        noun = dialect.noun
        raise InvalidArgument(f"--{dialect.option} option format is '<{noun}>[,<{noun}>...]:<key>=<value>'")
    if not dialect.key.fullmatch(key):
        raise InvalidArgument(f"--{dialect.option}: no client can send a key named {key!a}")
    groups = tuple(_group(name, dialect) for name in apis.split(","))
    restriction = Restriction(dialect.option, groups, key, written)
    if restriction.literal:
        _checked(written, restriction)
    elif len(written) == 1 or (written.startswith(FILE) and not Path(written[1:]).is_absolute()):
        raise InvalidArgument(f"--{dialect.option}: a secret is '@' and an absolute path, or '$' and a variable's name")
    return restriction


def _group(name: str, dialect: Dialect) -> Group:
    try:
        return Group(name)
    except ValueError:
        raise InvalidArgument(f"unknown restricted {dialect.noun} '{name}' ") from None


def parse_all(entries: Mapping[Dialect, Iterable[str]]) -> list[Restriction]:
    """Return what all entries of one protocol say.

    Raises:
        InvalidArgument: see `parse`; or a category stands in two places.
    """
    restrictions: list[Restriction] = []
    seen: set[Group] = set()
    for dialect, texts in entries.items():
        for text in texts:
            restriction = parse(text, dialect)
            for group in restriction.groups:
                if group in seen:
                    raise InvalidArgument(
                        f"restricted {dialect.noun} '{group}' can not be specified in multiple config groups"
                    )
                seen.add(group)
            restrictions.append(restriction)
    return restrictions


def rules_of(restrictions: Iterable[Restriction], environ: Mapping[str, str]) -> AccessRules:
    """Return the rules with their secrets, read from where they are.

    Raises:
        InvalidArgument: a secret is not there, or could not be sent.
    """
    keys: dict[Group, Key] = {}
    for restriction in restrictions:
        key = Key(restriction.key, _checked(_secret(restriction, environ), restriction).encode())
        keys.update(dict.fromkeys(restriction.groups, key))
    return AccessRules(keys)


def _secret(restriction: Restriction, environ: Mapping[str, str]) -> str:
    written, where = restriction.written, restriction.written[1:]
    if written.startswith(VARIABLE):
        if not environ.get(where):
            raise InvalidArgument(f"--{restriction.option}: the environment variable {where} is not set")
        return environ[where]
    if written.startswith(FILE):
        try:
            return Path(where).read_bytes().decode("ascii", "replace").rstrip("\r\n")
        except OSError as error:
            raise InvalidArgument(f"--{restriction.option}: cannot read '{where}': {error.strerror}") from None
    return written


def _checked(secret: str, restriction: Restriction) -> str:
    if not SECRET.fullmatch(secret):
        raise InvalidArgument(
            f"--{restriction.option}: the secret of '{restriction.key}' is empty, or not printable ASCII without "
            "blanks around it: no client could send it"
        )
    return secret
