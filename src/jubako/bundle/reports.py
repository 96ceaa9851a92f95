"""What a worker tells the process that started everything: `jubako serve`, at the other end of a pipe.

One JSON object a line. Without a pipe nothing is said.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from jubako.bundle.arguments import INTERNAL_PREFIX

REPORT_FD: Final = f"{INTERNAL_PREFIX}REPORT_FD"
"""The variable with the number of the inherited file descriptor to write to."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row of the model table."""

    name: str
    version: str
    status: str


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened in a worker."""

    event: Literal["starting", "loaded", "failed", "exit timeout"]
    models: Sequence[ModelRow] = ()
    failed: bool = False
    """With `loaded`: a model could not be loaded, and that ends the start."""
    reason: str = ""
    """With `failed`: why the start ends before anything is loaded."""
    grpc_at: str = ""
    """With `loaded`: where gRPC listens, if it does."""

    def dumps(self) -> str:
        """The report as one line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def loads(cls, line: str) -> "Report":
        """Return the report in `line`.

        Raises:
            ValueError: it is none.
        """
        try:
            fields = json.loads(line)
            fields["models"] = tuple(ModelRow(**row) for row in fields["models"])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError("not a report") from error


def send(report: Report, environ: Mapping[str, str]) -> None:
    """Write `report` to the pipe, if there is one; a reader that has gone is none."""
    descriptor = environ.get(REPORT_FD)
    if descriptor is None:
        return
    remaining = report.dumps().encode()
    try:
        while remaining:
            remaining = remaining[os.write(int(descriptor), remaining) :]
    except OSError:
        return
