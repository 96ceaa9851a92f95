"""Many clients at once: each gets its own answer, the server batches them, and counts every row."""

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from numpy.typing import NDArray

from e2e.serving import Served
from models.digits_data import held_out

pytestmark = pytest.mark.slow

CLIENTS = 64
ROUNDS = 3


@pytest.fixture(scope="module")
def client(example: Served) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{example.port}") as made:
        yield made


@dataclass(frozen=True, slots=True)
class Counts:
    """What a model version has counted, or counted more between two moments."""

    rows: int
    executions: int
    answers: int
    batches: int

    def __sub__(self, before: "Counts") -> "Counts":
        return Counts(
            self.rows - before.rows,
            self.executions - before.executions,
            self.answers - before.answers,
            self.batches - before.batches,
        )


def counts(client: Any, model: str, version: str) -> Counts:
    (row,) = client.get_inference_statistics(model, version)["model_stats"]
    return Counts(
        row["inference_count"],
        row["execution_count"],
        row["inference_stats"]["success"]["count"],
        sum(batch["compute_infer"]["count"] for batch in row["batch_stats"]),
    )


def image_requests() -> list[list[Any]]:
    """One request for each client and round, no two alike; every fourth has two rows."""
    images, requests, start = held_out().images, [], 0
    for number in range(CLIENTS * ROUNDS):
        rows = 2 if number % 4 == 0 else 1
        given = tritonclient.http.InferInput("IMAGE", [rows, 1, 8, 8], "FP32")
        given.set_data_from_numpy(images[start : start + rows])
        requests.append([given])
        start += rows
    assert start <= len(images)
    return requests


def vector_requests() -> list[list[Any]]:
    """One request for each client and round, no two alike."""
    requests = []
    for number in range(CLIENTS * ROUNDS):
        tensors = []
        for name, vector in zip(("INPUT0", "INPUT1"), vectors(number), strict=True):
            tensor = tritonclient.http.InferInput(name, vector.shape, "INT32")
            tensor.set_data_from_numpy(vector, binary_data=bool(number % 2))
            tensors.append(tensor)
        requests.append(tensors)
    return requests


def vectors(number: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    random = np.random.default_rng(number)
    shape = (1 + number % 3, 16)
    low, high = -(1 << 30), 1 << 30
    return random.integers(low, high, shape, np.int32), random.integers(low, high, shape, np.int32)


def rows_of(requests: Sequence[list[Any]]) -> int:
    return sum(tensors[0].shape()[0] for tensors in requests)


def all_at_once(server: Served, model: str, requests: Sequence[list[Any]], version: str = "") -> list[Any]:
    """Answers in the order of `requests`; each client has a thread and a connection, and all start together.

    (`async_infer` of one client would not do: it sleeps 10 ms after each request.)
    """
    start = threading.Barrier(CLIENTS)

    def ask(client_number: int) -> list[Any]:
        with tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            client.is_server_live()  # connected
            start.wait(30)
            return [client.infer(model, one, model_version=version) for one in requests[client_number::CLIENTS]]

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(ask, range(CLIENTS)))
    return [answers[number % CLIENTS][number // CLIENTS] for number in range(len(requests))]


def at_the_same_moment(server: Served, model: str, requests: Sequence[list[Any]]) -> list[Any]:
    """Answers to the client's own bytes, each on a connection of its own, sent as fast as sockets take them."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30)) for _ in range(len(requests))
        ]
        messages = [as_message(model, tensors) for tensors in requests]
        for connection, message in zip(sockets, messages, strict=True):
            connection.sendall(message)
        return [read_answer(stack, connection) for connection in sockets]


def as_message(model: str, tensors: list[Any]) -> bytes:
    body, json_size = tritonclient.http.InferenceServerClient.generate_request_body(tensors)
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Inference-Header-Content-Length: {json_size}\r\n\r\n".encode() + bytes(body)


def read_answer(stack: contextlib.ExitStack, connection: socket.socket) -> Any:
    response = stack.enter_context(contextlib.closing(http.client.HTTPResponse(connection, method="POST")))
    response.begin()
    body = response.read()
    assert response.status == 200, body
    json_size = response.headers["Inference-Header-Content-Length"]
    return tritonclient.http.InferenceServerClient.parse_response_body(body, header_length=int(json_size))


def test_concurrent_clients_get_what_each_gets_alone_and_share_batches(example: Served, client: Any) -> None:
    requests = image_requests()
    alone = [client.infer("digits", tensors, model_version="2").as_numpy("SCORES") for tensors in requests]
    before = counts(client, "digits", "2")

    together = [answer.as_numpy("SCORES") for answer in all_at_once(example, "digits", requests, "2")]

    for one, shared in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.argmax(axis=1), shared.argmax(axis=1))
        np.testing.assert_allclose(one, shared, atol=1e-5)
    counted = counts(client, "digits", "2") - before
    assert counted.answers == len(requests)
    assert counted.rows == rows_of(requests)
    assert counted.batches == counted.executions
    assert counted.executions < counted.answers


def test_concurrent_clients_get_exactly_their_own_sums(example: Served, client: Any) -> None:
    requests = vector_requests()
    before = counts(client, "simple", "1")

    answers = all_at_once(example, "simple", requests)

    for number, answer in enumerate(answers):
        first, second = vectors(number)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), first + second)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT1"), first - second)
    counted = counts(client, "simple", "1") - before
    assert counted.answers == len(requests)
    assert counted.rows == rows_of(requests)


def test_requests_that_come_at_the_same_moment_make_batches_of_more_than_two_rows(example: Served, client: Any) -> None:
    requests = image_requests()[:CLIENTS]
    alone = [client.infer("digits", tensors).as_numpy("SCORES") for tensors in requests]
    before = counts(client, "digits", "2")

    together = [answer.as_numpy("SCORES") for answer in at_the_same_moment(example, "digits", requests)]

    for one, shared in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, shared, atol=1e-5)
    counted = counts(client, "digits", "2") - before
    assert counted.rows == rows_of(requests)
    assert counted.rows / counted.executions > 2


def test_the_asyncio_client_gets_its_own_answers_too(example: Served) -> None:
    requests = vector_requests()

    async def ask() -> list[Any]:
        async with tritonclient.http.aio.InferenceServerClient(f"127.0.0.1:{example.port}", conn_limit=64) as client:
            return await asyncio.gather(*(client.infer("simple", tensors) for tensors in requests))

    for number, answer in enumerate(asyncio.run(ask())):
        first, second = vectors(number)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), first + second)
