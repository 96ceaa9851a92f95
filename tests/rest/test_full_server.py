"""A server that has as much to do as it may: who is refused, how, and who is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Served, serving, simple

from .wire import Wire, get, sum_of, sums


@pytest.fixture(params=("fast", "asgi"))
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    with serving(request.param, tmp_path, {"simple": simple(), "slow": simple(held=True)}) as served:
        yield served


def test_what_the_whole_server_has_no_room_for_is_told_when_to_try_again(served: Served) -> None:
    served.server.options.load.runner.in_flight.max_requests = 1
    with Wire.to(served) as first, Wire.to(served) as second:
        first.send(sums(1, model="slow"))
        served.models["slow"].wait_until_it_runs()

        second.send(sums(2), get("/v2/health/live"), get("/v2/health/ready"))

        refused = second.answer()
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.error == "[request id: r2] Exceeds maximum number of requests in flight (1)"
        assert [second.answer().status, second.answer().status] == [200, 200]

        served.models["slow"].release.set()
        assert sum_of(first.answer()) == 1
        second.send(sums(3))
        assert sum_of(second.answer()) == 3


def test_other_refusals_do_not_say_when_to_try_again(served: Served) -> None:
    served.in_loop(served.server.stop_accepting)
    with Wire.to(served) as wire:
        wire.send(sums(1))

        refused = wire.answer()

        assert refused.status == 503
        assert "retry-after" not in refused.headers
