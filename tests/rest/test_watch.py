"""Patience with slow peers, by a clock that leaps; and one real peer that reads nothing."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import uvloop
from clock import LeapingLoop

from jubako.protocols.rest.limits import Limits
from jubako.protocols.rest.watch import BODY, HEAD, IDLE, Watch

LIMITS = Limits(head_timeout_s=30, body_grace_s=20, min_body_rate=1000)
TICK_S = 1


@dataclass
class Transport:
    unsent: int = 0
    closed: bool = False
    aborted: bool = False

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


@dataclass
class Flow:
    read_paused: bool = False
    write_paused: bool = False


@dataclass(eq=False)
class Peer:
    """A connection as the watch sees it."""

    stage: int = IDLE
    message: int = 0
    received: int = 0
    busy: bool = False
    timeout_keep_alive: int = 5
    transport: Transport = field(default_factory=Transport)
    flow: Flow = field(default_factory=Flow)
    told: str = ""

    def time_out(self, message: str) -> None:
        self.told = message
        self.transport.close()

    @property
    def dropped(self) -> bool:
        return self.transport.is_closing()


def by_a_leaping_clock(test: Callable[[Watch], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        async def scene() -> None:
            await test(Watch(LIMITS))

        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(scene())

    run.__name__ = test.__name__
    return run


async def seconds(count: float) -> None:
    await asyncio.sleep(count)


@by_a_leaping_clock
async def test_headers_have_their_time_and_no_more(watch: Watch) -> None:
    peer = Peer(stage=HEAD, message=1)
    watch.add(peer)

    await seconds(30)
    assert not peer.dropped
    await seconds(3 * TICK_S)

    assert peer.told == "request headers did not arrive within 30 s"


@by_a_leaping_clock
async def test_the_headers_of_each_message_have_their_own_time(watch: Watch) -> None:
    peer = Peer(stage=HEAD, message=1)
    watch.add(peer)
    for _ in range(5):
        await seconds(25)
        peer.message += 1

    assert not peer.dropped


@by_a_leaping_clock
async def test_headers_are_not_late_while_it_is_we_who_keep_the_peer_waiting(watch: Watch) -> None:
    behind, unread = Peer(stage=HEAD, message=2, busy=True), Peer(stage=HEAD, message=2, flow=Flow(read_paused=True))
    watch.add(behind)
    watch.add(unread)

    await seconds(300)
    assert not behind.dropped
    assert not unread.dropped
    behind.busy = unread.flow.read_paused = False
    await seconds(28)
    assert not behind.dropped
    assert not unread.dropped
    await seconds(5)

    assert behind.told == unread.told == "request headers did not arrive within 30 s"


@by_a_leaping_clock
async def test_a_body_that_trickles_is_given_up_after_the_grace(watch: Watch) -> None:
    slow, steady = Peer(stage=BODY, message=1), Peer(stage=BODY, message=1)
    watch.add(slow)
    watch.add(steady)

    for second in range(100):
        slow.received += 900
        steady.received += 1100
        await seconds(1)
        assert not slow.dropped or second >= 20

    assert slow.told == "request body came at less than 1000 bytes per second"
    assert not steady.dropped


@by_a_leaping_clock
async def test_a_body_that_began_fast_and_stalls_is_given_up_as_well(watch: Watch) -> None:
    peer = Peer(stage=BODY, message=1)
    watch.add(peer)
    await seconds(2)
    peer.received = 10**9

    await seconds(50)

    assert peer.told == "request body came at less than 1000 bytes per second"


@by_a_leaping_clock
async def test_a_body_is_not_late_while_we_do_not_read_it(watch: Watch) -> None:
    peer = Peer(stage=BODY, message=1, flow=Flow(read_paused=True))
    watch.add(peer)

    await seconds(500)
    assert not peer.dropped
    peer.flow.read_paused = False
    await seconds(19)
    assert not peer.dropped
    await seconds(4)

    assert peer.dropped


@by_a_leaping_clock
async def test_a_peer_that_reads_nothing_of_its_answers_is_dropped(watch: Watch) -> None:
    deaf = Peer(message=1, busy=True, flow=Flow(write_paused=True), transport=Transport(unsent=100_000))
    slow = Peer(message=1, busy=True, flow=Flow(write_paused=True), transport=Transport(unsent=100_000))
    watch.add(deaf)
    watch.add(slow)

    for second in range(60):
        slow.transport.unsent -= 10
        await seconds(1)
        assert not deaf.dropped or second >= 20

    assert deaf.transport.aborted
    assert not slow.dropped


@by_a_leaping_clock
async def test_a_peer_that_has_read_its_answers_in_time_is_kept(watch: Watch) -> None:
    peer = Peer(message=1, busy=True, flow=Flow(write_paused=True), transport=Transport(unsent=100_000))
    watch.add(peer)
    await seconds(15)
    peer.flow.write_paused = False

    await seconds(100)

    assert not peer.dropped


@by_a_leaping_clock
async def test_a_last_answer_that_nobody_reads_does_not_hold_a_closing_connection(watch: Watch) -> None:
    peer = Peer(message=1, transport=Transport(unsent=100, closed=True))
    watch.add(peer)

    await seconds(19)
    assert not peer.transport.aborted
    await seconds(5)

    assert peer.transport.aborted
    assert peer.told == ""


@by_a_leaping_clock
async def test_a_connection_that_asks_for_nothing_is_closed_without_a_word(watch: Watch) -> None:
    silent, kept = Peer(), Peer(message=3)
    watch.add(silent)
    watch.add(kept)

    await seconds(4)
    assert not kept.dropped
    await seconds(5)
    assert kept.transport.closed
    assert not silent.dropped
    await seconds(25)

    assert silent.transport.closed
    assert silent.told == kept.told == ""


@by_a_leaping_clock
async def test_a_connection_whose_request_is_being_answered_is_not_idle(watch: Watch) -> None:
    peer = Peer(message=1, busy=True)
    watch.add(peer)
    await seconds(1000)
    assert not peer.dropped
    peer.busy = False

    await seconds(10)

    assert peer.transport.closed


@by_a_leaping_clock
async def test_there_is_one_timer_for_all_connections_and_none_without_any(watch: Watch) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    peers = [Peer(message=1, busy=True) for _ in range(100)]
    for peer in peers:
        watch.add(peer)
    await seconds(10)
    assert loop.timers() == 1

    for peer in peers:
        watch.discard(peer)
        watch.discard(peer)
    await seconds(10)
    assert loop.timers() == 0

    late = Peer(stage=HEAD, message=1)
    watch.add(late)
    await seconds(40)
    assert late.dropped


@by_a_leaping_clock
async def test_a_forgotten_connection_is_judged_no_more(watch: Watch) -> None:
    peer = Peer(stage=HEAD, message=1)
    watch.add(peer)
    await seconds(10)
    watch.discard(peer)

    await seconds(100)

    assert not peer.dropped


class Real(asyncio.Protocol, Peer):
    """A connection that answers with more than any buffer holds, and closes behind it."""

    watch: Watch
    lost: asyncio.Event

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.watch.add(self)
        transport.write(bytes(50_000_000))
        transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self.watch.discard(self)
        self.lost.set()


def test_a_real_peer_that_never_reads_its_last_answer_is_dropped() -> None:
    async def scene() -> bool:
        Real.watch, Real.lost = Watch(Limits(body_grace_s=0.2)), asyncio.Event()
        server = await asyncio.get_running_loop().create_server(Real, "127.0.0.1", 0)
        with contextlib.closing(socket.create_connection(server.sockets[0].getsockname()[:2])):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(Real.lost.wait(), 10)
            dropped = Real.lost.is_set()
        server.close()
        return dropped

    assert uvloop.run(scene())
