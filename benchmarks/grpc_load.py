"""The rounds over gRPC: Jubako beside a bare `grpc.aio` server that answers bytes with bytes of the same size."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from benchmarks import grpc_calls
from benchmarks.grpc_calls import SERVICE, Message, infer_message
from benchmarks.load import CHECK_CONNECTIONS, FLOOR, Plan, counted, progress
from benchmarks.sample import Sample
from benchmarks.servers import Server
from benchmarks.summary import Row, row
from benchmarks.workloads import integers


@dataclass(frozen=True, slots=True)
class GrpcWorkload:
    """One line of the benchmark: 16 + 16 integers to `simple`, by this method."""

    name: str
    method: str
    floor: str
    """The echo's method, to which the size of an answer is added."""
    connections: int
    model: str = "simple"


WORKLOADS: Final[Sequence[GrpcWorkload]] = (
    GrpcWorkload("simple, gRPC", f"{SERVICE}/ModelInfer", "/echo/", 16),
    GrpcWorkload("simple, gRPC stream", f"{SERVICE}/ModelStreamInfer", "/stream/", 16),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A workload at a server."""

    server: Server
    path: str
    messages: Sequence[Message]


class GrpcBench:
    """Runs rounds at the floor and at Jubako. The generator works in `pool`, a process of its own."""

    def __init__(self, plan: Plan, pool: ProcessPoolExecutor) -> None:
        self._plan = plan
        self._pool = pool

    def rows(self, echo: Server, jubako: Server, workloads: Sequence[GrpcWorkload]) -> list[Row]:
        """Return a row for each workload and server, in that order."""
        targets = {workload: self._targets(workload, echo, jubako) for workload in workloads}
        samples: dict[tuple[GrpcWorkload, str], list[Sample]] = {}
        for number in range(self._plan.rounds):
            for workload in workloads:
                order = targets[workload] if number % 2 == 0 else targets[workload][::-1]
                for target in order:
                    progress(f"round {number + 1} of {self._plan.rounds}: {workload.name}, {target.server.name}")
                    samples.setdefault((workload, target.server.name), []).append(self._sample(workload, target))
        return [
            row(
                workload,
                FLOOR if server is echo else server.name,
                samples[workload, server.name],
                None if server is echo else samples[workload, echo.name],
            )
            for workload in workloads
            for server in (echo, jubako)
        ]

    def _targets(self, workload: GrpcWorkload, echo: Server, jubako: Server) -> list[Target]:
        """Warm both servers up, and have the echo's answers as large as Jubako's."""
        messages = [
            infer_message(workload.model, {"INPUT0": a, "INPUT1": b}, {"OUTPUT0": a + b, "OUTPUT1": a - b})
            for a, b in integers()
        ]
        own = Target(jubako, workload.method, messages)
        size = self._run(own, workload.connections, self._plan.warm_up_s).answer_size
        plain = [Message(message.body, answer_size=size) for message in messages]
        floor = Target(echo, f"{workload.floor}{size}", plain)
        self._run(floor, workload.connections, self._plan.warm_up_s)
        return [floor, own]

    def _sample(self, workload: GrpcWorkload, target: Target) -> Sample:
        wrong = self._check(target)
        before = counted(target.server, workload.model)
        before_ns = target.server.cpu_ns()
        load = self._run(target, workload.connections, self._plan.seconds).load
        cpu_ns = target.server.cpu_ns() - before_ns
        after = counted(target.server, workload.model)
        mean_batch = None
        if before is not None and after is not None:
            requests, rows, executions = (now - then for now, then in zip(after, before, strict=True))
            mean_batch = rows / executions if executions else None
            wrong += requests != load.requests
        wrong += self._check(target)
        return Sample(dataclasses.replace(load, wrong=load.wrong + wrong), cpu_ns, mean_batch)

    def _check(self, target: Target) -> int:
        """Return how many of 32 different requests at once are answered wrongly."""
        return self._run(target, CHECK_CONNECTIONS, 10.0, most=4).load.wrong

    def _run(self, target: Target, connections: int, seconds: float, most: int | None = None) -> grpc_calls.Seen:
        host = f"127.0.0.1:{target.server.grpc_port}"
        return self._pool.submit(
            grpc_calls.run, host, target.path, target.messages, connections, seconds, most
        ).result()
