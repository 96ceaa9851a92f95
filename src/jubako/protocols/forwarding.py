"""Headers, or metadata, that become parameters of the request: what the operator's pattern names, as text.

Where a gateway adds a header (who the caller is, say), a client cannot say otherwise in its body: a header wins over a
parameter of the same name. The keys of access rules are never forwarded: a model has no use for them.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from jubako.errors import InvalidArgument
from jubako.request import InferRequest, ParameterValue

Sent = Iterable[tuple[str, str]]
"""Names and values as they came, names in lower case."""
CASE_MATTERS: Final = "(?-i)"
RESERVED: Final = frozenset(
    ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "headers", "binary_data_output")
)


class Forwarding:
    """A pattern, and the names that it never takes. False where nothing is forwarded."""

    def __init__(self, pattern: str = "", withheld: Collection[str] = ()) -> None:
        """Take a pattern that matches anywhere in a name, without regard to case unless it begins with `(?-i)`.

        Raises:
            InvalidArgument: it is no regular expression.
        """
        flags = re.NOFLAG if pattern.startswith(CASE_MATTERS) else re.IGNORECASE
        try:
            self._pattern = re.compile(pattern.removeprefix(CASE_MATTERS), flags) if pattern else None
        except re.error as error:
            raise InvalidArgument(f"'{pattern}' is not a regular expression: {error}") from None
        self._withheld = withheld

    def __bool__(self) -> bool:
        return self._pattern is not None

    def parameters(self, sent: Sent) -> dict[str, ParameterValue]:
        """Return the parameters that headers make; of those with one name, one with their values joined by commas.

        Names are as HTTP/2 and ASGI have them, in lower case.

        Raises:
            InvalidArgument: a name that is matched belongs to the protocol.
        """
        found: dict[str, ParameterValue] = {}
        if self._pattern is None:
            return found
        for name, value in sent:
            if name in self._withheld or not self._pattern.search(name):
                continue
            if name in RESERVED or name.startswith("triton_"):
                raise InvalidArgument(f"Header '{name}' is reserved for Triton usage and cannot be forwarded.")
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    def forward(self, request: InferRequest, sent: Sent) -> None:
        """Add to a request, before it is submitted, what its headers say.

        Raises:
            InvalidArgument: see `parameters`.
        """
        if found := self.parameters(sent):
            signature = request.signature
            request.signature = replace(signature, parameters={**signature.parameters, **found}, reusable=False)


NO_FORWARDING: Final = Forwarding()
