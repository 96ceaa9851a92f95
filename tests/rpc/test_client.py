"""Every call that the stock synchronous client has, against a real server."""

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from fakes import FakeModel, identity, simple, tensors
from tritonclient.utils import InferenceServerException

from .serving import Served, serving

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


def scores() -> FakeModel:
    config = (
        "max_batch_size: 4\n"
        + tensors("input", ("INPUT0", "FP32", "[ 3 ]"))
        + tensors("output", ("OUTPUT0", "FP32", '[ 3 ] label_filename: "labels.txt"'))
    )
    return FakeModel(config, lambda inputs: [inputs["INPUT0"].copy()], labels=("zero", "one"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = {
        "simple": simple(),
        "scores": scores(),
        **{
            f"identity_{datatype.lower()}": identity("STRING" if datatype == "BYTES" else datatype)
            for datatype in DTYPES
        },
    }
    with serving(tmp_path_factory.mktemp("models"), models) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(served.url) as client:
        yield client


def simple_inputs(rows: int = 1) -> tuple[list[Any], Any]:
    counting = np.arange(16 * rows, dtype=np.int32).reshape(rows, 16)
    inputs = [triton.InferInput(name, [rows, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    inputs[0].set_data_from_numpy(counting)
    inputs[1].set_data_from_numpy(np.ones((rows, 16), np.int32))
    return inputs, counting


def test_health_is_answered(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.is_model_ready("simple", "1")


def test_a_model_that_is_not_there_is_not_ready(client: Any) -> None:
    assert not client.is_model_ready("unknown")
    assert not client.is_model_ready("simple", "2")


def test_metadata_is_answered(client: Any) -> None:
    server = client.get_server_metadata(as_json=True)
    model = client.get_model_metadata("simple", as_json=True)

    assert server["name"] == "triton"
    assert "classification" in server["extensions"]
    assert model["name"] == "simple"
    assert model["versions"] == ["1"]
    assert model["platform"] == "fake"
    assert model["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": ["-1", "16"]}
    assert [output["name"] for output in model["outputs"]] == ["OUTPUT0", "OUTPUT1"]


def test_a_configuration_is_answered(client: Any) -> None:
    config = client.get_model_config("simple").config

    assert config.name == "simple"
    assert config.max_batch_size == 8
    assert [tensor.name for tensor in config.input] == ["INPUT0", "INPUT1"]


def test_the_index_is_answered(client: Any) -> None:
    rows = client.get_model_repository_index().models

    assert ("simple", "1", "READY") in [(row.name, row.version, row.state) for row in rows]


def test_statistics_count_what_was_answered(client: Any) -> None:
    before = client.get_inference_statistics("simple", "1").model_stats[0]
    inputs, _ = simple_inputs(rows=2)
    client.infer("simple", inputs)
    after = client.get_inference_statistics("simple").model_stats[0]

    assert after.inference_count == before.inference_count + 2
    assert after.execution_count == before.execution_count + 1
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert 2 in [batch.batch_size for batch in after.batch_stats]
    assert len(client.get_inference_statistics().model_stats) > 1


def test_loading_is_refused_where_control_is_off(client: Any) -> None:
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed") as refused:
            call("simple")
        assert refused.value.status() == "StatusCode.UNAVAILABLE"


NO_SHARED_MEMORY = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."


@pytest.mark.parametrize(
    ("call", "arguments", "text"),
    [
        ("register_system_shared_memory", ("r", "/r", 4), NO_SHARED_MEMORY),
        ("unregister_system_shared_memory", (), NO_SHARED_MEMORY),
        ("register_cuda_shared_memory", ("r", b"aGFuZGxl", 0, 4), NO_SHARED_MEMORY),
        ("unregister_cuda_shared_memory", (), NO_SHARED_MEMORY),
    ],
)
def test_what_is_not_built_or_not_allowed_says_so(
    client: Any, call: str, arguments: tuple[Any, ...], text: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        getattr(client, call)(*arguments)

    assert refused.value.message() == text
    assert refused.value.status() == "StatusCode.UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("call", "arguments", "text"),
    [
        ("get_trace_settings", (), "the server does not support tracing"),
        ("update_trace_settings", (None, {"trace_rate": "1"}), "the server does not support tracing"),
        ("get_log_settings", (), "the server does not support dynamic logging"),
        ("update_log_settings", ({"log_info": True},), "the server does not support dynamic logging"),
    ],
)
def test_a_server_without_settings_says_so(client: Any, call: str, arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(InferenceServerException) as refused:
        getattr(client, call)(*arguments)

    assert refused.value.message() == text
    assert refused.value.status() == "StatusCode.UNAVAILABLE"


def test_an_inference_is_answered(client: Any) -> None:
    inputs, counting = simple_inputs()

    for request_id in ("first", "second", ""):  # the second and third by what is remembered of the first
        result = client.infer("simple", inputs, request_id=request_id)

        assert result.get_response().id == request_id
        assert result.get_response().model_version == "1"
        assert (result.as_numpy("OUTPUT0") == counting + 1).all()
        assert (result.as_numpy("OUTPUT1") == counting - 1).all()


def test_only_the_outputs_asked_for_come(client: Any) -> None:
    inputs, counting = simple_inputs()

    result = client.infer("simple", inputs, outputs=[triton.InferRequestedOutput("OUTPUT1")])

    assert [output.name for output in result.get_response().outputs] == ["OUTPUT1"]
    assert (result.as_numpy("OUTPUT1") == counting - 1).all()


@pytest.mark.parametrize("datatype", DTYPES)
def test_each_datatype_comes_back_as_it_went(client: Any, datatype: str) -> None:
    array: Any = np.array([b"", b"a", "ü€".encode(), bytes(300)], object)
    if datatype != "BYTES":
        array = np.array([0, 1, 2, 100], DTYPES[datatype])
    tensor = triton.InferInput("INPUT0", array.shape, datatype)
    tensor.set_data_from_numpy(array)

    for _ in range(2):
        result = client.infer(f"identity_{datatype.lower()}", [tensor]).as_numpy("OUTPUT0")

        assert result.dtype == array.dtype
        assert (result == array).all()


def test_an_empty_tensor_comes_back_empty(client: Any) -> None:
    tensor = triton.InferInput("INPUT0", [0], "FP32")
    tensor.set_data_from_numpy(np.empty(0, np.float32))

    assert client.infer("identity_fp32", [tensor]).as_numpy("OUTPUT0").shape == (0,)


def test_sixteen_megabytes_come_back_as_they_went(client: Any) -> None:
    array = np.random.default_rng(0).random(4 << 20, np.float32)
    tensor = triton.InferInput("INPUT0", array.shape, "FP32")
    tensor.set_data_from_numpy(array)

    assert (client.infer("identity_fp32", [tensor]).as_numpy("OUTPUT0") == array).all()


def test_classes_are_ranked_with_their_labels(client: Any) -> None:
    tensor = triton.InferInput("INPUT0", [2, 3], "FP32")
    tensor.set_data_from_numpy(np.array([[0.1, 0.9, 0.5], [3, 2, 1]], np.float32))

    for count in (2, 1, 2):
        output = triton.InferRequestedOutput("OUTPUT0", class_count=count)
        ranked = client.infer("scores", [tensor], outputs=[output]).as_numpy("OUTPUT0")

        assert ranked[0][0] == b"0.900000:1:one"
        assert ranked.shape == (2, count)


def test_a_request_may_carry_every_parameter(client: Any) -> None:
    inputs, counting = simple_inputs()

    result = client.infer(
        "simple",
        inputs,
        sequence_id=3,
        sequence_start=True,
        sequence_end=True,
        priority=1,
        timeout=1_000_000,
        parameters={"flavour": "plain", "count": 3, "on": True},
    )

    assert (result.as_numpy("OUTPUT0") == counting + 1).all()


def test_an_inference_may_be_asked_asynchronously(client: Any) -> None:
    inputs, counting = simple_inputs()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    for _ in range(20):
        client.async_infer("simple", inputs, callback=lambda result, error: answers.put(error or result))

    for _ in range(20):
        assert (answers.get(timeout=20).as_numpy("OUTPUT0") == counting + 1).all()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_answered(client: Any, algorithm: str) -> None:
    inputs, counting = simple_inputs()

    result = client.infer("simple", inputs, compression_algorithm=algorithm)

    assert (result.as_numpy("OUTPUT0") == counting + 1).all()


def test_a_stream_answers_plain_models_in_order(client: Any) -> None:
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    inputs, counting = simple_inputs()

    client.start_stream(lambda result, error: answers.put(error or result))
    for number in range(50):
        client.async_stream_infer("simple", inputs, request_id=str(number))
    client.stop_stream()

    for number in range(50):
        result = answers.get(timeout=20)
        assert result.get_response().id == str(number)
        assert result.get_response().parameters["triton_final_response"].bool_param
        assert (result.as_numpy("OUTPUT0") == counting + 1).all()


def test_an_error_in_a_stream_leaves_the_stream_alive(client: Any) -> None:
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    inputs, _ = simple_inputs()

    client.start_stream(lambda result, error: answers.put(error or result))
    client.async_stream_infer("unknown", inputs)
    client.async_stream_infer("simple", inputs, request_id="next")
    refused, answered = answers.get(timeout=20), answers.get(timeout=20)
    client.stop_stream()

    assert refused.message() == "Request for unknown model: 'unknown' is not found"
    assert answered.get_response().id == "next"


@pytest.mark.parametrize(
    ("model", "version", "status", "text"),
    [
        ("unknown", "", "NOT_FOUND", "Request for unknown model: 'unknown' is not found"),
        ("simple", "7", "NOT_FOUND", "Request for unknown model: 'simple' version 7 is not found"),
        ("simple", "-1", "INVALID_ARGUMENT", "invalid model version specified '-1' , version should be"),
        ("identity_fp32", "", "INVALID_ARGUMENT", "[request id: <id_unknown>] expected 1 inputs but got 2 inputs"),
    ],
)
def test_an_error_has_tritons_status_and_words(client: Any, model: str, version: str, status: str, text: str) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, simple_inputs()[0], model_version=version)

    assert refused.value.status() == f"StatusCode.{status}"
    assert refused.value.message().startswith(text)
