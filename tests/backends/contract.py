"""What every backend must do, whatever it loads: a test file of a backend subclasses `BackendContract`."""

import gc
import os
import resource
import threading
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from backends.models import config
from jubako.backends.base import Backend, Instance, ModelFiles
from jubako.backends.gpus import find_gpus
from jubako.backends.placement import Device, Placement
from jubako.errors import Internal, InvalidArgument, JubakoError, Unavailable
from jubako.tensor import Array, Datatype

CPU = Placement("m_0")


def sample(datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """Return an array of `shape` with values that betray a wrong datatype, order or byte."""
    count = int(np.prod(shape))
    if datatype is Datatype.BYTES:
        array = np.empty(count, dtype=object)
        array[:] = [["", "a", "é\0x", "日本" * 40][i % 4].encode() for i in range(count)]
        return array.reshape(shape)
    array = np.arange(count)
    if datatype is Datatype.BOOL:
        return np.equal(array % 3, 0).reshape(shape)
    if datatype is Datatype.BF16:
        bits = (array * 1.5 - 2).astype(np.float32).view(np.uint32) >> 16
        return bits.astype(datatype.dtype).reshape(shape)
    if datatype in (Datatype.FP16, Datatype.FP32, Datatype.FP64):
        return (array * 0.25 - 1).astype(datatype.dtype).reshape(shape)
    top = np.iinfo(datatype.dtype).max
    return np.array([top - i for i in range(count)], dtype=datatype.dtype).reshape(shape)


def resident_bytes() -> int:
    """Return this process's resident memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def read_only(array: Array) -> Array:
    """Return a view of `array` as of a received body: it cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


class BackendContract:
    """The tests. `identity` gives X back as Y; `add` gives A plus B as SUM, and fails if their shapes differ."""

    @abstractmethod
    def backend(self) -> Backend:
        """Return the backend under test."""

    @abstractmethod
    def identity(self, root: Path, datatype: Datatype, rank: int) -> ModelFiles:
        """Write a model with X and Y of `datatype` and `rank` variable dimensions."""

    @abstractmethod
    def add(self, root: Path) -> ModelFiles:
        """Write a model with A, B and SUM, FP32 [-1, -1]."""

    filename: str
    platform: str

    def load(self, files: ModelFiles, text: str) -> Instance:
        return self.backend().load(self.config(text), files, CPU)

    def config(self, text: str) -> ModelConfig:
        return config(f'backend: "{self.platform}" ' + text)

    def add_instance(self, root: Path) -> Instance:
        return self.load(
            self.add(root),
            """max_batch_size: 8
            input [{name: "A" data_type: TYPE_FP32 dims: -1}, {name: "B" data_type: TYPE_FP32 dims: -1}]
            output {name: "SUM" data_type: TYPE_FP32 dims: -1}""",
        )

    @pytest.mark.parametrize("datatype", Datatype)
    @pytest.mark.parametrize("rows", [3, 1, 0])
    def test_every_datatype_goes_in_and_comes_out_bit_for_bit(
        self, tmp_path: Path, datatype: Datatype, rows: int
    ) -> None:
        strings = datatype is Datatype.BYTES
        instance = self.load(
            self.identity(tmp_path, datatype, 1 if strings else 2),
            f'input {{name: "X" data_type: {datatype.config_name} dims: -1 {"" if strings else "dims: -1"}}} '
            f'output {{name: "Y" data_type: {datatype.config_name} dims: -1 {"" if strings else "dims: -1"}}}',
        )
        given = sample(datatype, (rows,) if strings else (rows, 4))

        (returned,) = instance.execute({"X": read_only(given)}, ["Y"])

        assert returned.dtype == datatype.dtype
        assert returned.shape == given.shape
        assert returned.flags.c_contiguous
        assert returned.tolist() == given.tolist()

    def test_what_is_returned_is_not_the_callers_input(self, tmp_path: Path) -> None:
        instance = self.load(
            self.identity(tmp_path, Datatype.FP32, 1),
            'input {name: "X" data_type: TYPE_FP32 dims: -1} output {name: "Y" data_type: TYPE_FP32 dims: -1}',
        )
        given = np.array([1, 2, 3], dtype=np.float32)

        (returned,) = instance.execute({"X": given}, ["Y"])
        given[:] = 0

        assert returned.tolist() == [1, 2, 3]

    def test_an_array_that_is_not_aligned_is_taken(self, tmp_path: Path) -> None:
        instance = self.add_instance(tmp_path)
        body = b"\0" + np.arange(40, dtype=np.float32).tobytes()
        array = np.frombuffer(body, dtype=np.float32, offset=1).reshape(1, 40)

        (total,) = instance.execute({"A": array, "B": array}, ["SUM"])

        assert total.tolist() == [[2.0 * i for i in range(40)]]

    def test_reshape_is_applied_on_the_way_in_and_undone_on_the_way_out(self, tmp_path: Path) -> None:
        instance = self.load(
            self.add(tmp_path),
            """max_batch_size: 8
            input [{name: "A" data_type: TYPE_FP32 dims: [-1, 1] reshape {shape: -1}},
                   {name: "B" data_type: TYPE_FP32 dims: -1}]
            output {name: "SUM" data_type: TYPE_FP32 dims: [1, -1, 1] reshape {shape: -1}}""",
        )
        ones = np.ones((2, 3), dtype=np.float32)

        (total,) = instance.execute({"A": ones.reshape(2, 3, 1), "B": ones}, ["SUM"])

        assert total.shape == (2, 1, 3, 1)
        assert total.ravel().tolist() == [2.0] * 6

    def test_a_failed_execution_raises_and_leaves_the_instance_usable(self, tmp_path: Path) -> None:
        instance = self.add_instance(tmp_path)
        a, b = np.ones((1, 2), dtype=np.float32), np.ones((1, 3), dtype=np.float32)

        with pytest.raises(JubakoError) as failure:
            instance.execute({"A": a, "B": b}, ["SUM"])
        (total,) = instance.execute({"A": b, "B": b}, ["SUM"])

        assert isinstance(failure.value, Internal)
        assert str(tmp_path) not in str(failure.value)
        assert "\n" not in str(failure.value)
        assert total.tolist() == [[2.0, 2.0, 2.0]]

    def test_strings_that_are_not_utf8_fail_their_batch_clearly(self, tmp_path: Path) -> None:
        instance = self.load(
            self.identity(tmp_path, Datatype.BYTES, 1),
            'input {name: "X" data_type: TYPE_STRING dims: -1} output {name: "Y" data_type: TYPE_STRING dims: -1}',
        )

        with pytest.raises(InvalidArgument, match="input 'X' has a string that is not valid UTF-8"):
            instance.execute({"X": np.array([b"ok", b"\xff\xfe"], dtype=object)}, ["Y"])

        assert instance.execute({"X": np.array([b"ok"], dtype=object)}, ["Y"])[0].tolist() == [b"ok"]

    def test_several_instances_work_in_threads_at_once(self, tmp_path: Path) -> None:
        files, together = self.add(tmp_path), threading.Barrier(3)
        backend = self.backend()
        wanted = self.config(
            """max_batch_size: 8
            input [{name: "A" data_type: TYPE_FP32 dims: -1}, {name: "B" data_type: TYPE_FP32 dims: -1}]
            output {name: "SUM" data_type: TYPE_FP32 dims: -1}"""
        )

        def live(number: int) -> bool:
            instance = backend.load(wanted, files, Placement(f"m_{number}"))
            together.wait(timeout=60)
            right = True
            for i in range(200):
                array = np.full((1 + i % 4, 32), number * 1000 + i, dtype=np.float32)
                (total,) = instance.execute({"A": array, "B": array}, ["SUM"])
                right &= bool((total == 2 * array).all())
            instance.close()
            return right

        with ThreadPoolExecutor(3) as threads:
            assert list(threads.map(live, range(3))) == [True, True, True]

    def test_results_outlive_their_instance(self, tmp_path: Path) -> None:
        instance = self.add_instance(tmp_path)
        ones = np.ones((4, 500), np.float32)
        (total,) = instance.execute({"A": ones, "B": ones}, ["SUM"])

        instance.close()
        del instance
        gc.collect()

        assert (total == 2).all()

    def test_closing_frees_the_models_memory_though_the_instance_is_still_held(self, tmp_path: Path) -> None:
        files = self.heavy(tmp_path, floats=12_000_000)
        before = resident_bytes()
        instance = self.load(files, self.one_in_one_out)
        loaded = resident_bytes()

        instance.close()
        gc.collect()

        assert loaded - before > 40_000_000
        assert resident_bytes() - before < 20_000_000

    @abstractmethod
    def heavy(self, root: Path, floats: int) -> ModelFiles:
        """Write a model with X and Y, FP32 [-1], that holds `floats` weights."""

    def test_a_missing_file_is_said_without_its_path(self, tmp_path: Path) -> None:
        (tmp_path / "1").mkdir()

        with pytest.raises(Unavailable) as failure:
            self.load(ModelFiles("m", 1, tmp_path), self.one_in_one_out)

        assert str(failure.value) == f"unable to find '1/{self.filename}' for model instance 'm'"

    def test_a_file_that_is_something_else_is_refused_without_its_path(self, tmp_path: Path) -> None:
        path = tmp_path / "1" / self.filename
        path.parent.mkdir()
        path.write_bytes(b"not a model at all" * 9)

        with pytest.raises(JubakoError) as failure:
            self.load(ModelFiles("m", 1, tmp_path), self.one_in_one_out)

        assert str(tmp_path) not in str(failure.value)
        assert self.filename in str(failure.value)

    @pytest.mark.skipif(bool(find_gpus(os.environ)), reason="this machine has a GPU")
    def test_an_instance_on_a_gpu_that_is_not_there_fails_the_load_rather_than_run_on_the_cpu(
        self, tmp_path: Path
    ) -> None:
        files = self.identity(tmp_path, Datatype.FP32, 1)

        with pytest.raises(JubakoError):
            self.backend().load(self.config(self.one_in_one_out), files, Placement("m_0", Device.GPU, 0))

        assert self.load(files, self.one_in_one_out)

    @pytest.mark.parametrize("filename", ["../model", "/etc/passwd", "a/../../x"])
    def test_a_file_name_that_leaves_the_version_is_refused(self, tmp_path: Path, filename: str) -> None:
        (tmp_path / "1").mkdir()

        with pytest.raises(InvalidArgument, match="is outside its version directory"):
            self.load(ModelFiles("m", 1, tmp_path), self.one_in_one_out + f' default_model_filename: "{filename}"')

    one_in_one_out = 'input {name: "X" data_type: TYPE_FP32 dims: -1} output {name: "Y" data_type: TYPE_FP32 dims: -1}'
