"""The command line: which servers run, what is printed, and where the results go."""

import argparse
import contextlib
import dataclasses
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import orjson

from benchmarks import codec, grpc_load, queue, servers, sockets, wrk
from benchmarks.grpc_load import GrpcBench
from benchmarks.load import Bench, Plan, progress
from benchmarks.machine import header
from benchmarks.servers import Server
from benchmarks.summary import Named, Row
from benchmarks.table import Report, markdown
from benchmarks.timing import Timing
from benchmarks.workloads import WORKLOADS

RESULTS: Final = Path(__file__).parent / "results"


def _generator(wanted: str) -> str:
    if wanted == "built-in":
        return sockets.NAME
    if wrk.find() is not None:
        return wrk.NAME
    if wanted == "wrk":
        raise SystemExit("wrk is not installed: apt-get install wrk")
    print("wrk is not installed (apt-get install wrk); falling back to the built-in generator\n", file=sys.stderr)
    return sockets.NAME


def _plan(options: argparse.Namespace) -> Plan:
    if options.quick:
        generator = _generator(options.generator or "built-in")
        return Plan(generator, 1, 1.0 if generator == wrk.NAME else 0.3, 0.2, 0.02)
    return Plan(_generator(options.generator or "auto"), options.rounds, options.seconds, 1.0, 0.5)


def _method(plan: Plan) -> dict[str, str]:
    checked = wrk.CHECKED if plan.generator == wrk.NAME else sockets.CHECKED
    return {
        "load generator": f"{plan.generator}, for gRPC grpc.aio; closed loop, on the same machine",
        "method": f"interleaved rounds ({plan.rounds}) of {plan.seconds:g} s after a warm-up; medians; a ratio is the "
        "median of the rounds' ratios; CPU is user + system time of the server's process tree ÷ requests",
        "answers checked": f"{checked}; gRPC: every answer by its values",
    }


@contextlib.contextmanager
def _servers(peers: Sequence[str]) -> Iterator[tuple[list[Server], Server]]:
    """Give the servers of HTTP, the floor first and Jubako second, and the floor of gRPC."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jubako-bench-")))
        running = [stack.enter_context(servers.echo(folder)), stack.enter_context(servers.jubako(folder))]
        for given in peers:
            name, _, command = given.partition("=")
            running.append(stack.enter_context(servers.peer(name, command, folder)))
        yield running, stack.enter_context(servers.grpc_echo(folder))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What Jubako costs per request, beside an echo in the same run."
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds in all: shows that it works, not how fast")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round (wrk: whole seconds)")
    parser.add_argument("--generator", choices=("wrk", "built-in"), help="wrk if it is installed")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name has TEXT in it")
    parser.add_argument("--connections", type=int, help="workloads with so many connections")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help="another v2 server; {port}")
    parser.add_argument("--no-micro", action="store_true", help="without the benchmarks that need no server")
    parser.add_argument("--micro-only", action="store_true", help="without the servers")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", help="where the JSON goes")
    parser.add_argument("--render", type=Path, metavar="FILE", help="print a result that is already there")
    return parser.parse_args(arguments)


def read(path: Path) -> Report:
    """Return a report that `main` wrote."""
    found = orjson.loads(path.read_bytes())
    return Report(
        found["header"], [Row(**row) for row in found["rows"]], [Timing(**timing) for timing in found["micro"]]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if any answer was wrong."""
    options = _parse(arguments)
    if options.render:
        print(markdown(read(options.render)), end="")
        return 0
    plan = _plan(options)
    about = {**header(), **_method(plan)}
    micro = [] if options.no_micro else [*codec.main(plan.micro_s), *queue.main(plan.micro_s)]
    rows: list[Row] = []
    if not options.micro_only:

        def chosen(workload: Named) -> bool:
            return options.only in workload.name and options.connections in (None, workload.connections)

        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool, _servers(options.peer) as (running, floor):
            about |= {f"server {server.name}": f"`{server.command}`" for server in (*running, floor)}
            rows = Bench(plan, pool).rows(running, list(filter(chosen, WORKLOADS)))
            rows += GrpcBench(plan, pool).rows(floor, running[1], list(filter(chosen, grpc_load.WORKLOADS)))
        progress("")
    report = Report(about, rows, micro)
    print(markdown(report))
    options.output.parent.mkdir(exist_ok=True, parents=True)
    options.output.write_bytes(orjson.dumps(dataclasses.asdict(report), option=orjson.OPT_INDENT_2) + b"\n")
    print(f"raw results: {options.output}")
    wrong = sum(row.wrong for row in rows)
    if wrong:
        print(f"{wrong} answers were wrong", file=sys.stderr)
    return 1 if wrong else 0
