"""Executions before a version is ready: what samples hold, that each instance runs them, and how they fail."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from programmable import (
    Answered,
    Held,
    Model,
    a_config,
    a_request,
    a_server,
    negate,
    no_thread_left,
    run,
    snapshot,
    until,
)
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.errors import InvalidArgument, JubakoError, Unsupported
from jubako.lifecycle import IndexRow
from jubako.repository import Snapshot
from jubako.runner import State
from jubako.server import VersionStatistics
from jubako.tensor import Array
from jubako.warmup import Sample, read_samples

__all__ = ["snapshot"]  # a fixture
Write = Callable[..., Snapshot]
LABEL = "[request id: <id_unknown>] "


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def warmup(name: str = "w", *, size: int = 1, count: int = 0, x: str = "dims: 2 zero_data: true") -> str:
    """Return a sample for programmable's models, as config.pbtxt has it."""
    return (
        f'model_warmup {{ name: "{name}" batch_size: {size} count: {count} '
        f'inputs {{ key: "X" value {{ data_type: TYPE_INT32 {x} }} }} }}'
    )


def one_input(datatype: str, source: str, *, dims: str = "[ 3 ]", batch: int = 8) -> ModelConfig:
    """Return the configuration of a model with one input X of any datatype, and a sample for it."""
    text = f"""
        name: "m" max_batch_size: {batch}
        input {{ name: "X" data_type: TYPE_{datatype} dims: [ -1 ] }}
        output {{ name: "Y" data_type: TYPE_{datatype} dims: [ -1 ] }}
        model_warmup {{ name: "w" batch_size: 1 inputs {{
          key: "X" value {{ data_type: TYPE_{datatype} dims: {dims} {source} }}
        }} }}
    """
    return text_format.Parse(text, ModelConfig())


def array_of(sample: Sample) -> Array:
    (array,) = sample.request.arrays
    return array


def loaded(written: Snapshot) -> tuple[list[IndexRow], list[VersionStatistics]]:
    """Load `written` in a server and return its index and its counts."""

    async def scene() -> tuple[list[IndexRow], list[VersionStatistics]]:
        async with a_server() as server:
            await server.load(written)
            return server.index(), server.statistics()

    return run(scene())


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BF16"])
@pytest.mark.parametrize("batch", [8, 0])
def test_zeros_are_of_the_inputs_datatype_and_have_a_batch_dimension_where_the_model_has(
    datatype: str, batch: int, tmp_path: Path
) -> None:
    (sample,) = read_samples(one_input(datatype, "zero_data: true", batch=batch), tmp_path)

    assert array_of(sample).shape == ((1, 3) if batch else (3,))
    assert array_of(sample).tobytes() == bytes(array_of(sample).nbytes)
    assert sample.request.signature.inputs[0].datatype.dtype == array_of(sample).dtype


@pytest.mark.parametrize("source", ["zero_data: true", "random_data: true"])
def test_strings_of_no_data_and_of_random_data_are_empty(source: str, tmp_path: Path) -> None:
    (sample,) = read_samples(one_input("STRING", source), tmp_path)

    assert array_of(sample).tolist() == [[b"", b"", b""]]


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT8", "INT64", "FP16", "FP32", "FP64", "BF16"])
def test_random_data_varies_is_finite_and_is_the_same_at_each_load(datatype: str, tmp_path: Path) -> None:
    config = one_input(datatype, "random_data: true", dims="[ 100 ]")

    first, second = (array_of(read_samples(config, tmp_path)[0]) for _ in range(2))

    assert len(np.unique(first)) > 1
    assert first.tobytes() == second.tobytes()
    floats = (first.astype(np.uint32) << 16).view(np.float32) if datatype == "BF16" else first
    if datatype.startswith(("F", "BF")):
        assert np.all((floats >= 0) & (floats <= 1))
    if datatype == "BOOL":
        assert set(first.view(np.uint8).ravel()) == {0, 1}


def test_data_comes_from_a_file_in_the_models_warmup_folder(tmp_path: Path) -> None:
    (tmp_path / "warmup" / "deep").mkdir(parents=True)
    (tmp_path / "warmup" / "deep" / "x").write_bytes(np.arange(5, dtype="<i4").tobytes())

    (sample,) = read_samples(one_input("INT32", 'input_data_file: "deep/x"'), tmp_path)

    assert array_of(sample).tolist() == [[0, 1, 2]], "what is too much is left alone"


def test_strings_in_a_file_have_their_lengths_before_them(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "x").write_bytes(b"\x01\0\0\0a\0\0\0\0\x02\0\0\0bc")

    (sample,) = read_samples(one_input("STRING", 'input_data_file: "x"'), tmp_path)

    assert array_of(sample).tolist() == [[b"a", b"", b"bc"]]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (one_input("INT32", "", dims="2"), f"{LABEL}warmup setting expects input 'X' to have input_data_type set"),
        (
            one_input("INT32", "zero_data: true", dims="-1"),
            "warmup setting expects all variable-size dimensions are specified for input 'X'",
        ),
        (
            one_input("INT32", 'input_data_file: "short"', dims="2"),
            f"{LABEL}warmup setting expects 8 bytes, but the data provided from shortonly has 3 bytes",
        ),
        (
            one_input("INT32", 'input_data_file: "none"'),
            "failed to open text file for read m/warmup/none: No such file or directory",
        ),
        (
            one_input("INT32", 'input_data_file: "../config.pbtxt"'),
            "warmup file '../config.pbtxt' of model 'm' is outside its folder warmup",
        ),
        (one_input("STRING", 'input_data_file: "short"'), "incomplete string length indicator"),
        (
            a_config(more=warmup(x="dims: 3 zero_data: true")),
            f"{LABEL}unexpected shape for input 'X' for model 'm'. Expected [-1,2], got [1,3]. NOTE: ",
        ),
        (
            a_config(more=warmup().replace("INT32", "FP32")),
            f"{LABEL}inference input 'X' data-type is 'FP32', but model 'm' expects 'INT32'",
        ),
        (
            a_config(more=warmup().replace("INT32", "INVALID")),
            f"{LABEL}inference input 'X' data-type is '<invalid>', but model 'm' expects 'INT32'",
        ),
        (a_config(more=warmup().replace('"X"', '"V"')), "unexpected inference input 'V' for model 'm'"),
        (a_config(more='model_warmup { name: "w" batch_size: 1 }'), f"{LABEL}expected 1 inputs but got 0 inputs"),
        (
            a_config(more=warmup(size=9)),
            "failed to run warmup sample 'w': batch size 9 for 'm', max allowed is 8; ",
        ),
        (
            a_config(batch=0, more=warmup(size=2)),
            "failed to run warmup sample 'w': batch size 2 for 'm', max allowed is 0; ",
        ),
    ],
)
def test_what_is_wrong_with_a_sample_is_said_in_tritons_words(
    config: ModelConfig, message: str, tmp_path: Path
) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "short").write_bytes(b"abc")

    with pytest.raises(JubakoError) as caught:
        read_samples(config, tmp_path)

    assert str(caught.value).startswith(message)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "secret").write_bytes(bytes(12))
    (tmp_path / "warmup" / "x").symlink_to(tmp_path / "secret")

    with pytest.raises(Unsupported, match="outside its folder"):
        read_samples(one_input("INT32", 'input_data_file: "x"'), tmp_path)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_each_sample_runs_on_each_instance_in_its_thread_and_as_often_as_it_says(snapshot: Write) -> None:
    samples = warmup("one") + warmup("three", size=3, count=2) + warmup("none", size=0, count=5)
    model = Model(config=a_config(groups="{ count: 2 }, { count: 1 passive: true }", more=samples))

    index, _ = loaded(snapshot(model))

    assert [row.state for row in index] == [State.READY]
    ran = {instance.name: instance.rows for instance in model.instances}
    assert sorted(ran.values()) == [[], [1, 3, 3], [1, 3, 3]], "the passive one never runs"
    for instance in model.instances:
        assert len(set(instance.threads)) == 1
        assert instance.threads[0] != threading.get_ident()


def test_the_model_gets_the_samples_data(snapshot: Write) -> None:
    given: list[Any] = []

    def note(inputs: Mapping[str, Array]) -> Sequence[Array]:
        given.append(inputs["X"].tolist())
        return negate(inputs)

    written = snapshot(Model(config=a_config(more=warmup(size=2, x='dims: 2 input_data_file: "x"')), execute=note))
    (written.versions[0].root / "warmup").mkdir()
    (written.versions[0].root / "warmup" / "x").write_bytes(np.array([7, 8], "<i4").tobytes())

    loaded(written)

    assert given == [[[7, 8], [7, 8]]]


def test_runs_are_counted_as_executions_and_not_as_requests(snapshot: Write) -> None:
    model = Model(config=a_config(groups="{ count: 2 }", more=warmup(size=3, count=2)))

    _, (counted,) = loaded(snapshot(model))

    statistics = counted.statistics
    assert statistics.execution_count == 4
    assert {size: batch.count for size, batch in statistics.batches.items()} == {3: 4}
    assert statistics.last_inference_ms > 0
    assert (statistics.inference_count, statistics.success.count, statistics.queue.count) == (0, 0, 0)
    assert statistics.compute_infer.count == 0


def test_the_version_is_loading_until_its_samples_have_run(snapshot: Write) -> None:
    held = Held()
    written = snapshot(Model(config=a_config(more=warmup()), execute=held.then()))

    async def scene() -> None:
        async with a_server() as server, asyncio.TaskGroup() as tasks:
            tasks.create_task(server.load(written))
            await held.has_begun()
            assert [row.state for row in server.index()] == [State.LOADING]
            assert not server.ready
            held.release.set()
            await until(lambda: server.ready)
            answer = Answered()
            server.submit(a_request(1), answer)
            await answer.arrived.wait()
            assert answer.values == [[[-1, -1]], [[2, 2]]]

    run(scene())


def test_a_sample_that_fails_keeps_the_version_from_turning_ready_and_closes_its_instances(snapshot: Write) -> None:
    def fail(inputs: Mapping[str, Array]) -> Sequence[Array]:
        raise InvalidArgument("no luck today")

    model = Model(config=a_config(groups="{ count: 2 }", more=warmup("S", size=2)), execute=fail)

    index, counts = loaded(snapshot(model, Model("other", config=a_config("other", more=warmup()))))

    assert [(row.name, row.state) for row in index] == [("m", State.UNAVAILABLE), ("other", State.READY)]
    assert index[0].reason == "Invalid argument: failed to run warmup sample 'S': no luck today; "
    assert all(instance.closed.is_set() for instance in model.instances)
    assert [version.name for version in counts] == ["other"]


def test_a_server_that_closes_does_not_wait_for_all_the_runs(snapshot: Write) -> None:
    held = Held()
    written = snapshot(Model(config=a_config(more=warmup(count=1_000_000)), execute=held.then()))

    async def scene() -> None:
        server = a_server()
        loading = asyncio.create_task(server.load(written))
        await held.has_begun()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        held.release.set()
        await closing
        await asyncio.gather(loading, return_exceptions=True)

    run(scene())
