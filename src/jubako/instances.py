"""A model's instances, a thread each, and the one place where threads meet the loop.

An `Execution` is one run of a batch: joined, executed and split, with the times of the three. It is made in the loop,
filled in by whoever runs it, and handed back to the loop once.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from jubako.backends.base import Instance
from jubako.backends.placement import Placement
from jubako.batch import join, split
from jubako.errors import Internal, JubakoError
from jubako.request import InferRequest
from jubako.tensor import Array

log = logging.getLogger("jubako.instances")


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
            self.shares = split(arrays, self.outputs, self.rows) if self.batched else [arrays]
        except JubakoError as error:
            self.error = error
        except Exception as error:  # whatever a backend throws: these requests fail, the instance lives on
            log.exception("execution failed for model '%s'", self.requests[0].model_name)
            self.error = Internal(f"{type(error).__name__}: {error}")
            self.error.__cause__ = error
        finally:
            self.stop_ns = time.monotonic_ns()


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

    async def start(self, load: Callable[[], Instance]) -> None:
        """Start the thread and load the instance in it.

        Raises:
            Exception: what `load` raised; the thread has ended then.
        """
        loaded: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._live, args=(load, loaded), name=f"jubako {self.placement.name}", daemon=False
        )
        self._thread.start()
        await loaded

    @property
    def instance(self) -> Instance:
        """The loaded instance, for runs in the loop while the thread is idle."""
        assert self._instance is not None
        return self._instance

    def run(self, execution: Execution, done: Done) -> None:
        """Execute in the thread, then call `done(execution)` in the loop."""
        self._work.put((execution, done))

    async def close(self) -> None:
        """Close the instance in its thread once its last execution is over, and end the thread."""
        if self._thread is None:
            return
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def _live(self, load: Callable[[], Instance], loaded: asyncio.Future[None]) -> None:
        try:
            self._instance = load()
        except BaseException as error:
            self._tell(_fail, loaded, error)
            return
        self._tell(_succeed, loaded)
        while (work := self._work.get()) is not None:
            execution, done = work
            execution.run(self._instance)
            self._tell(done, execution)
            del work, execution, done  # an idle thread must not keep the last batch alive
        try:
            self._instance.close()
        except Exception:
            log.exception("closing instance '%s' failed", self.placement.name)
        self._instance = None

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop was closed under a running execution: nobody is left to hear of it
            log.warning("instance '%s' finished after the server had stopped", self.placement.name)


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
