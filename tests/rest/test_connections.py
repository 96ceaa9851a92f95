"""Connections at their limits, byte by byte, over both lanes."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from fakes import PATIENCE_S, FakeModel, Served, identity, serving, simple

from jubako.protocols.rest.limits import Limits

from .wire import Wire, chunked, document, get, message, sum_of, sums

Serve = Callable[..., Served]
INFER = "/v2/models/simple/infer"
LIVE = "/v2/health/live"


@pytest.fixture(scope="module", params=("fast", "asgi"))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with ordinary limits, for the tests that leave it as it was."""
    with serving(
        request.param, tmp_path_factory.mktemp("models"), {"simple": simple(), "fp32": identity("FP32")}
    ) as it:
        yield it


# --- pipelining -------------------------------------------------------------------------------------------------------


def test_an_inference_and_another_request_behind_it_are_answered_in_order(served: Served) -> None:
    with Wire.to(served) as wire:
        wire.send(sums(7), get("/v2"), sums(8))

        assert sum_of(wire.answer()) == 7
        assert wire.answer().json["name"] == "triton"
        assert sum_of(wire.answer()) == 8


def test_an_inference_behind_another_request_is_answered_after_it(served: Served) -> None:
    with Wire.to(served) as wire:
        wire.send(get(LIVE), sums(9), get(LIVE), get(LIVE), sums(10))

        assert wire.answer().body == b""
        assert sum_of(wire.answer()) == 9
        assert [wire.answer().status, wire.answer().status] == [200, 200]
        assert sum_of(wire.answer()) == 10


def test_a_thousand_pipelined_inferences_are_answered_in_order(served: Served) -> None:
    with Wire.to(served) as wire:
        requests = b"".join(sums(i) for i in range(1000))
        sender = threading.Thread(target=wire.send, args=(requests,))
        sender.start()

        assert [sum_of(wire.answer()) for _ in range(1000)] == list(range(1000))
        sender.join()


def test_a_request_behind_one_that_still_runs_waits_for_it(serve: Serve) -> None:
    served = serve({"simple": simple(), "slow": simple(held=True)})
    with Wire.to(served) as wire:
        wire.send(sums(1, model="slow"), sums(2), get(LIVE))
        served.models["slow"].wait_until_it_runs()
        wire.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.answer()
        wire.socket.settimeout(PATIENCE_S)
        served.models["slow"].release.set()

        assert [sum_of(wire.answer()), sum_of(wire.answer())] == [1, 2]
        assert wire.answer().status == 200


# --- the end of a connection ------------------------------------------------------------------------------------------


def test_a_connection_stays_open_between_requests(served: Served) -> None:
    with Wire.to(served) as wire:
        for value in range(3):
            wire.send(sums(value))
            answer = wire.answer()
            assert sum_of(answer) == value
            assert "connection" not in answer.headers


@pytest.mark.parametrize(
    "request_bytes", [sums(3, ("Connection", "close")), sums(3, version="1.0")], ids=["close", "1.0"]
)
def test_a_client_that_wants_one_answer_gets_it_and_the_end(served: Served, request_bytes: bytes) -> None:
    with Wire.to(served) as wire:
        wire.send(request_bytes)

        answer = wire.answer()
        assert sum_of(answer) == 3
        assert answer.headers["connection"] == "close"
        assert wire.is_closed_by_peer()


def test_what_follows_a_close_is_not_answered(served: Served) -> None:
    with Wire.to(served) as wire:
        wire.send(sums(4, ("Connection", "close")), sums(5))

        assert sum_of(wire.answer()) == 4
        assert wire.is_closed_by_peer()


def test_an_idle_connection_is_closed_after_the_keep_alive_timeout(serve: Serve) -> None:
    served = serve({"simple": simple()}, timeout_keep_alive=1)
    with Wire.to(served) as wire:
        wire.send(sums(1))
        sum_of(wire.answer())

        started = time.monotonic()
        assert wire.is_closed_by_peer()
        assert 0.5 < time.monotonic() - started < 5


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "OPTIONS", "DELETE", "PATCH"])
def test_infer_is_asked_by_post_alone(served: Served, method: str) -> None:
    with Wire.to(served) as wire:
        wire.send(message(method, INFER, b"" if method == "PUT" else None), sums(6))

        answer = wire.answer(head=method == "HEAD")
        assert answer.status == 405
        assert answer.headers["allow"] == "POST"
        assert sum_of(wire.answer()) == 6


def test_the_answer_to_a_head_has_no_body_but_its_length(served: Served) -> None:
    with Wire.to(served) as wire:
        wire.send(message("HEAD", "/v2"), get(LIVE))

        assert int(wire.answer(head=True).headers["content-length"]) > 0
        assert wire.answer().status == 200


# --- packets ----------------------------------------------------------------------------------------------------------


def test_a_request_may_come_byte_by_byte(served: Served) -> None:
    with Wire.to(served) as wire:
        for byte in sums(11):
            wire.send(bytes([byte]))

        assert sum_of(wire.answer()) == 11


def test_a_request_may_be_cut_anywhere(served: Served) -> None:
    whole = sums(12)
    body_starts = whole.index(b"\r\n\r\n") + 4
    json_ends = whole.index(b"]}", body_starts)
    with Wire.to(served) as wire:
        for cut in (1, 20, body_starts - 2, body_starts, body_starts + 1, json_ends, len(whole) - 64, len(whole) - 1):
            wire.send(whole[:cut])
            time.sleep(0.002)  # so that the kernel does not put the halves together
            wire.send(whole[cut:])

            assert sum_of(wire.answer()) == 12


def test_a_body_may_be_chunked(served: Served) -> None:
    body = document([1.5, 2.5])
    with Wire.to(served) as wire:
        wire.send(chunked("/v2/models/fp32/infer", [body[:3], body[3:40], body[40:]]), sums(13))

        assert wire.answer().json["outputs"][0]["data"] == [1.5, 2.5]
        assert sum_of(wire.answer()) == 13


def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    body = document([1.5])
    with Wire.to(served) as wire:
        head = message("POST", "/v2/models/fp32/infer", body, ("Expect", "100-continue"))[: -len(body)]
        wire.send(head)
        assert wire.answer().status == 100
        wire.send(body)

        assert wire.answer().json["outputs"][0]["data"] == [1.5]


def test_a_client_that_asks_first_is_refused_before_it_sends(served: Served) -> None:
    with Wire.to(served) as wire:
        wire.send(message("POST", "/v2/models/none/infer", b"x", ("Expect", "100-continue"))[:-1])

        assert wire.answer().error == "Request for unknown model: 'none' is not found"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nbad header: \x00\r\n\r\n",
        b"GET /v2/models/\xff\xfe HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_bytes_that_are_no_http_are_refused_and_do_no_harm(served: Served, garbage: bytes) -> None:
    with Wire.to(served) as wire:
        wire.send(garbage)
        assert wire.answer().status in (400, 404)

    with Wire.to(served) as wire:
        wire.send(sums(14))
        assert sum_of(wire.answer()) == 14


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_body_announced_too_large_is_refused_before_it_comes(serve: Serve) -> None:
    served = serve({"simple": simple()}, limits=Limits(max_body_size=10_000))
    with Wire.to(served) as wire:
        wire.send(f"POST {INFER} HTTP/1.1\r\nContent-Length: 10001\r\n\r\n".encode())

        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert answer.error == "request body exceeds the maximum allowed size of 10000 bytes"
        assert wire.is_closed_by_peer()


def test_a_chunked_body_is_refused_when_it_has_become_too_large(serve: Serve) -> None:
    served = serve({"simple": simple()}, limits=Limits(max_body_size=10_000))
    with Wire.to(served) as wire:
        wire.send(chunked(INFER, [b"x" * 5000] * 3)[:-5])  # without its end

        assert wire.answer().status == 413
        assert wire.is_closed_by_peer()


def test_a_body_of_an_absurd_announced_size_is_refused(served: Served) -> None:
    with Wire.to(served) as wire:
        wire.send(f"POST {INFER} HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n".encode())

        assert wire.answer().status == 413


def test_a_body_that_comes_too_slowly_is_given_up(serve: Serve) -> None:
    served = serve({"simple": simple()}, limits=Limits(body_grace_s=0.2, min_body_rate=1000))
    with Wire.to(served) as wire:
        wire.send(sums(1)[:-10])

        assert wire.answer().status == 408
        assert wire.is_closed_by_peer()


def test_a_body_that_comes_fast_enough_is_awaited(serve: Serve) -> None:
    served = serve({"fp32": identity("FP32")}, limits=Limits(body_grace_s=0.2, min_body_rate=1000))
    request = message("POST", "/v2/models/fp32/infer", document([1.5] * 1000))
    with Wire.to(served) as wire:
        for start in range(0, len(request), 1000):
            wire.send(request[start : start + 1000])
            time.sleep(0.1)

        assert wire.answer().json["outputs"][0]["shape"] == [1000]


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
def test_more_chunks_than_the_limit_are_refused_while_they_come(serve: Serve) -> None:
    served = serve({"simple": simple()}, limits=Limits(max_chunks=100))
    with Wire.to(served) as wire:
        wire.send(chunked(INFER, [b" "] * 200))

        answer = wire.answer()
        assert answer.status == 400
        assert answer.json["error"].startswith("Chunked request body exceeds maximum of 100 non-empty chunks.")
        assert wire.is_closed_by_peer()


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
def test_headers_that_come_too_slowly_are_given_up(serve: Serve) -> None:
    served = serve({"simple": simple()}, limits=Limits(head_timeout_s=0.2))
    with Wire.to(served) as wire:
        wire.send(b"POST /v2/models/simple/infer HTTP/1.1\r\nHost:")

        assert wire.answer().status == 408
        assert wire.is_closed_by_peer()


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
@pytest.mark.parametrize("path", [INFER, LIVE, "/"])
def test_endless_headers_are_refused_while_they_come(serve: Serve, path: str) -> None:
    served = serve({"simple": simple()})
    sent = 0
    with Wire.to(served) as wire:
        wire.send(f"POST {path} HTTP/1.1\r\n".encode())
        line = b"X-Header: " + b"x" * 8000 + b"\r\n"
        try:
            while sent < 60_000_000:
                wire.send(line)
                sent += len(line)
        except (BrokenPipeError, ConnectionResetError):
            pass

        assert sent < 10_000_000  # what the socket's buffers took before the end was heard of
    with Wire.to(served) as wire:
        wire.send(f"GET {LIVE} HTTP/1.1\r\n".encode(), b"X-Header: " + b"x" * 70_000)
        answer = wire.answer()
        assert answer.status == 431
        assert answer.error == "request line and headers exceed 65536 bytes"


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
def test_an_endless_url_is_refused(serve: Serve) -> None:
    served = serve({"simple": simple()})
    with Wire.to(served) as wire:
        wire.send(b"GET /v2/models/" + b"x" * 70_000)

        assert wire.answer().status == 431


def test_pipelined_requests_are_not_counted_as_one_head(served: Served) -> None:
    padding = ("X-Padding", "x" * 2000)
    with Wire.to(served) as wire:
        requests = b"".join(sums(i, padding) for i in range(100))
        sender = threading.Thread(target=wire.send, args=(requests,))
        sender.start()

        assert [sum_of(wire.answer()) for _ in range(100)] == list(range(100))
        sender.join()


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
def test_too_many_connections_are_refused(serve: Serve) -> None:
    served = serve({"simple": simple()}, limits=Limits(max_connections=2))
    with Wire.to(served) as first, Wire.to(served) as second:
        first.send(sums(1))
        second.send(sums(2))
        assert [sum_of(first.answer()), sum_of(second.answer())] == [1, 2]
        with Wire.to(served) as third:
            assert third.answer().status == 503
            assert third.is_closed_by_peer()
        first.send(sums(3))
        assert sum_of(first.answer()) == 3


def test_a_million_chunks_of_one_byte_do_no_harm(served: Served) -> None:
    with Wire.to(served) as wire:
        sender = threading.Thread(target=_send_as_far_as_possible, args=(wire, b"1\r\nx\r\n" * 1_000_000))
        wire.send(message("POST", "/v2/models/fp32/infer", None, ("Transfer-Encoding", "chunked")))
        sender.start()

        assert wire.answer().status in (400, 500)
        sender.join()
    with Wire.to(served) as wire:
        wire.send(sums(15))
        assert sum_of(wire.answer()) == 15


def _send_as_far_as_possible(wire: Wire, data: bytes) -> None:
    with contextlib.suppress(OSError):
        wire.send(data, b"0\r\n\r\n")


# --- clients that leave -----------------------------------------------------------------------------------------------


def test_a_request_whose_client_leaves_the_queue_is_never_executed(serve: Serve) -> None:
    slow = simple(held=True, more="instance_group [ { count: 1 kind: KIND_CPU } ]")
    served = serve({"slow": slow})
    with Wire.to(served) as first:
        first.send(sums(1, model="slow"))
        slow.wait_until_it_runs()
        second = Wire.to(served)
        second.send(sums(2, model="slow"))
        _until(lambda: served.waiting("slow") == 1)

        second.reset()
        _until(lambda: served.waiting("slow") == 0)
        slow.release.set()
        assert sum_of(first.answer()) == 1
        first.send(sums(3, model="slow"))
        assert sum_of(first.answer()) == 3
    assert slow.executions == 2


def test_a_client_that_leaves_a_running_execution_breaks_nothing(serve: Serve) -> None:
    slow = simple(held=True)
    served = serve({"slow": slow})
    leaving = Wire.to(served)
    leaving.send(sums(1, model="slow"))
    slow.wait_until_it_runs()
    leaving.reset()
    slow.release.set()

    with Wire.to(served) as wire:
        wire.send(sums(2, model="slow"))
        assert sum_of(wire.answer()) == 2


def test_a_client_that_leaves_within_its_body_breaks_nothing(served: Served) -> None:
    for cut in (30, 200, 300, len(sums(1)) - 1):
        leaving = Wire.to(served)
        leaving.send(sums(1)[:cut])
        leaving.reset()

    with Wire.to(served) as wire:
        wire.send(sums(2))
        assert sum_of(wire.answer()) == 2


def occupied(served: Served, slow: FakeModel) -> Wire:
    """Have the model busy, and return the connection that keeps it so."""
    wire = Wire.to(served)
    wire.send(sums(1, model="slow"))
    slow.wait_until_it_runs()
    return wire


@pytest.mark.parametrize("leave", [Wire.reset, lambda wire: wire.socket.close()], ids=["reset", "close"])
def test_fifty_clients_that_leave_the_queue_free_it_at_once_and_never_run(
    serve: Serve, leave: Callable[[Wire], None]
) -> None:
    slow = simple(held=True, more="dynamic_batching { default_queue_policy { max_queue_size: 50 } }")
    served = serve({"slow": slow})
    with occupied(served, slow) as first:
        leaving = [Wire.to(served) for _ in range(50)]
        for wire in leaving:
            wire.send(sums(2, model="slow"))
        _until(lambda: served.waiting("slow") == 50)
        with Wire.to(served) as late:
            late.send(sums(3, model="slow"))
            assert "Exceeds maximum queue size" in late.answer().error

        left_s = time.monotonic()
        for wire in leaving:
            leave(wire)
        _until(lambda: served.waiting("slow") == 0)
        assert time.monotonic() - left_s < 1  # 0.1, and the patience of a busy machine
        slow.release.set()

        assert sum_of(first.answer()) == 1
        first.send(sums(4, model="slow"))
        assert sum_of(first.answer()) == 4
    assert slow.executions == 2
    assert served.failures("slow") == {"CANCELED": 50}


def test_a_client_that_leaves_while_its_request_runs_is_counted_as_cancelled(serve: Serve) -> None:
    slow = simple(held=True)
    served = serve({"slow": slow})
    occupied(served, slow).reset()
    _until(lambda: not served.front.server_state.connections)
    slow.release.set()

    _until(lambda: served.failures("slow") == {"CANCELED": 1})
    assert slow.executions == 1


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
@pytest.mark.parametrize("leave", [Wire.reset, lambda wire: wire.socket.close()], ids=["reset", "close"])
@pytest.mark.parametrize("first", [(), (("Accept-Encoding", "br"),)], ids=["fast", "slow"])
def test_a_client_that_leaves_with_a_request_behind_the_first_is_noticed(
    serve: Serve, leave: Callable[[Wire], None], first: tuple[tuple[str, str], ...]
) -> None:
    slow = simple(held=True)
    served = serve({"slow": slow})
    with occupied(served, slow) as busy:
        leaving = Wire.to(served)
        leaving.send(sums(2, *first, model="slow"), sums(3, model="slow"), get(LIVE))
        _until(lambda: served.waiting("slow") == 1)

        leave(leaving)

        _until(lambda: served.waiting("slow") == 0)
        slow.release.set()
        assert sum_of(busy.answer()) == 1
    assert slow.executions == 1


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
@pytest.mark.parametrize("headers", [(), (("Accept-Encoding", "br"),)], ids=["fast", "slow"])
def test_a_client_that_closes_its_half_gets_its_answers_and_the_end(
    serve: Serve, headers: tuple[tuple[str, str], ...]
) -> None:
    slow = simple(held=True)
    served = serve({"slow": slow})
    with Wire.to(served) as wire:
        wire.send(*(sums(value, *headers, model="slow") for value in (1, 2, 3)))
        wire.socket.shutdown(socket.SHUT_WR)
        slow.wait_until_it_runs()
        assert wire.answer().status == 100  # so its end has been seen
        slow.release.set()

        assert [sum_of(wire.answer()) for _ in range(3)] == [1, 2, 3]
        assert wire.is_closed_by_peer()
    assert served.failures("slow") == {}


@pytest.mark.parametrize("lane", ["fast"], indirect=True)
def test_half_a_request_and_half_a_close_is_the_end(serve: Serve) -> None:
    slow = simple(held=True)
    served = serve({"slow": slow})
    with Wire.to(served) as wire:
        wire.send(sums(1, model="slow")[:-1])
        wire.socket.shutdown(socket.SHUT_WR)

        assert wire.is_closed_by_peer()
    assert slow.executions == 0


# --- slow readers -----------------------------------------------------------------------------------------------------


def test_a_client_that_does_not_read_stops_its_own_connection_only(serve: Serve) -> None:
    count = 1_000_000
    big = FakeModel(identity("INT32").config, lambda inputs: [inputs["INPUT0"].repeat(count)])
    served = serve({"big": big, "simple": simple()})
    binary = document([7], "INT32", parameters={"binary_data_output": True})
    with Wire.to(served, receive_buffer=8192) as wire:
        wire.send(message("POST", "/v2/models/big/infer", binary) * 50)
        with Wire.to(served) as other:
            for value in range(20):
                other.send(sums(value))
                assert sum_of(other.answer()) == value
        time.sleep(0.2)

        assert big.executions <= 3  # of 50 answers of 4 MB each
        for _ in range(50):
            answer = wire.answer()
            assert answer.status == 200
            assert len(answer.body) > 4 * count
    assert big.executions == 50


# --- shutting down ----------------------------------------------------------------------------------------------------


def test_a_request_in_flight_at_shutdown_is_answered(serve: Serve) -> None:
    slow = simple(held=True)
    served = serve({"slow": slow})
    with Wire.to(served) as wire, Wire.to(served) as idle:
        wire.send(sums(1, model="slow"))
        slow.wait_until_it_runs()
        served.front.should_exit = True
        assert idle.is_closed_by_peer()  # so the shutdown is under way
        slow.release.set()

        answer = wire.answer()
        assert sum_of(answer) == 1
        assert answer.headers["connection"] == "close"
        assert wire.is_closed_by_peer()
    served.thread.join(PATIENCE_S)
    assert not served.thread.is_alive()
    with pytest.raises(ConnectionRefusedError), socket.create_connection((served.host, served.port), timeout=1):
        pass


def test_new_inference_is_refused_while_the_server_stops_and_live_stays(serve: Serve) -> None:
    served = serve({"simple": simple()})
    served.in_loop(served.server.stop_accepting)
    with Wire.to(served) as wire:
        wire.send(sums(1), get(LIVE), get("/v2/health/ready"))

        refused = wire.answer()
        assert refused.status == 503
        assert refused.error == "Server is stopping, scheduler for model has stopped accepting new inference requests"
        assert [wire.answer().status, wire.answer().status] == [200, 503]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
