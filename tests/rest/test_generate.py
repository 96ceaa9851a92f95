"""`generate` and `generate_stream` over real connections, and what clients do to them."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from fakes import PATIENCE_S, FakeModel, Served, failing, identity, simple, tensors

from jubako.protocols.rest.limits import Limits
from jubako.tensor import Array

from .wire import Answer, Wire, message

Serve = Callable[..., Served]
GENERATE = "/v2/models/text/generate"


def reversing() -> FakeModel:
    """Return a model that turns TEXT round, and says how long it is in two outputs."""
    config = tensors("input", ("TEXT", "STRING", "[ 1 ]")) + tensors(
        "output", ("TURNED", "STRING", "[ 1 ]"), ("LENGTHS", "INT32", "[ 2 ]")
    )

    def turn(inputs: Mapping[str, Array]) -> Sequence[Array]:
        (text,) = inputs["TEXT"]
        turned = np.empty(1, dtype=object)
        turned[0] = text[::-1]
        return [turned, np.array([len(text), 0], np.int32)]

    return FakeModel(config, turn)


def connected(served: Served) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(served.host, served.port, timeout=PATIENCE_S))


def post(served: Served, path: str, body: object) -> Answer:
    """Return an answer, be it in chunks or not."""
    with connected(served) as connection:
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_generate_answers_with_one_object_of_sorted_keys(serve: Serve) -> None:
    served = serve({"text": reversing()})

    answer = post(served, GENERATE, {"TEXT": "abc", "id": "seven", "temperature": 0.5})

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    assert answer.body == (b'{"LENGTHS":[3,0],"TURNED":"cba","id":"seven","model_name":"text","model_version":"1"}')


def test_generate_stream_answers_with_events(serve: Serve) -> None:
    served = serve({"text": reversing()})

    answer = post(served, f"{GENERATE}_stream", {"TEXT": "ab\nc"})

    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == (b'data: {"LENGTHS":[4,0],"TURNED":"c\\nba","model_name":"text","model_version":"1"}\n\n')


def test_a_connection_goes_on_after_a_stream(serve: Serve) -> None:
    served = serve({"text": reversing()})
    with connected(served) as connection:
        for text in ("one", "two"):
            connection.request("POST", f"{GENERATE}_stream", json.dumps({"TEXT": text}))
            assert f'"{text[::-1]}"'.encode() in connection.getresponse().read()
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize("verb", ["generate", "generate_stream"])
def test_a_run_that_fails_has_its_status_and_says_why(serve: Serve, verb: str) -> None:
    served = serve({"failing": failing()})

    answer = post(served, f"/v2/models/failing/{verb}", {"INPUT0": 1})

    assert answer.status == 500
    assert "no luck" in json.loads(answer.body.removeprefix(b"data: "))["error"]


@pytest.mark.parametrize("verb", ["generate", "generate_stream"])
def test_a_request_that_is_wrong_is_refused_in_plain_json(serve: Serve, verb: str) -> None:
    served = serve({"text": reversing()})

    answer = post(served, f"/v2/models/text/{verb}", {"TEXT": ["a", "b"]})

    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.error == "The schema can not convert input 'TEXT' to tensor with proper shape"


def test_an_output_that_has_no_json_is_an_error(serve: Serve) -> None:
    model = identity("FP32")
    model.config = tensors("input", ("INPUT0", "FP32", "[ -1 ]")) + tensors("output", ("OUTPUT0", "FP16", "[ -1 ]"))
    model.function = lambda inputs: [inputs["INPUT0"].astype(np.float16)]
    served = serve({"half": model})

    answer = post(served, "/v2/models/half/generate", {"INPUT0": 1})

    assert answer.status == 400
    assert answer.error.startswith("sending FP16 data via JSON is not supported.")


def test_a_body_over_the_limit_is_refused(serve: Serve) -> None:
    served = serve({"text": reversing()}, limits=Limits(max_input_size=100))

    answer = post(served, GENERATE, {"TEXT": "a" * 200})

    assert answer.status == 413


def test_a_full_queue_is_said_in_plain_json(serve: Serve) -> None:
    slow = simple(held=True, more="dynamic_batching { default_queue_policy { max_queue_size: 1 } }")
    served = serve({"slow": slow})
    sent = message("POST", "/v2/models/slow/generate", b'{"INPUT0":%b,"INPUT1":%b}' % ((b"[1%b]" % (b",1" * 15),) * 2))
    with Wire.to(served) as running, Wire.to(served) as queued:
        running.send(sent)
        slow.wait_until_it_runs()
        queued.send(sent)
        until(lambda: served.waiting("slow") == 1)

        with Wire.to(served) as third:
            third.send(sent)
            answer = third.answer()
        slow.release.set()

    assert answer.status == 503
    assert answer.error.endswith("Exceeds maximum queue size")


@pytest.mark.parametrize("verb", ["generate", "generate_stream"])
def test_a_request_whose_client_leaves_the_queue_is_never_executed(serve: Serve, verb: str) -> None:
    slow = identity("FP32", held=True, more="instance_group [ { count: 1 kind: KIND_CPU } ]")
    served = serve({"slow": slow})
    sent = message("POST", f"/v2/models/slow/{verb}", b'{"INPUT0":1}')
    with Wire.to(served) as first:
        first.send(sent)
        slow.wait_until_it_runs()
        second = Wire.to(served)
        second.send(sent)
        until(lambda: served.waiting("slow") == 1)

        second.reset()
        until(lambda: served.waiting("slow") == 0)
        slow.release.set()
        until(lambda: slow.executions == 1 and served.in_loop(lambda: served.server.runner("slow").waiting) == 0)

    assert post(served, "/v2/models/slow/generate", {"INPUT0": 2}).status == 200
    assert slow.executions == 2
