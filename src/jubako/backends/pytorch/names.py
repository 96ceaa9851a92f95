"""Which argument and which result of `forward` a configured tensor is: TorchScript has no names for them. Pure."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Final

from jubako.errors import InvalidArgument

log = logging.getLogger("jubako.backends.pytorch")

INDEXED: Final = re.compile(r".*?__(\d+)", re.ASCII | re.DOTALL)


def input_positions(model: str, names: Sequence[str], arguments: Sequence[str]) -> Mapping[str, int]:
    """Return the position among `forward`'s `arguments` of each configured input.

    By argument name if all have one; else by the number after `__` if all have one; else in configuration order.

    Raises:
        InvalidArgument: two inputs would take one position, or one takes a position that there is not.
    """
    if set(names) <= set(arguments):
        positions = [arguments.index(name) for name in names]
    else:
        positions = _indices(names) or _in_order(model, "input", names)
    if sorted(positions) != list(range(len(names))):
        raise InvalidArgument(
            f"unable to load model '{model}', inputs {_quoted(names)} are at positions {positions} of forward, "
            f"expected each of 0 to {len(names) - 1} once"
        )
    return dict(zip(names, positions, strict=True))


def output_positions(model: str, names: Sequence[str]) -> Mapping[str, int]:
    """Return the position among `forward`'s results of each configured output: by `__<number>`, else in order."""
    positions = _indices(names) or _in_order(model, "output", names)
    return dict(zip(names, positions, strict=True))


def _indices(names: Sequence[str]) -> list[int]:
    """Return the number behind the first `__` of each name, or nothing if one has none."""
    found = [INDEXED.fullmatch(name) for name in names]
    return [int(match[1]) for match in found if match] if all(found) else []


def _in_order(model: str, kind: str, names: Sequence[str]) -> list[int]:
    if kind == "input" and len(names) > 1:
        log.warning(
            "inputs %s of model '%s' are neither all arguments of forward nor do they all follow the <name>__<index> "
            "naming convention: the order of the model configuration is used",
            _quoted(names),
            model,
        )
    return list(range(len(names)))


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
