"""Requests whose head the parser has seen before: they take a shorter way, to the same answers."""

from fakes import simple

from jubako.protocols.access import Group
from jubako.protocols.rest.status import Refused

from .test_connections import Serve
from .wire import Wire, get, message, sum_of, sums


def a_body(value: int) -> bytes:
    return sums(value).partition(b"\r\n\r\n")[2]


def test_each_of_many_requests_on_one_connection_gets_its_own_sum(serve: Serve) -> None:
    served = serve({"simple": simple()})
    with Wire.to(served) as wire:
        for value in range(50):
            wire.send(sums(value))
            assert sum_of(wire.answer()) == value


def test_a_repeated_head_with_its_body_split_or_with_another_request_behind_it_is_answered(
    serve: Serve,
) -> None:
    served = serve({"simple": simple()})
    with Wire.to(served) as wire:
        for value in range(3):
            wire.send(sums(value))
            assert sum_of(wire.answer()) == value

        whole = sums(4)
        wire.send(whole[:-7])
        wire.send(whole[-7:])
        assert sum_of(wire.answer()) == 4

        wire.send(sums(5), sums(6), get("/v2/health/live"), sums(7))
        assert [sum_of(wire.answer()), sum_of(wire.answer())] == [5, 6]
        assert wire.answer().status == 200
        assert sum_of(wire.answer()) == 7

        wire.send(sums(8))
        assert sum_of(wire.answer()) == 8


def test_a_bad_body_behind_a_known_head_is_refused_and_the_next_is_answered(serve: Serve) -> None:
    served = serve({"simple": simple()})
    with Wire.to(served) as wire:
        for value in range(2):
            wire.send(sums(value))
            wire.answer()

        head, _, body = sums(3).partition(b"\r\n\r\n")
        wire.send(head + b"\r\n\r\n" + b"x" * len(body))
        assert wire.answer().status == 500

        wire.send(sums(4))
        assert sum_of(wire.answer()) == 4


def test_closing_the_connection_is_asked_for_anew_each_time(serve: Serve) -> None:
    served = serve({"simple": simple()})
    for value in range(3):
        with Wire.to(served) as wire:
            wire.send(sums(value, ("Connection", "close")))
            assert sum_of(wire.answer()) == value
            assert wire.is_closed_by_peer()


class Closing:
    """A gate that lets the first requests through."""

    def __init__(self, count: int) -> None:
        self.left = count

    def check(self, group: Group, headers: object) -> Refused | None:
        self.left -= 1
        return None if self.left >= 0 else Refused(403, "This API is restricted, expecting header 'key'")


def test_the_gate_is_asked_for_a_known_head_too(serve: Serve) -> None:
    served = serve({"simple": simple()}, gate=Closing(3))
    with Wire.to(served) as wire:
        statuses = []
        for value in range(4):
            wire.send(sums(value))
            statuses.append(wire.answer().status)

    assert statuses[0] == 200
    assert statuses[-1] == 403


def test_errors_and_answers_alternate_behind_known_heads(serve: Serve) -> None:
    served = serve({"simple": simple()})
    unknown = message("POST", "/v2/models/none/infer", a_body(1))
    with Wire.to(served) as wire:
        for value in range(6):
            wire.send(sums(value), unknown)
            assert sum_of(wire.answer()) == value
            assert wire.answer().status == 404
            wire.send(unknown)
            assert wire.answer().status == 404
