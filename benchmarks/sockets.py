"""The built-in load generator: asyncio on raw sockets, in a process of its own; every answer is checked.

Slower than wrk, which shows in requests/s and latency where the generator is what is waited for; the server's processor
time per request is measured at the server and stays comparable.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import uvloop

from benchmarks.exchange import Exchange
from benchmarks.sample import Load

NAME: Final = "built-in (asyncio sockets)"
CHECKED: Final = "every answer by its values; 32 different requests in turn"
TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came."""

    status: int
    head: dict[str, str]
    body: bytes
    size: int
    """Bytes, head and body."""


def read_answer(data: bytes) -> Answer | None:
    """Return the answer at the start of `data`; None if it is not all there."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    status_line, *lines = data[:end].decode("latin-1").split("\r\n")
    head = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = end + 4 + int(head.get("content-length", "0"))
    if len(data) < size:
        return None
    return Answer(int(status_line.split()[1]), head, data[end + 4 : size], size)


class Connection(asyncio.Protocol):
    """Sends one request at a time, the next when the last is answered, until `deadline` or the `most`-th answer."""

    def __init__(self, host: str, exchanges: Sequence[Exchange], first: int, deadline: float, most: int | None) -> None:
        self._requests = [exchange.request(host) for exchange in exchanges]
        self._checks = [exchange.check for exchange in exchanges]
        self._right: list[bytes] = [b""] * len(exchanges)  # bodies that passed the check: equal ones pass it too
        self._turn = first % len(exchanges)
        self._deadline = deadline
        self._most = most
        self._data = b""
        self._sent = 0.0
        self.latencies: list[float] = []
        self.wrong = 0
        self._finished = False
        self.last_size = 0
        self.last_body = 0
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._turn])

    def data_received(self, data: bytes) -> None:
        self._data += data
        answer = read_answer(self._data)
        if answer is None:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        self._check(answer)
        self._data = self._data[answer.size :]
        self._turn = (self._turn + 1) % len(self._requests)
        if now < self._deadline and len(self.latencies) != self._most:
            self._send()
        else:
            self._finished = True
            self._transport.close()

    def _check(self, answer: Answer) -> None:
        self.last_size, self.last_body = answer.size, len(answer.body)
        if answer.status == 200 and answer.body == self._right[self._turn]:
            return
        if answer.status == 200 and self._checks[self._turn](answer.head, answer.body):
            self._right[self._turn] = answer.body
        else:
            self.wrong += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.wrong += not self._finished
        self.over.set_result(None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run saw, and how large an answer is."""

    load: Load
    answer_bytes: int
    """Of an answer, head and body."""
    body_bytes: int


def run(host: str, exchanges: Sequence[Exchange], connections: int, seconds: float, most: int | None = None) -> Seen:
    """Send `exchanges` in turn on each of `connections`, for `seconds` or until each has had `most` answers.

    Raises:
        OSError: no connection.
        TimeoutError: an answer did not come.
    """
    return uvloop.run(_run(host, exchanges, connections, seconds, most))


async def _run(host: str, exchanges: Sequence[Exchange], connections: int, seconds: float, most: int | None) -> Seen:
    loop = asyncio.get_running_loop()
    name, _, port = host.partition(":")
    start = time.perf_counter()
    made = []
    async with asyncio.timeout(seconds + TIMEOUT_S):
        for number in range(connections):
            _, connection = await loop.create_connection(
                lambda first=number: Connection(host, exchanges, first, start + seconds, most),  # type: ignore[misc]
                name,
                int(port),
            )
            made.append(connection)
        for connection in made:
            await connection.over
    duration = time.perf_counter() - start
    latencies = np.concatenate([np.array(connection.latencies) for connection in made])
    wrong = sum(connection.wrong for connection in made)
    if not latencies.size:
        raise OSError(f"{host} closed every connection without an answer")
    p50, p90, p99 = (float(value) * 1e6 for value in np.percentile(latencies, (50, 90, 99)))
    load = Load(len(latencies), duration, p50, p90, p99, wrong)
    return Seen(load, made[0].last_size, made[0].last_body)
