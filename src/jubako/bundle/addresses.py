"""Where HTTP listens, for what listens beside it.

BentoML opens the socket in the supervisor and gives the worker a number of it; the address stands in the supervisor's
command line only.
"""

from collections.abc import Mapping, MutableMapping
from typing import Final

import click

from jubako.bundle.arguments import INTERNAL_PREFIX

HTTP_ADDRESS: Final = f"{INTERNAL_PREFIX}HTTP_ADDRESS"
ANY_ADDRESS: Final = "0.0.0.0"
"""BentoML's default, and Triton's."""


def tell_address(environ: MutableMapping[str, str]) -> None:
    """Have the workers know where `bentoml serve` was told to listen. Called in the supervisor."""
    context = click.get_current_context(silent=True)
    host = context.params.get("host") if context is not None else None
    if host:
        environ[HTTP_ADDRESS] = str(host)


def http_address(environ: Mapping[str, str]) -> str:
    """Return the address that HTTP listens at."""
    return environ.get(HTTP_ADDRESS, ANY_ADDRESS)
