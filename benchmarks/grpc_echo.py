"""The floor of gRPC: a bare `grpc.aio` server with the loop that Jubako has, which answers bytes with bytes.

`python -m benchmarks.grpc_echo --port PORT`. A call of `/echo/N` is answered with N zeros, one of `/stream/N` with as
many for each message; nothing is parsed.
"""

import argparse
import asyncio
import contextlib
import signal
from typing import Any

import grpc  # type: ignore[import-untyped]
import uvloop


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Which path is which call."""

    def service(self, handler_call_details: Any) -> Any:
        """Return what answers a call."""
        _, kind, size = handler_call_details.method.split("/")
        answer = bytes(int(size))

        async def one(_: bytes, context: Any) -> bytes:
            return answer

        async def many(_: Any, context: Any) -> None:
            while await context.read() is not grpc.aio.EOF:
                await context.write(answer)

        if kind == "stream":
            return grpc.stream_stream_rpc_method_handler(many)
        return grpc.unary_unary_rpc_method_handler(one)


async def serve(port: int) -> None:
    """Answer until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stopped.wait()
    await server.stop(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(parser.parse_args().port))
