"""The page of metrics: made at each scrape, in the loop, which alone writes what it reads."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from jubako.metrics.cache import cache_families
from jubako.metrics.cpu import CpuGauges
from jubako.metrics.gpu import GpuGauges, Nvml, find_nvml
from jubako.metrics.models import model_families
from jubako.metrics.options import MetricsOptions
from jubako.metrics.text import Family, render
from jubako.server import InferenceServer

log = logging.getLogger("jubako.metrics")

CONTENT_TYPE: Final = "text/plain; charset=utf-8"
"""Triton's."""


class Gauges(Protocol):
    """Something of the machine that is read at a scrape, in a thread."""

    def families(self) -> Sequence[Family]:
        """Read it."""


class Metrics:
    """Metrics of one server and of the machine that it runs on."""

    def __init__(
        self,
        server: InferenceServer,
        options: MetricsOptions,
        gpu_uuids: Sequence[str] = (),
        open_gauges: Callable[[MetricsOptions, Sequence[str]], Sequence[Gauges]] | None = None,
    ) -> None:
        self._server = server
        self._options = options
        self._gpu_uuids = gpu_uuids
        self._open_gauges = open_gauges or open_machine
        self._gauges: Sequence[Gauges] | None = None
        self._machine: Sequence[Family] = ()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Open the gauges; counters of the machine count from here."""
        async with self._reading:
            if self._gauges is None:
                self._gauges = await asyncio.to_thread(self._open_gauges, self._options, self._gpu_uuids)

    async def text(self) -> str:
        """Return the page."""
        await self._read_machine()
        uuids = dict(enumerate(self._gpu_uuids))
        families: list[Family] = []
        for family in model_families(self._server.statistics(), self._options.config, uuids, time.monotonic_ns()):
            families.append(family)
            await asyncio.sleep(0)  # with hundreds of models a page takes many milliseconds; requests go first
        if self._server.cache is not None:
            families += cache_families(self._server.cache)
        return render([*families, *self._machine])

    async def _read_machine(self) -> None:
        await self.start()
        async with self._reading:
            now = time.monotonic()
            if self._read_at is None or now - self._read_at >= self._options.interval_s:
                self._machine = await asyncio.to_thread(self._families)
                self._read_at = now

    def _families(self) -> list[Family]:
        return [family for gauges in self._gauges or () for family in gauges.families()]


def open_machine(options: MetricsOptions, gpu_uuids: Sequence[str]) -> list[Gauges]:
    """Return the gauges of this machine that are wanted and answer."""
    gauges: list[Gauges] = []
    if options.cpu:
        gauges.append(CpuGauges())
    if options.gpu and gpu_uuids:
        library = find_nvml()
        if library is None:
            log.warning("there is no NVML: metrics of the GPUs are left out")
        else:
            gauges.append(GpuGauges(Nvml(library, gpu_uuids).read))
    return gauges
