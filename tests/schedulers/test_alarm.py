"""Alarms on a real loop: never early, and finer than a millisecond where the system can."""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable

import pytest
import uvloop

from jubako.schedulers.alarm import Alarm, LoopAlarm, TimerfdAlarm, make_alarm

Make = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm]


async def late_by_us(make: Make, delay_us: int, rounds: int) -> list[float]:
    loop = asyncio.get_running_loop()
    rung = asyncio.Event()
    alarm = make(loop, rung.set)
    late = []
    for _ in range(rounds):
        rung.clear()
        due_ns = time.monotonic_ns() + delay_us * 1000
        alarm.set(due_ns)
        await rung.wait()
        late.append((time.monotonic_ns() - due_ns) / 1000)
    alarm.close()
    return late


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
@pytest.mark.parametrize("delay_us", [100, 500, 1500])
def test_a_timerfd_rings_within_half_a_millisecond_of_its_time(delay_us: int) -> None:
    late = uvloop.run(late_by_us(TimerfdAlarm, delay_us, 40))

    assert min(late) >= 0
    assert statistics.median(late) < 500


@pytest.mark.parametrize("delay_us", [100, 1500])
def test_the_loops_own_timer_is_late_rather_than_early(delay_us: int) -> None:
    late = asyncio.run(late_by_us(LoopAlarm, delay_us, 5))

    assert min(late) >= 0


@pytest.mark.parametrize("make", [make_alarm, LoopAlarm])
def test_an_alarm_that_was_cleared_or_closed_does_not_ring(make: Make) -> None:
    async def scene() -> list[str]:
        loop = asyncio.get_running_loop()
        rings: list[str] = []
        cleared, closed = make(loop, lambda: rings.append("cleared")), make(loop, lambda: rings.append("closed"))
        for alarm in (cleared, closed):
            alarm.set(time.monotonic_ns() + 1_000_000)
        cleared.clear()
        closed.close()
        await late_by_us(make, 5_000, 1)
        cleared.close()
        return rings

    assert asyncio.run(scene()) == []


def test_a_time_that_has_passed_rings_at_once() -> None:
    async def scene() -> None:
        rung = asyncio.Event()
        alarm = make_alarm(asyncio.get_running_loop(), rung.set)
        alarm.set(time.monotonic_ns() - 1_000_000)
        await asyncio.wait_for(rung.wait(), 5)
        alarm.close()

    asyncio.run(scene())
