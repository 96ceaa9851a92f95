"""Traces in Triton's own files (observability.md 3.3): which of them make a file, and the writing of it."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from jubako.tracing.entries import written
from jubako.tracing.settings import TraceSetting
from jubako.tracing.trace import Trace

log = logging.getLogger("jubako.tracing")

MAX_HELD: Final = 1024
MAX_HELD_BYTES: Final = 4 << 20
"""Traces that wait for the rest of their file go to the disk when there are this many, or this long."""


class _Held:
    """Traces of one setting that wait for their file to be full."""

    __slots__ = ("size", "traces")

    def __init__(self) -> None:
        self.traces: list[str] = []
        self.size = 0

    def add(self, trace: str) -> None:
        self.traces.append(trace)
        self.size += len(trace)

    @property
    def too_much(self) -> bool:
        return len(self.traces) >= MAX_HELD or self.size > MAX_HELD_BYTES


class TraceFile:
    """The files of a server: `<file>`, and `<file>.<index>` for those of `log_frequency` traces.

    Without a limit of any kind all traces make one file. It is written as it grows, and is a whole array at any time.
    """

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._held: dict[TraceSetting, _Held] = {}
        self._index = 0
        self._begun = False
        # One thread, so that what is written first is in the file first; it starts with the first trace.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jubako traces")

    def context_of(self, traceparent: str | None, tracestate: str | None, /) -> Any:
        """Return None: files know nothing of callers."""
        return None

    def take(self, trace: Trace, /) -> None:
        """Keep a trace until its file is full."""
        setting = trace.setting
        setting.collect()
        held = self._held.setdefault(setting, _Held())
        held.add(written(trace))
        frequency = setting.values.log_frequency
        if setting.retired:
            self.retire(setting)
        elif (frequency and len(held.traces) >= frequency) or setting.exhausted:
            self._write_next(setting)
        elif held.too_much:
            self._write_some(setting)

    def retire(self, setting: TraceSetting, /) -> None:
        """Write what a setting leaves behind, once its last trace is in."""
        if setting in self._held and setting.all_collected:
            self._write_some(setting)

    async def close(self) -> None:
        """Write all that is held, of requests that have not ended too, and end the thread."""
        for setting in list(self._held):
            self._write_some(setting)
        await asyncio.to_thread(self._writer.shutdown)

    def _write_some(self, setting: TraceSetting) -> None:
        """Write what is held, full or not, where it belongs."""
        if setting.values.log_frequency:
            self._write_next(setting)
            return
        self._writer.submit(_write, self._file, self._held.pop(setting).traces, append=self._begun)
        self._begun = True

    def _write_next(self, setting: TraceSetting) -> None:
        file = self._file.with_name(f"{self._file.name}.{self._index}")
        self._index += 1
        self._writer.submit(_write, file, self._held.pop(setting).traces, append=False)


def _write(file: Path, traces: list[str], *, append: bool) -> None:
    text = ",".join(traces).encode()
    try:
        if append and file.exists():
            with file.open("r+b") as existing:
                existing.seek(-1, os.SEEK_END)  # over the bracket
                existing.write(b"," + text + b"]")
        else:
            file.write_bytes(b"[" + text + b"]")
    except OSError as error:
        log.error("failed to write %d traces to '%s': %s", len(traces), file, error.strerror)
