"""A model's instances, a thread each, and the one place where threads meet the loop.

An `Execution` is one run of a batch: joined, executed and split, with the times of the three. It is made in the loop,
filled in by whoever runs it, and handed back to the loop once.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from jubako.backends.base import Instance
from jubako.backends.placement import Placement
from jubako.batch import join, split
from jubako.errors import Internal, JubakoError
from jubako.request import InferRequest
from jubako.tensor import Array

log = logging.getLogger("jubako.instances")


def failure(error: BaseException) -> JubakoError:
    """Return what clients are told of `error`, which a backend's code raised; a strange one becomes its `__cause__`."""
    if isinstance(error, JubakoError):
        return error
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # an error that cannot even be printed
        text = type(error).__name__
    told = Internal(text)
    told.__cause__ = error
    return told


class Execution:
    """One run of a batch on an instance; `gpu` says on which, if any. `shares` or `error` is set when it is done."""

    __slots__ = (
        "batched",
        "error",
        "gpu",
        "infer_end_ns",
        "input_end_ns",
        "outputs",
        "requests",
        "rows",
        "shares",
        "start_ns",
        "stop_ns",
    )

    def __init__(
        self, requests: Sequence[InferRequest], rows: Sequence[int], outputs: Sequence[str], batched: bool
    ) -> None:
        self.requests = requests
        self.rows = rows
        self.outputs = outputs
        self.batched = batched
        self.shares: Sequence[Sequence[Array]] = ()
        self.error: JubakoError | None = None
        self.gpu: int | None = None
        self.start_ns = self.input_end_ns = self.infer_end_ns = self.stop_ns = 0

    def run(self, instance: Instance) -> None:
        """Execute the batch on `instance`, in the calling thread. Never raises: a failure is in `error`."""
        self.start_ns = self.input_end_ns = self.infer_end_ns = time.monotonic_ns()
        try:
            inputs = join(self.requests)
            self.input_end_ns = self.infer_end_ns = time.monotonic_ns()
            arrays = instance.execute(inputs, self.outputs)
            self.infer_end_ns = time.monotonic_ns()
            self.shares = self._shares(arrays)
        except BaseException as error:  # a SystemExit too: these requests fail, the instance lives on
            if not isinstance(error, JubakoError):
                ids = ", ".join(request.id for request in self.requests if request.id)
                named = {"request_id": ids} if ids else None
                log.exception("execution failed for model '%s'", self.requests[0].model_name, extra=named)
            # A traceback would hold this frame, and with it the requests' arrays, until the next garbage collection.
            self.error = failure(error.with_traceback(None)).with_traceback(None)
        finally:
            self.stop_ns = time.monotonic_ns()

    def _shares(self, arrays: Sequence[Array]) -> Sequence[Sequence[Array]]:
        if len(arrays) != len(self.outputs):
            raise Internal(f"model gave {len(arrays)} outputs, {len(self.outputs)} are in its configuration")
        for array in arrays:
            if not isinstance(array, np.ndarray):
                raise Internal(f"model gave an output of type {type(array).__name__} instead of an array")
        # A share of an array that is laid out otherwise would not be one piece of memory.
        arrays = [array if array.flags.c_contiguous else np.ascontiguousarray(array) for array in arrays]
        return split(arrays, self.outputs, self.rows) if self.batched else [arrays]


Done = Callable[[Execution], None]


class InstanceThread:
    """One instance of a model, and the thread in which it loads, executes and closes.

    Given one execution at a time by its scheduler. `done` is called in the loop.
    """

    def __init__(self, placement: Placement, loop: asyncio.AbstractEventLoop) -> None:
        self.placement = placement
        self._loop = loop
        self._work: queue.SimpleQueue[tuple[Execution, Done] | None] = queue.SimpleQueue()
        self._instance: Instance | None = None
        self._thread: threading.Thread | None = None
        self._loaded: asyncio.Future[None] = loop.create_future()
        self._ended = asyncio.Event()

    async def start(self, load: Callable[[], Instance]) -> None:
        """Start the thread and load the instance in it.

        A load cannot be interrupted: when the caller is cancelled the thread loads on, until `close` has it end.

        Raises:
            JubakoError: what `load` raised, as clients are told; the thread is ending then.
        """
        thread = threading.Thread(target=self._live, args=(load,), name=f"jubako {self.placement.name}", daemon=False)
        thread.start()
        self._thread = thread
        await self._loaded

    @property
    def instance(self) -> Instance:
        """The loaded instance, for runs in the loop while the thread is idle."""
        assert self._instance is not None
        return self._instance

    def run(self, execution: Execution, done: Done) -> None:
        """Execute in the thread, then call `done(execution)` in the loop."""
        self._work.put((execution, done))

    async def close(self) -> None:
        """Close the instance in its thread once its last execution is over, and end the thread.

        The thread is told at once, so that it ends by itself when the caller is cancelled; and where a load was given
        up it is not waited for, because that may take minutes: it ends when the load is over.
        """
        if self._thread is None:
            return
        self._work.put(None)
        if self._loaded.cancelled():
            return
        await self._ended.wait()
        self._thread.join()  # its last act was to tell that it ends

    def _live(self, load: Callable[[], Instance]) -> None:
        try:
            self._instance = load()
        except BaseException as error:  # a SystemExit, or what no future takes: it is this model's alone
            if not isinstance(error, JubakoError):
                log.exception("loading instance '%s' broke", self.placement.name)
            self._tell(_fail, self._loaded, failure(error))
        else:
            if self._tell(_succeed, self._loaded):
                self._work_on(self._instance)
            self._close()
        self._tell(self._ended.set)

    def _work_on(self, instance: Instance) -> None:
        heard = True
        while heard and (work := self._work.get()) is not None:
            execution, done = work
            execution.run(instance)
            heard = self._tell(done, execution)
            del work, execution, done  # an idle thread must not keep the last batch alive

    def _close(self) -> None:
        instance, self._instance = self._instance, None
        assert instance is not None
        try:
            instance.close()
        except BaseException:
            log.exception("closing instance '%s' failed", self.placement.name)

    def _tell(self, callback: Callable[..., object], *args: object) -> bool:
        """Have the loop call `callback`; False when the loop is closed and nobody is left to hear of anything."""
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return False
        return True


async def close_instances(instances: Iterable[InstanceThread]) -> None:
    """Close all of `instances`, side by side."""
    await asyncio.gather(*(instance.close() for instance in instances))


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: JubakoError) -> None:
    if not future.done():
        future.set_exception(error)
