"""The benchmark: Jubako under `bentoml serve`, beside an echo on a bare uvicorn, under the same load.

Closed loop: each connection sends its next request when the last is answered. Rounds are interleaved, server by server,
so that what else the machine does meets all of them.
"""

import dataclasses
import sys
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import orjson

from benchmarks import sockets, wrk
from benchmarks.exchange import Exchange
from benchmarks.sample import Load, Sample
from benchmarks.servers import Server
from benchmarks.summary import Row, row
from benchmarks.workloads import Workload, echo_of

CHECK_CONNECTIONS: Final = 32
FLOOR: Final = "echo"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and by what."""

    generator: str
    rounds: int
    seconds: float
    warm_up_s: float
    micro_s: float


@dataclass(frozen=True, slots=True)
class Target:
    """A workload at a server: what is sent, and how large the answer to the first of it is."""

    server: Server
    exchanges: Sequence[Exchange]
    answer_bytes: int


class Bench:
    """Runs rounds. The built-in generator works in `pool`, a process of its own."""

    def __init__(self, plan: Plan, pool: ProcessPoolExecutor) -> None:
        self._plan = plan
        self._pool = pool

    def rows(self, running: Sequence[Server], workloads: Sequence[Workload]) -> list[Row]:
        """Return a row for each workload and server, in that order."""
        targets = {workload: self._targets(workload, running) for workload in workloads}
        samples: dict[tuple[Workload, str], list[Sample]] = {}
        for number in range(self._plan.rounds):
            for workload in workloads:
                order = targets[workload] if number % 2 == 0 else targets[workload][::-1]
                for target in order:
                    progress(f"round {number + 1} of {self._plan.rounds}: {workload.name}, {target.server.name}")
                    samples.setdefault((workload, target.server.name), []).append(self._sample(workload, target))
        return [
            row(
                workload,
                server.name,
                samples[workload, server.name],
                samples[workload, FLOOR] if server.speaks_v2 else None,
            )
            for workload in workloads
            for server in running
        ]

    def _targets(self, workload: Workload, running: Sequence[Server]) -> list[Target]:
        """Warm each server up, and see how large its answers are."""
        exchanges = workload.make()
        reply_bytes = None
        targets = []
        for server in sorted(running, key=lambda server: not server.speaks_v2):
            progress(f"warm-up: {workload.name}, {server.name}")
            own = exchanges if server.speaks_v2 else [echo_of(exchange, reply_bytes or 0) for exchange in exchanges]
            self._sockets(server, own, workload.connections, self._plan.warm_up_s)
            first = self._sockets(server, own[:1], 1, 10.0, most=1)
            reply_bytes = reply_bytes or first.body_bytes
            targets.append(Target(server, own, first.answer_bytes))
        return targets

    def _sample(self, workload: Workload, target: Target) -> Sample:
        wrong = self._check(target)
        before = counted(target.server, workload.model)
        before_ns = target.server.cpu_ns()
        load = self._load(workload, target)
        cpu_ns = target.server.cpu_ns() - before_ns
        mean_batch = None
        if before is not None:
            now = counted(target.server, workload.model)
            assert now is not None
            requests, rows, executions = (after - then for after, then in zip(now, before, strict=True))
            mean_batch = rows / executions if executions else None
            wrong += not 0 <= requests - load.requests <= workload.connections  # wrk leaves some unread at its end
        wrong += self._check(target)
        return Sample(dataclasses.replace(load, wrong=load.wrong + wrong), cpu_ns, mean_batch)

    def _load(self, workload: Workload, target: Target) -> Load:
        if self._plan.generator == wrk.NAME:
            host, exchange = target.server.host, target.exchanges[0]
            return wrk.run(host, exchange, workload.connections, self._plan.seconds, target.answer_bytes)
        return self._sockets(target.server, target.exchanges, workload.connections, self._plan.seconds).load

    def _check(self, target: Target) -> int:
        """Return how many of 32 different requests at once are answered wrongly."""
        return self._sockets(target.server, target.exchanges, CHECK_CONNECTIONS, 10.0, most=4).load.wrong

    def _sockets(
        self, server: Server, exchanges: Sequence[Exchange], connections: int, seconds: float, most: int | None = None
    ) -> sockets.Seen:
        return self._pool.submit(sockets.run, server.host, exchanges, connections, seconds, most).result()


def counted(server: Server, model: str) -> tuple[int, int, int] | None:
    """Return what the server has counted for all versions of a model: requests, rows, executions."""
    if not server.speaks_v2:
        return None
    with urllib.request.urlopen(f"http://{server.host}/v2/models/{model}/stats", timeout=10) as response:
        stats = orjson.loads(response.read())["model_stats"]
    return (
        sum(int(version["inference_stats"]["success"]["count"]) for version in stats),
        sum(int(version["inference_count"]) for version in stats),
        sum(int(version["execution_count"]) for version in stats),
    )


def progress(text: str) -> None:
    """Say on a terminal what is under way; an empty text takes it back."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
