"""`bentoml serve` as a child in the foreground, made to look from outside like `tritonserver`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, TextIO

from jubako.bundle.orphans import end_with_parent
from jubako.bundle.reports import REPORT_FD, ModelRow, Report
from jubako.bundle.stopping import EXPIRED

FAILED: Final = "error: creating server: Internal - failed to load all models"
DIED: Final = "error: creating server: Internal - the server's process ended before its models were loaded"
FORWARDED: Final = (signal.SIGINT, signal.SIGTERM)


def table(rows: Sequence[ModelRow]) -> str:
    """Return the models as Triton draws them."""
    cells = [("Model", "Version", "Status"), *((row.name, row.version, row.status) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


@dataclass(slots=True)
class Progress:
    """How far the server has come, told by its reports; `lines` are what to print for the last one."""

    listening_at: str
    starting: bool = False
    loaded: bool = False
    failed: bool = False
    expired: bool = False
    signalled: bool = False
    lines: list[str] = field(default_factory=list)

    def take(self, report: Report) -> bool:
        """Take one report in; True if the server has to be stopped now."""
        self.lines = []
        match report.event:
            case "starting":
                if self.starting and not self.loaded:  # the first worker died, and circus has started another
                    self.failed = True
                    self.lines = [DIED]
                    return True
                self.starting = True
            case "loaded" if not self.loaded and not self.failed:
                self.failed = report.failed
                self.loaded = not report.failed
                self.lines = [table(report.models), *([FAILED] if report.failed else self._started(report))]
                return report.failed
            case "failed":
                self.failed = True
                self.lines = [report.reason]
                return True
            case "exit timeout":
                self.expired = True
                self.lines = [EXPIRED]
        return False

    def _started(self, report: Report) -> Iterable[str]:
        """Yield the lines that scripts wait for, in Triton's order."""
        if report.grpc_at:
            yield f"Started GRPCInferenceService at {report.grpc_at}"
        yield f"Started HTTPService at {self.listening_at}"

    def exit_status(self, of_child: int) -> int:
        """Return the exit status that Triton would have."""
        if self.failed or self.expired:
            return 1
        if self.signalled:
            return 0
        return 0 if self.loaded and of_child == 0 else 1


def run(command: Sequence[str], environ: Mapping[str, str], listening_at: str, out: TextIO = sys.stderr) -> int:
    """Run the server until it ends, passing signals on to it, and return the exit status.

    The child has a session of its own: a terminal's Ctrl-C comes to us alone, and reaches it once.
    """
    progress = Progress(listening_at)
    read_end, write_end = os.pipe()
    child = subprocess.Popen(
        command,
        env={**environ, REPORT_FD: str(write_end)},
        pass_fds=(write_end,),
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    os.close(write_end)

    def forward(number: int, _: FrameType | None) -> None:
        progress.signalled = True
        child.send_signal(number)

    for number in FORWARDED:
        signal.signal(number, forward)
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        _follow(pipe, progress, child, out)
    status = progress.exit_status(child.wait())
    if status and not progress.lines:
        print(f"error: the server ended with status {child.returncode}", file=out, flush=True)
    return status


def _follow(lines: Iterable[str], progress: Progress, child: subprocess.Popen[bytes], out: TextIO) -> None:
    """Print what the reports say until nobody is left to send one."""
    for line in lines:
        if progress.take(Report.loads(line)):
            child.terminate()
        for text in progress.lines:
            print(text, file=out, flush=True)
