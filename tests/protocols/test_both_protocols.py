"""One suite over REST and gRPC: the stock clients of both, against one server, hear the same."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from fakes import PATIENCE_S, FakeModel, Served, failing, identity, serving, simple, tensors
from tritonclient.utils import InferenceServerException

from jubako.protocols.grpc.aio import GrpcServer
from jubako.protocols.grpc.options import GrpcOptions

Array = np.ndarray[Any, Any]
PROTOCOLS = ("http", "grpc")
ROW = np.arange(16, dtype=np.int32).reshape(1, 16)
ONES = np.ones((1, 16), np.int32)
ARRAYS: Mapping[str, Array] = {
    "BOOL": np.array([True, False, True]),
    **{
        name.upper(): np.array([np.iinfo(name).min, 0, 1, np.iinfo(name).max], name)
        for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
    },
    "FP16": np.array([0, -1.5, 65504, np.inf], np.float16),
    "BF16": np.array([0, -1.5, 256, np.inf], ml_dtypes.bfloat16),
    "FP32": np.array([0, -1.5, 3e38, np.nan], np.float32),
    "FP64": np.array([0, -1.5, 1e308, -np.inf], np.float64),
    "BYTES": np.array([b"", b"a", "ü€".encode(), bytes(300), b"\xff"], np.object_),
}


def scores() -> FakeModel:
    """Return a model whose output has labels."""
    config = (
        "max_batch_size: 4\n"
        + tensors("input", ("INPUT0", "FP32", "[ 3 ]"))
        + tensors("output", ("OUTPUT0", "FP32", '[ 3 ] label_filename: "labels.txt"'))
    )
    return FakeModel(config, lambda inputs: [inputs["INPUT0"].copy()], labels=("zero", "one"))


def models() -> dict[str, FakeModel]:
    return {
        "simple": simple(),
        "untouched": simple(),
        "counted_http": simple(),
        "counted_grpc": simple(),
        "scores": scores(),
        "failing": failing(),
        **{
            f"identity_{datatype.lower()}": identity("STRING" if datatype == "BYTES" else datatype)
            for datatype in ARRAYS
        },
    }


@dataclass(frozen=True)
class Client:
    """One of the two stock clients, and what to call its answers."""

    protocol: str
    raw: Any
    triton: ModuleType

    def ask(self, call: str, *arguments: Any) -> Any:
        """Return what a call of the control plane answers, as JSON says it (see `said`)."""
        if self.protocol == "http":
            return said(getattr(self.raw, call)(*arguments))
        answer = said(getattr(self.raw, call)(*arguments, as_json=True))
        return answer.get({"get_model_config": "config", "get_model_repository_index": "models"}.get(call), answer)

    def infer(
        self, model: str, inputs: Mapping[str, Array | tuple[str, Array]], outputs: Any = None, **more: Any
    ) -> Any:
        """Run one inference; an input is an array, or a datatype and an array."""
        given = []
        for name, value in inputs.items():
            datatype, array = value if isinstance(value, tuple) else (DATATYPE_OF[value.dtype.name], value)
            given.append(self.triton.InferInput(name, array.shape, datatype))
            given[-1].set_data_from_numpy(array)
        return self.raw.infer(model, given, outputs=outputs, **more)

    def output(self, name: str, **more: Any) -> Any:
        return self.triton.InferRequestedOutput(name, **more)


DATATYPE_OF = {array.dtype.name: name for name, array in ARRAYS.items()}


NOTHING: Any = ("0", "", False, [], {}, "FORMAT_NONE", "PRIORITY_DEFAULT")


def said(answer: Any) -> Any:
    """Return an answer as protobuf's JSON has it: without values that are nothing, numbers as text."""
    match answer:
        case dict():
            fields = {key: said(value) for key, value in answer.items()}
            return {key: value for key, value in fields.items() if value not in NOTHING}
        case list():
            return [said(value) for value in answer]
        case bool() | str():
            return answer
        case _:
            return str(answer)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, int]]:
    """Give one server, and the port of its gRPC."""
    with serving("fast", tmp_path_factory.mktemp("models"), models()) as server:
        front = GrpcServer(server.server, GrpcOptions("127.0.0.1", 0))

        def wait_for(work: Any) -> None:
            asyncio.run_coroutine_threadsafe(work, server.loop).result(PATIENCE_S)

        wait_for(front.start())
        yield server, front.port
        wait_for(front.stop(0))


@pytest.fixture
def client_of(served: tuple[Served, int]) -> Iterator[Callable[[str], Client]]:
    server, grpc_port = served
    with ExitStack() as clients:

        def connect(protocol: str) -> Client:
            module = getattr(tritonclient, protocol)
            port = server.port if protocol == "http" else grpc_port
            made = module.InferenceServerClient(f"127.0.0.1:{port}")
            return Client(protocol, clients.enter_context(made), module)

        yield connect


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest, client_of: Callable[[str], Client]) -> Client:
    """Give each of the clients in turn."""
    return client_of(request.param)


def test_server_and_models_are_live_and_ready(client: Client) -> None:
    assert client.raw.is_server_live()
    assert client.raw.is_server_ready()
    assert client.raw.is_model_ready("simple")
    assert client.raw.is_model_ready("simple", "1")
    assert not client.raw.is_model_ready("simple", "2")
    assert not client.raw.is_model_ready("unknown")


def test_metadata_names_the_server_and_what_a_model_takes(client: Client) -> None:
    server = client.ask("get_server_metadata")
    model = client.ask("get_model_metadata", "simple")

    assert server["name"] == "triton"
    assert {"classification", "model_configuration", "statistics"} <= set(server["extensions"])
    assert model == {
        "name": "simple",
        "versions": ["1"],
        "platform": "fake",
        "inputs": [{"name": f"INPUT{i}", "datatype": "INT32", "shape": ["-1", "16"]} for i in range(2)],
        "outputs": [{"name": f"OUTPUT{i}", "datatype": "INT32", "shape": ["-1", "16"]} for i in range(2)],
    }


def test_the_configuration_is_told(client: Client) -> None:
    config = client.ask("get_model_config", "simple")

    assert (config["name"], config["backend"], config["max_batch_size"]) == ("simple", "fake", "8")
    assert config["input"][0] == {"name": "INPUT0", "data_type": "TYPE_INT32", "dims": ["16"]}


def test_the_index_has_a_row_for_each_model(client: Client) -> None:
    rows = client.ask("get_model_repository_index")

    assert sorted(row["name"] for row in rows) == sorted(models())
    assert {(row["version"], row["state"]) for row in rows} == {("1", "READY")}


def test_statistics_count_every_row_and_execution(client: Client) -> None:
    model = f"counted_{client.protocol}"

    for rows in (1, 3):
        client.infer(model, {"INPUT0": ROW.repeat(rows, 0), "INPUT1": ONES.repeat(rows, 0)})
    with pytest.raises(InferenceServerException):
        client.infer(model, {"INPUT0": ROW})
    (counts,) = client.ask("get_inference_statistics", model)["model_stats"]

    assert (counts["inference_count"], counts["execution_count"]) == ("4", "2")
    assert counts["inference_stats"]["success"]["count"] == "2"
    assert [batch["batch_size"] for batch in counts["batch_stats"]] == ["1", "3"]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_server_metadata", ()),
        ("get_model_metadata", ("scores",)),
        ("get_model_config", ("scores", "1")),
        ("get_model_repository_index", ()),
        ("get_inference_statistics", ("untouched",)),
    ],
)
def test_both_protocols_say_the_same(client_of: Callable[[str], Client], call: str, arguments: tuple[str, ...]) -> None:
    over_http, over_grpc = (client_of(protocol).ask(call, *arguments) for protocol in PROTOCOLS)

    assert over_http == over_grpc
    assert over_http


@pytest.mark.parametrize("datatype", ARRAYS)
def test_each_datatype_comes_back_as_it_went(client: Client, datatype: str) -> None:
    array = ARRAYS[datatype]

    for _ in range(2):  # the second time by what is remembered of the first
        answer = client.infer(f"identity_{datatype.lower()}", {"INPUT0": (datatype, array)}).as_numpy("OUTPUT0")

        assert answer.dtype == array.dtype
        assert answer.tobytes() == array.tobytes() if datatype != "BYTES" else (answer == array).all()


def test_an_empty_tensor_comes_back_empty(client: Client) -> None:
    answer = client.infer("identity_fp32", {"INPUT0": np.empty(0, np.float32)}).as_numpy("OUTPUT0")

    assert answer.shape == (0,)


def test_an_answer_has_the_request_s_id_and_only_the_outputs_asked_for(client: Client) -> None:
    answer = client.infer(
        "simple", {"INPUT1": ONES, "INPUT0": ROW}, [client.output("OUTPUT1")], request_id="a1", model_version="1"
    )

    told = said(answer.get_response()) if client.protocol == "http" else said(answer.get_response(as_json=True))
    assert (told["id"], told["model_name"], told["model_version"]) == ("a1", "simple", "1")
    assert answer.as_numpy("OUTPUT0") is None
    assert (answer.as_numpy("OUTPUT1") == ROW - 1).all()


def test_classes_are_ranked_with_their_labels(client: Client) -> None:
    images = np.array([[0.1, 0.9, 0.5], [3, 2, 1]], np.float32)

    ranked = client.infer("scores", {"INPUT0": images}, [client.output("OUTPUT0", class_count=2)]).as_numpy("OUTPUT0")

    assert ranked.tolist() == [[b"0.900000:1:one", b"0.500000:2"], [b"3.000000:0:zero", b"2.000000:1:one"]]


Fault = Callable[[Client], object]
SUM = {"INPUT0": ROW, "INPUT1": ONES}
FLOATS = {"INPUT0": np.ones(2, np.float32)}
OFF = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
NO_CONTROL = "explicit model load / unload is not allowed if polling is enabled"
BAD_REQUEST, MISSING = ("400", "INVALID_ARGUMENT"), ("404", "NOT_FOUND")
BROKEN, UNBUILT, NOT_NOW = ("500", "INTERNAL"), ("501", "UNIMPLEMENTED"), ("503", "UNAVAILABLE")
FAULTS: Mapping[str, tuple[Fault, tuple[str, str], str]] = {
    "a model that is not there": (
        lambda client: client.infer("unknown", SUM),
        MISSING,
        "Request for unknown model: 'unknown' is not found",
    ),
    "a version that is not there": (
        lambda client: client.infer("simple", SUM, model_version="7"),
        MISSING,
        "Request for unknown model: 'simple' version 7 is not found",
    ),
    "metadata of a model that is not there": (
        lambda client: client.raw.get_model_metadata("unknown"),
        MISSING,
        "Request for unknown model: 'unknown' is not found",
    ),
    "statistics of a version that is not there": (
        lambda client: client.raw.get_inference_statistics("simple", "7"),
        BAD_REQUEST,
        "requested model version is not available for model 'simple'",
    ),
    "an input that is missing": (
        lambda client: client.infer("simple", {"INPUT0": ROW}, request_id="a1"),
        BAD_REQUEST,
        "[request id: a1] expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing "
        "required input(s) ['INPUT1']. Please provide all required input(s).",
    ),
    "an input of another name": (
        lambda client: client.infer("identity_fp32", {"OTHER": FLOATS["INPUT0"]}),
        BAD_REQUEST,
        "unexpected inference input 'OTHER' for model 'identity_fp32'",
    ),
    "another datatype": (
        lambda client: client.infer("identity_fp32", {"INPUT0": np.ones(2, np.int32)}),
        BAD_REQUEST,
        "[request id: <id_unknown>] inference input 'INPUT0' data-type is 'INT32', but model 'identity_fp32' expects "
        "'FP32'",
    ),
    "another shape": (
        lambda client: client.infer("simple", {"INPUT0": ROW[:, :15], "INPUT1": ONES}),
        BAD_REQUEST,
        "[request id: <id_unknown>] unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got "
        "[1,15]. NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
        "prepended to each input shape. If you want to specify the full shape including the batch dim in your input "
        "dims config, try setting max_batch_size to zero. See the model configuration docs for more info on "
        "max_batch_size.",
    ),
    "a batch that is too large": (
        lambda client: client.infer("simple", {"INPUT0": ROW.repeat(9, 0), "INPUT1": ONES.repeat(9, 0)}),
        BAD_REQUEST,
        "[request id: <id_unknown>] inference request batch-size must be <= 8 for 'simple'",
    ),
    "an output that is not there": (
        lambda client: client.infer("simple", SUM, [client.output("OTHER")]),
        BAD_REQUEST,
        "unexpected inference output 'OTHER' for model 'simple'",
    ),
    "an execution that breaks": (
        lambda client: client.infer("failing", FLOATS),
        BROKEN,
        "ValueError: no luck \x1b[31m\ntoday",
    ),
    "a load": (lambda client: client.raw.load_model("simple"), NOT_NOW, NO_CONTROL),
    "an unload": (lambda client: client.raw.unload_model("simple"), NOT_NOW, NO_CONTROL),
    "shared memory": (lambda client: client.raw.register_system_shared_memory("r", "/r", 4), UNBUILT, OFF),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_the_same_words_and_its_protocol_s_status(client: Client, fault: str) -> None:
    commit, statuses, message = FAULTS[fault]

    with pytest.raises(InferenceServerException) as refused:
        commit(client)

    status = dict(zip(PROTOCOLS, statuses, strict=True))[client.protocol]
    assert refused.value.status() in (status, f"StatusCode.{status}")
    assert refused.value.message() == message
