"""The load over gRPC: `grpc.aio` clients in a process of their own; every answer is checked.

A connection has one request in flight: a call of its own, or the next message of its one stream.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
import numpy as np
import uvloop
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from benchmarks.exchange import DATATYPES, Array
from benchmarks.sample import Load

TIMEOUT_S: Final = 30.0
SERVICE: Final = "/inference.GRPCInferenceService"
Call = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Message:
    """One ModelInferRequest as bytes, and its outputs; with no outputs only the answer's size is looked at."""

    body: bytes
    outputs: dict[str, Array] = field(default_factory=dict)
    answer_size: int = 0

    def check(self, answer: bytes, *, streamed: bool) -> bool:
        """Whether `answer` is the right one."""
        if not self.outputs:
            return len(answer) == self.answer_size
        try:
            response = _response(answer, streamed)
        except DecodeError:
            return False
        return list(self.outputs) == [output.name for output in response.outputs] and all(
            tuple(output.shape) == wanted.shape
            and np.array_equal(np.frombuffer(raw, DATATYPES[output.datatype]).reshape(wanted.shape), wanted)
            for output, raw, wanted in zip(
                response.outputs, response.raw_output_contents, self.outputs.values(), strict=True
            )
        )


def _response(answer: bytes, streamed: bool) -> Any:
    if streamed:
        return pb.ModelStreamInferResponse.FromString(answer).infer_response
    return pb.ModelInferResponse.FromString(answer)


def infer_message(model: str, inputs: dict[str, Array], outputs: dict[str, Array]) -> Message:
    """Return a request with raw tensors, and what its answer must hold."""
    names = {np.dtype(code): name for name, code in DATATYPES.items()}
    request = pb.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=names[array.dtype], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    return Message(request.SerializeToString(), outputs)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run saw, and how large an answer is."""

    load: Load
    answer_size: int


@dataclass(slots=True)
class _Tally:
    """What one connection saw."""

    messages: Sequence[Message]
    first: int
    streamed: bool
    latencies: list[float] = field(default_factory=list)
    wrong: int = 0
    answer_size: int = 0
    right: dict[int, bytes] = field(default_factory=dict)

    async def ask(self, call: Call, deadline: float, most: int | None) -> None:
        """Send the messages in turn, the next when the last is answered."""
        turn = self.first
        now = time.perf_counter()
        while now < deadline and len(self.latencies) != most:
            turn = (turn + 1) % len(self.messages)
            message = self.messages[turn]
            sent = now
            answer = await call(message.body)
            now = time.perf_counter()
            self.latencies.append(now - sent)
            self.answer_size = len(answer)
            if answer != self.right.get(turn):  # bytes that passed the check once pass it again
                if message.check(answer, streamed=self.streamed):
                    self.right[turn] = answer
                else:
                    self.wrong += 1


def run(
    host: str, path: str, messages: Sequence[Message], connections: int, seconds: float, most: int | None = None
) -> Seen:
    """Send `messages` on each of `connections`, for `seconds` or until each has had `most` answers.

    Raises:
        grpc.RpcError: a call failed.
        TimeoutError: an answer did not come.
    """
    return uvloop.run(_run(host, path, messages, connections, seconds, most))


async def _run(
    host: str, path: str, messages: Sequence[Message], connections: int, seconds: float, most: int | None
) -> Seen:
    streamed = "stream" in path.lower()
    tallies = [_Tally(messages, number, streamed) for number in range(connections)]
    own_connection = [("grpc.use_local_subchannel_pool", 1)]  # equal channels share one otherwise
    channels = [grpc.aio.insecure_channel(host, options=own_connection) for _ in tallies]
    async with asyncio.timeout(seconds + TIMEOUT_S):
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        start = time.perf_counter()
        ask = _stream if streamed else _unary
        await asyncio.gather(
            *(
                ask(channel, path, tally, start + seconds, most)
                for channel, tally in zip(channels, tallies, strict=True)
            )
        )
        duration = time.perf_counter() - start
        await asyncio.gather(*(channel.close() for channel in channels))
    latencies = np.concatenate([np.array(tally.latencies) for tally in tallies])
    p50, p90, p99 = (float(value) * 1e6 for value in np.percentile(latencies, (50, 90, 99)))
    load = Load(len(latencies), duration, p50, p90, p99, sum(tally.wrong for tally in tallies))
    return Seen(load, tallies[0].answer_size)


async def _unary(channel: Any, path: str, tally: _Tally, deadline: float, most: int | None) -> None:
    await tally.ask(channel.unary_unary(path), deadline, most)


async def _stream(channel: Any, path: str, tally: _Tally, deadline: float, most: int | None) -> None:
    stream = channel.stream_stream(path)()

    async def call(body: bytes) -> bytes:
        await stream.write(body)
        answer: bytes = await stream.read()
        return answer

    await tally.ask(call, deadline, most)
    await stream.done_writing()
