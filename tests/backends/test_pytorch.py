import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tritonclient.grpc.model_config_pb2 import ModelConfig

from backends.contract import CPU, BackendContract
from backends.models import config, script_files
from jubako.backends.base import Backend, BackendOptions, Instance, ModelFiles
from jubako.backends.pytorch import PyTorch
from jubako.errors import Internal, InvalidArgument, JubakoError
from jubako.tensor import Datatype


class Identity(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Echo(torch.nn.Module):
    def forward(self, x: list[str]) -> list[str]:
        return x


class Add(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


class AddSub(torch.nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return first + second, first - second


class AddSubByName(torch.nn.Module):
    def forward(self, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        return [inputs["LEFT"] + inputs["RIGHT"], inputs["LEFT"] - inputs["RIGHT"]]


class Count(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[list[str], torch.Tensor]:
        return [str(int(row)) for row in x], x


class InPlace(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1)


class Running(torch.nn.Module):
    total: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x.sum())
        return self.total


class Tail(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[1:]


class Number(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> int:
        return x.size(0)


class Scaled(torch.nn.Module):
    def forward(self, x: torch.Tensor, scale: float) -> torch.Tensor:
        return x * scale


class Heavy(torch.nn.Module):
    weights: torch.Tensor

    def __init__(self, floats: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.arange(floats, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weights[x.to(torch.int64)]


def backend() -> PyTorch:
    return PyTorch(BackendOptions())


class TestContract(BackendContract):
    filename = "model.pt"
    platform = "pytorch"

    def backend(self) -> Backend:
        return backend()

    def identity(self, root: Path, datatype: Datatype, rank: int) -> ModelFiles:
        return script_files(root, Echo() if datatype is Datatype.BYTES else Identity())

    def add(self, root: Path) -> ModelFiles:
        return script_files(root, Add())

    def heavy(self, root: Path, floats: int) -> ModelFiles:
        return script_files(root, Heavy(floats))


def one_in_one_out(datatype: str = "TYPE_FP32", out: str | None = None) -> str:
    return f"""input {{name: "X" data_type: {datatype} dims: -1}}
        output {{name: "Y" data_type: {out or datatype} dims: -1}}"""


def two_in_two_out(inputs: tuple[str, str], outputs: tuple[str, str]) -> ModelConfig:
    listed = [f'input {{name: "{name}" data_type: TYPE_FP32 dims: -1}}' for name in inputs]
    listed += [f'output {{name: "{name}" data_type: TYPE_FP32 dims: -1}}' for name in outputs]
    return config("\n".join(listed))


def run(instance: Instance, *values: float) -> list[float]:
    (returned,) = instance.execute({"X": np.array(values, np.float32)}, ["Y"])
    return [float(value) for value in returned]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (("first", "second"), ("SUM", "DIFFERENCE")),
        (("second", "first"), ("SUM", "DIFFERENCE")),  # by argument name, whatever the order
        (("I__0", "I__1"), ("SUM__0", "DIFFERENCE__1")),
        (("I__1", "I__0"), ("DIFFERENCE__1", "SUM__0")),  # by index, whatever the order
        (("first", "right"), ("SUM", "DIFFERENCE")),  # not all are arguments: configuration order
        (("LEFT", "I__0"), ("SUM", "O__0")),  # not all have an index: configuration order
    ],
)
def test_tensors_find_their_place_by_argument_then_index_then_order(
    tmp_path: Path, inputs: tuple[str, str], outputs: tuple[str, str]
) -> None:
    instance = backend().load(two_in_two_out(inputs, outputs), script_files(tmp_path, AddSub()), CPU)
    reverse = inputs in (("second", "first"), ("I__1", "I__0"))
    first, second = reversed(inputs) if reverse else inputs
    total, difference = reversed(outputs) if outputs[0].startswith("DIFF") else outputs

    returned = instance.execute(
        {inputs[0]: np.zeros(1, np.float32), inputs[1]: np.zeros(1, np.float32)}
        | {first: np.full(1, 5, np.float32), second: np.full(1, 3, np.float32)},
        [total, difference],
    )

    assert [array.tolist() for array in returned] == [[8], [2]]


def test_a_dictionary_argument_takes_inputs_by_name_and_a_list_gives_results_in_order(tmp_path: Path) -> None:
    wanted = two_in_two_out(("RIGHT", "LEFT"), ("SUM", "DIFFERENCE"))
    instance = backend().load(wanted, script_files(tmp_path, AddSubByName()), CPU)

    returned = instance.execute({"RIGHT": np.ones(1, np.float32), "LEFT": np.full(1, 4, np.float32)}, ["DIFFERENCE"])

    assert returned[0].tolist() == [3]


def test_strings_and_tensors_may_come_out_together(tmp_path: Path) -> None:
    wanted = config(
        """input {name: "X" data_type: TYPE_INT64 dims: -1}
        output [{name: "TEXT" data_type: TYPE_STRING dims: -1}, {name: "SAME" data_type: TYPE_INT64 dims: -1}]"""
    )
    instance = backend().load(wanted, script_files(tmp_path, Count()), CPU)

    text, same = instance.execute({"X": np.array([7, 11])}, ["TEXT", "SAME"])

    assert text.tolist() == [b"7", b"11"]
    assert same.tolist() == [7, 11]


@pytest.mark.parametrize("writeable", [True, False])
def test_a_module_that_writes_to_its_input_does_not_reach_the_callers(tmp_path: Path, writeable: bool) -> None:
    instance = backend().load(config(one_in_one_out()), script_files(tmp_path, InPlace()), CPU)
    given = np.zeros(3, np.float32)
    given.flags.writeable = writeable

    (returned,) = instance.execute({"X": given}, ["Y"])

    assert returned.tolist() == [1, 1, 1]
    assert given.tolist() == [0, 0, 0]


def test_a_result_that_is_a_part_of_the_input_is_copied(tmp_path: Path) -> None:
    instance = backend().load(config(one_in_one_out()), script_files(tmp_path, Tail()), CPU)
    given = np.array([1, 2, 3], np.float32)

    (returned,) = instance.execute({"X": given}, ["Y"])
    given[:] = 0

    assert returned.tolist() == [2, 3]


def test_a_result_does_not_change_when_the_modules_state_does(tmp_path: Path) -> None:
    instance = backend().load(config(one_in_one_out()), script_files(tmp_path, Running()), CPU)

    (first,) = instance.execute({"X": np.ones(2, np.float32)}, ["Y"])
    (second,) = instance.execute({"X": np.ones(2, np.float32)}, ["Y"])

    assert first.tolist() == [2]
    assert second.tolist() == [4]


def test_the_configured_datatype_must_be_the_one_that_comes_out(tmp_path: Path) -> None:
    instance = backend().load(
        config(one_in_one_out("TYPE_INT64", "TYPE_FP32")), script_files(tmp_path, Identity()), CPU
    )

    with pytest.raises(InvalidArgument) as failure:
        instance.execute({"X": np.ones(2, np.int64)}, ["Y"])

    assert str(failure.value) == "configuration expects datatype TYPE_FP32 for output 'Y', model provides TYPE_INT64"


def test_a_result_that_is_no_tensor_fails_the_batch(tmp_path: Path) -> None:
    instance = backend().load(config(one_in_one_out()), script_files(tmp_path, Number()), CPU)

    with pytest.raises(Internal, match="output must be of type Tensor"):
        instance.execute({"X": np.ones(2, np.float32)}, ["Y"])


PARAMETERS = [
    ("INFERENCE_MODE", "false"),
    ("INFERENCE_MODE", "TRUE"),
    ("DISABLE_OPTIMIZED_EXECUTION", "1"),
    ("ENABLE_TENSOR_FUSER", "true"),
    ("ENABLE_JIT_PROFILING", "true"),
    ("ENABLE_JIT_EXECUTOR", "true"),
    ("ENABLE_WEIGHT_SHARING", "on"),
    ("A_KEY_OF_SOME_OTHER_RELEASE", "whatever"),
]


@pytest.mark.parametrize(("key", "value"), PARAMETERS)
def test_a_module_runs_under_each_parameter(tmp_path: Path, key: str, value: str) -> None:
    wanted = config(one_in_one_out() + f'parameters {{key: "{key}" value {{string_value: "{value}"}}}}')
    instance = backend().load(wanted, script_files(tmp_path, Identity()), CPU)

    assert [run(instance, 1, 2) for _ in range(3)] == [[1, 2]] * 3


@pytest.mark.parametrize("key", ["INFERENCE_MODE", "DISABLE_OPTIMIZED_EXECUTION", "ENABLE_JIT_EXECUTOR"])
def test_a_bad_boolean_names_key_and_value(tmp_path: Path, key: str) -> None:
    wanted = config(one_in_one_out() + f'parameters {{key: "{key}" value {{string_value: "yes"}}}}')

    with pytest.raises(InvalidArgument, match=f"failed to convert {key} 'yes' to boolean"):
        backend().load(wanted, script_files(tmp_path, Identity()), CPU)


@pytest.fixture(scope="module")
def of_a_fresh_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Load two models that give different thread counts in a process of their own; return what it has become."""
    root = tmp_path_factory.mktemp("threads")
    script_files(root, Identity())
    code = f"""
import json, sys
from pathlib import Path
from jubako.backends.pytorch import PyTorch
jubako_alone = set(sys.modules)
import torch
from backends.models import config
from jubako.backends.base import BackendOptions, ModelFiles
from jubako.backends.placement import Placement
backend = PyTorch(BackendOptions())
for count in (3, 5):
    backend.load(config('''{one_in_one_out()}
        parameters {{key: "INTRA_OP_THREAD_COUNT" value {{string_value: "%d"}}}}
        parameters {{key: "INTER_OP_THREAD_COUNT" value {{string_value: "%d"}}}}''' % (count, count + 1)),
        ModelFiles("m", 1, Path({str(root)!r})), Placement("m_0"))
print(json.dumps(dict(intra=torch.get_num_threads(), inter=torch.get_num_interop_threads(),
                      onnxruntime="onnxruntime" in jubako_alone)))
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path(__file__).parents[1])
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def test_the_first_model_that_gives_thread_counts_decides_for_the_process(
    of_a_fresh_process: dict[str, object],
) -> None:
    assert (of_a_fresh_process["intra"], of_a_fresh_process["inter"]) == (3, 4)


def test_the_backend_does_not_import_onnxruntime(of_a_fresh_process: dict[str, object]) -> None:
    assert of_a_fresh_process["onnxruntime"] is False


def test_instances_that_share_weights_give_the_same_and_close_apart(tmp_path: Path) -> None:
    wanted = config(one_in_one_out() + 'parameters {key: "ENABLE_WEIGHT_SHARING" value {string_value: "true"}}')
    made, shared = script_files(tmp_path, Running()), backend()
    first, second = shared.load(wanted, made, CPU), shared.load(wanted, made, CPU)

    assert run(first, 1) == [1]
    first.close()

    assert run(second, 1) == [2]  # one buffer for both


def test_a_pickle_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    made = ModelFiles("m", 1, tmp_path)
    path = tmp_path / "1" / "model.pt"
    path.parent.mkdir()
    trap = tmp_path / "sprung"

    for save in (lambda: path.write_bytes(pickle.dumps(Trap(trap))), lambda: torch.save(Trap(trap), path)):
        save()
        with pytest.raises(InvalidArgument, match=r"'model\.pt' is not a TorchScript archive"):
            backend().load(config(one_in_one_out()), made, CPU)
        with pytest.raises(InvalidArgument, match="are never unpickled"):
            backend().complete(config(""), made)

    assert not trap.exists()


class Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_completion_fills_the_names_that_choose_the_backend(tmp_path: Path) -> None:
    given = config(one_in_one_out())

    completed = backend().complete(given, script_files(tmp_path, Identity()))

    assert given == config(one_in_one_out())
    assert (completed.backend, completed.platform) == ("pytorch", "pytorch_libtorch")
    assert completed.default_model_filename == "model.pt"


LOAD_ERRORS = [
    ("", Identity(), Internal, "model configuration must contain at least one input, none were specified."),
    (
        'input {name: "X" data_type: TYPE_FP32 dims: -1}',
        Identity(),
        Internal,
        "model configuration must contain at least one output, none were specified.",
    ),
    (
        one_in_one_out(),
        Add(),
        InvalidArgument,
        "unable to load model 'm', configuration expects 1 inputs, model provides 2",
    ),
    (
        'input {name: "X" data_type: TYPE_STRING dims: [-1, 2]} output {name: "Y" data_type: TYPE_STRING dims: -1}',
        Echo(),
        Internal,
        "Triton only supports 1 dimensional List of String as input for 'X' for model 'm'",
    ),
    (
        "max_batch_size: 4 " + one_in_one_out("TYPE_STRING"),
        Echo(),
        Internal,
        "Triton only supports 1 dimensional List of String as input for 'X' for model 'm'",
    ),
    (
        one_in_one_out(),
        Scaled(),
        Internal,
        "An input of type 'float' was detected in the model. Only a single input of type Dict(str, Tensor) or input(s) "
        "of type Tensor are supported.",
    ),
    (
        """input [{name: "a__0" data_type: TYPE_FP32 dims: 1}, {name: "b__0" data_type: TYPE_FP32 dims: 1}]
        output {name: "Y" data_type: TYPE_FP32 dims: 1}""",
        Add(),
        InvalidArgument,
        "unable to load model 'm', inputs 'a__0', 'b__0' are at positions [0, 0] of forward, expected each of 0 to 1 "
        "once",
    ),
]


@pytest.mark.parametrize(("text", "module", "kind", "message"), LOAD_ERRORS)
def test_a_configuration_that_does_not_fit_fails_the_load(
    tmp_path: Path, text: str, module: torch.nn.Module, kind: type[JubakoError], message: str
) -> None:
    if "float" in message:
        text += ' input {name: "scale" data_type: TYPE_FP32 dims: 1}'

    with pytest.raises(kind) as failure:
        backend().load(config(text), script_files(tmp_path, module), CPU)

    assert str(failure.value) == message


def test_completion_that_cannot_be_says_what_forward_takes(tmp_path: Path) -> None:
    with pytest.raises(
        Internal, match=r"at least one input, none were specified\..*forward takes \(a: Tensor, b: Tensor\)"
    ):
        backend().complete(config(""), script_files(tmp_path, Add()))


def test_an_output_beyond_what_forward_returns_fails_the_batch(tmp_path: Path) -> None:
    wanted = config(
        'input {name: "X" data_type: TYPE_FP32 dims: -1} output {name: "Y__3" data_type: TYPE_FP32 dims: -1}'
    )
    instance = backend().load(wanted, script_files(tmp_path, Identity()), CPU)

    with pytest.raises(Internal, match="output tensor 'Y__3' is not found"):
        instance.execute({"X": np.ones(2, np.float32)}, ["Y__3"])


def test_read_only_arrays_draw_no_warning(tmp_path: Path) -> None:
    instance = backend().load(config(one_in_one_out()), script_files(tmp_path, Identity()), CPU)
    given = np.frombuffer(bytes(8), np.float32)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        instance.execute({"X": given}, ["Y"])

    assert heard == []
