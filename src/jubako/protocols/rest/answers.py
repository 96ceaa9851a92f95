"""All the answers to one request, as a task takes them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from jubako.protocols.rest.bodies import Disconnected
from jubako.request import InferRequest, InferResponse
from jubako.server import InferenceServer


async def answers(
    server: InferenceServer, request: InferRequest, left: Callable[[], Awaitable[None]]
) -> AsyncGenerator[InferResponse, None]:
    """Submit `request` and yield each of its answers, errors among them, in the order in which they come.

    `left` returns when the client has gone. Then, and when whoever iterates stops, the request is cancelled: close the
    iterator (`contextlib.aclosing`). An answer that says no more than that it is the last one is not yielded.

    Raises:
        JubakoError: the request was refused before anything ran.
        Disconnected: the client left.
    """
    arrived: deque[tuple[InferResponse, bool]] = deque()
    news = asyncio.Event()

    def take(response: InferResponse, final: bool, /) -> None:
        arrived.append((response, final))
        news.set()

    ticket = server.submit(request, take)
    if ticket is None:
        refusal = arrived[0][0].error
        assert refusal is not None
        raise refusal
    leaving = asyncio.ensure_future(left())
    leaving.add_done_callback(lambda _: news.set())
    try:
        final = False
        while not final:
            await news.wait()
            if leaving.done():
                raise Disconnected
            response, final = arrived.popleft()
            if not arrived:
                news.clear()
            if response.error is not None or response.signature is not None:
                yield response
    finally:
        leaving.cancel()
        ticket.cancel()  # nothing, once answered
