"""Shared memory as the stock Triton clients use it: one suite over HTTP's two lanes and gRPC."""

import http.client
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils.shared_memory as shm
from fakes import PATIENCE_S, FakeModel, identity, serving, simple
from rpc.serving import serving as serving_grpc
from rpc.serving import until
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from jubako.protocols.shared_memory import Regions
from jubako.protocols.shared_memory.regions import DISABLED

from .segments import Segment, a_segment, descriptors_of

STATUSES = {
    400: "StatusCode.INVALID_ARGUMENT",
    404: "StatusCode.NOT_FOUND",
    409: "StatusCode.ALREADY_EXISTS",
    500: "StatusCode.INTERNAL",
    501: "StatusCode.UNIMPLEMENTED",
}


@dataclass
class Front:
    """A server as one kind of client sees it."""

    library: Any
    url: str
    models: dict[str, FakeModel]
    client: Any

    def another_client(self) -> Any:
        return self.library.InferenceServerClient(self.url)

    def input(self, name: str, shape: list[int], datatype: str, region: str, size: int, offset: int = 0) -> Any:
        tensor = self.library.InferInput(name, shape, datatype)
        tensor.set_shared_memory(region, size, offset)
        return tensor

    def output(self, name: str, region: str, size: int, offset: int = 0) -> Any:
        wanted = self.library.InferRequestedOutput(name)
        wanted.set_shared_memory(region, size, offset)
        return wanted

    def is_refused(self, call: Callable[[], object], status: int, text: str) -> None:
        """Check that `call` is answered with an error, word for word."""
        with pytest.raises(InferenceServerException) as refused:
            call()
        assert refused.value.message() == text
        assert refused.value.status() in (str(status), STATUSES[status])


@pytest.fixture(params=["HTTP, fast lane", "HTTP, ASGI", "gRPC"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Start servers of fake models; each is stopped at the end of the test."""
    with ExitStack() as stack:

        def serve(allowed: bool = True, **models: FakeModel) -> Front:
            regions = Regions(allowed=allowed, device=lambda: None)
            if request.param == "gRPC":
                library: Any = tritonclient.grpc
                url = stack.enter_context(serving_grpc(tmp_path, models, regions=regions)).url
            else:
                library = tritonclient.http
                lane = "fast" if "fast" in request.param else "asgi"
                served = stack.enter_context(serving(lane, tmp_path, models, regions=regions))
                url = f"{served.host}:{served.port}"
            front = Front(library, url, models, library.InferenceServerClient(url))
            stack.callback(front.client.close)
            return front

        yield serve


@pytest.fixture
def segment() -> Iterator[Segment]:
    with a_segment(bytes(4096)) as made:
        yield made


def simple_in(front: Front, region: str) -> list[Any]:
    return [
        front.input("INPUT0", [1, 16], "INT32", region, 64),
        front.input("INPUT1", [1, 16], "INT32", region, 64, 64),
    ]


def simple_out(front: Front, region: str) -> list[Any]:
    return [front.output("OUTPUT0", region, 64, 128), front.output("OUTPUT1", region, 64, 192)]


def row(value: int) -> bytes:
    return np.full(16, value, np.int32).tobytes()


def shape_of(output: Any) -> list[int]:
    """Return the shape that an answer's description of an output tells, in JSON or as a message."""
    return list(output["shape"] if isinstance(output, dict) else output.shape)


def results(segment: Segment) -> tuple[int, int]:
    """Return the first of each sum and difference that stand in the segment."""
    numbers = np.frombuffer(segment.content, np.int32)
    return int(numbers[32]), int(numbers[48])


def test_tensors_travel_through_regions_made_by_tritons_own_utilities(start: Callable[..., Front]) -> None:
    front = start(simple=simple())
    names = [f"test_{uuid.uuid4().hex}" for _ in range(2)]
    ingoing, outgoing = (shm.create_shared_memory_region(name, f"/{name}", 128) for name in names)
    try:
        for name in names:
            front.client.register_system_shared_memory(name, f"/{name}", 128)
        inputs = [
            front.input("INPUT0", [1, 16], "INT32", names[0], 64),
            front.input("INPUT1", [1, 16], "INT32", names[0], 64, 64),
        ]
        outputs = [front.output("OUTPUT0", names[1], 64), front.output("OUTPUT1", names[1], 64, 64)]

        for start_value in (1, 100, 10_000):  # the second and third by what is remembered of the first
            first = np.arange(start_value, start_value + 16, dtype=np.int32)
            shm.set_shared_memory_region(ingoing, [first, np.full(16, 7, np.int32)])
            result = front.client.infer("simple", inputs, outputs=outputs, request_id=str(start_value))

            assert shape_of(result.get_output("OUTPUT0")) == [1, 16]
            assert (shm.get_contents_as_numpy(outgoing, np.int32, [16]) == first + 7).all()
            assert (shm.get_contents_as_numpy(outgoing, np.int32, [16], 64) == first - 7).all()
    finally:
        for region in (ingoing, outgoing):
            shm.destroy_shared_memory_region(region)


def test_strings_travel_through_regions(start: Callable[..., Front], segment: Segment) -> None:
    front = start(strings=identity("STRING"))
    front.client.register_system_shared_memory("r", segment.key, 4096)
    written = serialize_byte_tensor(np.array([b"a", b"", b"\xffb\0c"], dtype=object)).item()
    segment.put(written, 10)
    tensor = front.input("INPUT0", [3], "BYTES", "r", len(written), 10)

    front.client.infer("strings", [tensor], outputs=[front.output("OUTPUT0", "r", 1000, 2000)])

    assert segment.content[2000:].startswith(written)
    front.is_refused(
        lambda: front.client.infer("strings", [front.input("INPUT0", [3], "BYTES", "r", len(written) - 8, 10)]),
        400,
        "[request id: <id_unknown>] expected 3 string elements for inference input 'INPUT0' for model 'strings', got 2",
    )


def test_a_request_may_have_tensors_of_every_kind(start: Callable[..., Front], segment: Segment) -> None:
    front = start(simple=simple())
    front.client.register_system_shared_memory("r", segment.key, 4096)
    plain = front.library.InferInput("INPUT0", [1, 16], "INT32")
    plain.set_data_from_numpy(np.full((1, 16), 50, np.int32))
    inputs = [plain, front.input("INPUT1", [1, 16], "INT32", "r", 64)]
    outputs = [front.output("OUTPUT0", "r", 64, 128), front.library.InferRequestedOutput("OUTPUT1")]

    for value in (8, 9):
        segment.put(row(value))
        result = front.client.infer("simple", inputs, outputs=outputs)

        assert results(segment)[0] == 50 + value
        assert (result.as_numpy("OUTPUT1") == 50 - value).all()


def test_a_region_is_looked_up_for_each_request(start: Callable[..., Front], segment: Segment) -> None:
    front = start(simple=simple())
    inputs, outputs = simple_in(front, "r"), simple_out(front, "r")

    def infer() -> Any:
        return front.client.infer("simple", inputs, outputs=outputs)

    front.is_refused(infer, 404, "Unable to find shared memory region: 'r'")
    front.client.register_system_shared_memory("r", segment.key, 4096)
    segment.put(row(3) + row(1))
    infer()
    assert results(segment) == (4, 2)

    front.client.unregister_system_shared_memory("r")
    front.is_refused(infer, 404, "Unable to find shared memory region: 'r'")

    with a_segment(row(30) + row(10) + bytes(1000)) as other:
        front.client.register_system_shared_memory("r", other.key, 256)
        infer()
        assert results(other) == (40, 20)
        assert results(segment) == (4, 2)


def test_what_is_wrong_with_a_region_is_said_as_triton_says_it(start: Callable[..., Front], segment: Segment) -> None:
    front = start(simple=simple(), any=identity("INT32"))
    front.client.register_system_shared_memory("r", segment.key, 256)

    def infer(size: int, offset: int, shape: int = 16) -> Callable[[], Any]:
        return lambda: front.client.infer("any", [front.input("INPUT0", [shape], "INT32", "r", size, offset)])

    unknown = "[request id: <id_unknown>] "
    for _ in range(2):
        front.is_refused(infer(64, 256), 400, "Invalid offset for shared memory region: 'r'")
        front.is_refused(infer(64, 200), 400, "Invalid offset + byte size for shared memory region: 'r'")
        for size in (32, 128):
            text = f"{unknown}input byte size mismatch for input 'INPUT0' for model 'any'. Expected 64, got {size}"
            front.is_refused(infer(size, 0), 400, text)

    small = [front.output("OUTPUT0", "r", 16, 128)]
    for _ in range(2):
        front.is_refused(
            lambda: front.client.infer("simple", simple_in(front, "r"), outputs=small),
            500,
            "shared memory size specified with the request for output 'OUTPUT0' (16 bytes) should be at least 64 "
            "bytes to hold the results",
        )
    assert segment.content == bytes(4096)


def test_a_segment_that_its_owner_shrinks_costs_that_request_and_no_other(
    start: Callable[..., Front], segment: Segment
) -> None:
    front = start(simple=simple(), held=identity("INT32", held=True))
    front.client.register_system_shared_memory("r", segment.key, 4096)
    front.client.infer("simple", simple_in(front, "r"), outputs=simple_out(front, "r"))

    segment.shrink(96)

    for _ in range(2):
        front.is_refused(
            lambda: front.client.infer("simple", simple_in(front, "r")),
            400,
            "Invalid offset + byte size for shared memory region: 'r'",
        )
    with a_segment() as whole:
        front.client.register_system_shared_memory("whole", whole.key, 4096)
        front.is_refused(
            lambda: front.client.infer("simple", simple_in(front, "whole"), outputs=simple_out(front, "r")),
            400,
            "Invalid offset + byte size for shared memory region: 'r'",
        )
        assert segment.size == 96
        front.client.infer("simple", simple_in(front, "whole"), outputs=simple_out(front, "whole"))
    assert front.client.is_server_live()


def test_a_region_unregistered_under_a_request_still_takes_its_answer(
    start: Callable[..., Front], segment: Segment
) -> None:
    front = start(slow=identity("INT32", held=True))
    front.client.register_system_shared_memory("r", segment.key, 4096)
    segment.put(row(5))
    other = front.another_client()
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                other.infer,
                "slow",
                [front.input("INPUT0", [16], "INT32", "r", 64)],
                outputs=[front.output("OUTPUT0", "r", 64, 64)],
            )
            front.models["slow"].wait_until_it_runs()
            segment.put(row(6))  # too late for what runs

            front.client.unregister_system_shared_memory("r")
            assert not status_of(front)
            assert descriptors_of(segment) == 1

            front.models["slow"].release.set()
            answer.result(PATIENCE_S)
    finally:
        other.close()

    assert segment.content[64:128] == row(5)
    until(lambda: descriptors_of(segment) == 0)


def status_of(front: Front) -> dict[str, dict[str, Any]]:
    """Return the system regions by name, whichever client told of them."""
    status = front.client.get_system_shared_memory_status()
    if isinstance(status, list):
        return {region["name"]: region for region in status}
    return {
        name: {"name": r.name, "key": r.key, "offset": r.offset, "byte_size": r.byte_size}
        for name, r in status.regions.items()
    }


def test_the_status_tells_of_what_is_registered(start: Callable[..., Front], segment: Segment) -> None:
    front = start()
    front.client.register_system_shared_memory("a", segment.key, 64)
    front.client.register_system_shared_memory("b", segment.key, 64, offset=100)

    assert status_of(front) == {
        "a": {"name": "a", "key": segment.key, "offset": 0, "byte_size": 64},
        "b": {"name": "b", "key": segment.key, "offset": 100, "byte_size": 64},
    }
    front.is_refused(
        lambda: front.client.get_system_shared_memory_status("c"),
        404,
        "Unable to find system shared memory region: 'c'",
    )
    front.is_refused(
        lambda: front.client.get_cuda_shared_memory_status("a"),
        404,
        "The region named 'a' is registered as system shared memory, not CUDA shared memory",
    )
    front.client.unregister_cuda_shared_memory()
    assert len(status_of(front)) == 2
    front.client.unregister_system_shared_memory()
    assert status_of(front) == {}


def test_what_cannot_be_registered_is_refused_as_triton_does(start: Callable[..., Front], segment: Segment) -> None:
    front = start()
    front.client.register_system_shared_memory("r", segment.key, 64)
    register, cuda = front.client.register_system_shared_memory, front.client.register_cuda_shared_memory

    front.is_refused(
        lambda: register("r", segment.key, 64),
        400 if front.library is tritonclient.http else 409,
        "shared memory region 'r' already in manager",
    )
    front.is_refused(lambda: register("x", "/none", 64), 500, "Unable to open shared memory region: '/none'")
    front.is_refused(
        lambda: register("x", segment.key, 64, offset=4090),
        400,
        "failed to register shared memory region 'x': invalid args",
    )
    handle = b"QUFB" * 21 + b"QQ=="
    front.is_refused(
        lambda: cuda("x", handle, 0, 64),
        400,
        "failed to register CUDA shared memory region: 'x', GPUs not supported",
    )


def test_it_is_off_unless_allowed(start: Callable[..., Front], segment: Segment) -> None:
    front = start(allowed=False, simple=simple())

    for call in (
        lambda: front.client.register_system_shared_memory("r", segment.key, 64),
        lambda: front.client.register_cuda_shared_memory("r", b"QUFB" * 21 + b"QQ==", 0, 64),
        lambda: front.client.unregister_system_shared_memory("r"),
        lambda: front.client.unregister_cuda_shared_memory(),
    ):
        front.is_refused(call, 501, DISABLED)
    assert status_of(front) == {}
    front.is_refused(
        lambda: front.client.infer("simple", simple_in(front, "r")), 404, "Unable to find shared memory region: 'r'"
    )


def test_clients_at_once_get_their_own_answers(start: Callable[..., Front]) -> None:
    front = start(simple=simple())

    def work(number: int) -> None:
        client = front.another_client()
        region = f"r{number}"
        try:
            with a_segment() as own:
                for turn in range(10):
                    client.register_system_shared_memory(region, own.key, 4096)
                    own.put(row(number) + row(turn))
                    client.infer("simple", simple_in(front, region), outputs=simple_out(front, region))
                    assert results(own) == (number + turn, number - turn)
                    client.unregister_system_shared_memory(region)
        finally:
            client.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result(PATIENCE_S)
    assert status_of(front) == {}


@pytest.mark.parametrize("lane", ["fast", "asgi"])
def test_the_json_of_an_output_in_a_region_is_its_shape_alone(lane: str, tmp_path: Path, segment: Segment) -> None:
    regions = Regions(allowed=True)
    regions.register_system("r", segment.key, 0, 4096)
    place = {"shared_memory_region": "r", "shared_memory_byte_size": 64}
    document = {
        "inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [16], "parameters": place}],
        "outputs": [{"name": "OUTPUT0", "parameters": {**place, "shared_memory_offset": 64}}],
    }
    with serving(lane, tmp_path, {"any": identity("INT32")}, regions=regions) as served:
        connection = http.client.HTTPConnection(served.host, served.port)
        for _ in range(2):
            connection.request("POST", "/v2/models/any/infer", json.dumps(document))
            answer = connection.getresponse()

            assert answer.status == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["inference-header-content-length"] is None
            assert json.loads(answer.read()) == {
                "model_name": "any",
                "model_version": "1",
                "outputs": [{"name": "OUTPUT0", "datatype": "INT32", "shape": [16]}],
            }
        connection.close()
