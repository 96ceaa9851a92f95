"""Instances in their threads: what they are called for, what they may do wrong, and how they end."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from programmable import (
    FakeInstance,
    Held,
    a_request,
    instance_threads,
    negate,
    no_thread_left,
    run,
    until,
    wait_until,
)

from jubako.backends.base import Instance
from jubako.backends.placement import Placement
from jubako.errors import Internal, InvalidArgument, Unavailable
from jubako.instances import Execution, InstanceThread
from jubako.request import InferRequest
from jubako.tensor import Array


class RustPanic(BaseException):
    """What a native extension may raise that is no `Exception`."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def an_execution(*requests: InferRequest, batched: bool = True) -> Execution:
    given = requests or (a_request(),)
    return Execution(given, [request.arrays[0].shape[0] for request in given], ("Y", "Z"), batched)


def a_thread() -> InstanceThread:
    return InstanceThread(Placement("m_0"), asyncio.get_running_loop())


async def execute(thread: InstanceThread, execution: Execution) -> Execution:
    """Run `execution` in `thread` and return it when the loop has heard of its end."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    thread.run(execution, lambda _: done.set_result(None))
    await done
    return execution


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: object) -> Any:
        raise error

    return function


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def test_an_instance_loads_executes_and_closes_in_one_thread_of_its_own() -> None:
    async def scene() -> FakeInstance:
        thread = a_thread()
        await thread.start(FakeInstance)
        instance = thread.instance
        assert isinstance(instance, FakeInstance)
        await execute(thread, an_execution())
        await thread.close()
        return instance

    instance = run(scene())

    assert len(instance.threads) == 3
    assert len(set(instance.threads)) == 1
    assert threading.get_ident() not in instance.threads


def test_an_execution_gives_each_request_its_rows_and_the_times_in_order() -> None:
    async def scene() -> Execution:
        thread = a_thread()
        await thread.start(FakeInstance)
        execution = await execute(thread, an_execution(a_request(1), a_request(5, rows=2)))
        await thread.close()
        return execution

    execution = run(scene())

    assert execution.error is None
    assert [[array.tolist() for array in share] for share in execution.shares] == [
        [[[-1, -1]], [[2, 2]]],
        [[[-5, -5]] * 2, [[6, 6]] * 2],
    ]
    assert 0 < execution.start_ns <= execution.input_end_ns <= execution.infer_end_ns <= execution.stop_ns


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        pytest.param(InvalidArgument("not so"), "InvalidArgument: not so", id="an error of ours"),
        pytest.param(ValueError("broke"), "Internal: ValueError: broke", id="any exception"),
        pytest.param(StopIteration(), "Internal: StopIteration: ", id="StopIteration"),
        pytest.param(SystemExit(3), "Internal: SystemExit: 3", id="SystemExit"),
        pytest.param(RustPanic("index"), "Internal: RustPanic: index", id="no Exception"),
        pytest.param(Unprintable(), "Internal: Unprintable", id="an error without a text"),
    ],
)
def test_whatever_an_execution_raises_is_its_own_and_the_instance_lives_on(raised: BaseException, text: str) -> None:
    async def scene() -> tuple[Execution, Execution]:
        thread = a_thread()
        instance = FakeInstance(raising(raised))
        await thread.start(lambda: instance)
        failed = await execute(thread, an_execution())
        instance.compute = negate
        next_one = await execute(thread, an_execution())
        await thread.close()
        return failed, next_one

    failed, next_one = run(scene())

    assert f"{type(failed.error).__name__}: {failed.error}" == text
    assert next_one.error is None


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda x: [], id="no output"),
        pytest.param(lambda x: [x], id="too few outputs"),
        pytest.param(lambda x: [x, x, x], id="too many outputs"),
        pytest.param(lambda x: [x, x.tolist()], id="a list for an array"),
        pytest.param(lambda x: None, id="nothing"),
    ],
)
def test_outputs_that_do_not_fit_the_model_fail_the_execution(wrong: Callable[[Array], Any], batched: bool) -> None:
    instance = FakeInstance(lambda inputs: wrong(inputs["X"]))
    execution = an_execution(batched=batched)

    execution.run(instance)

    assert isinstance(execution.error, Internal)
    assert execution.shares == ()


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_output_with_more_or_fewer_rows_than_went_in_fails_the_execution(rows: int) -> None:
    instance = FakeInstance(lambda inputs: [inputs["X"], np.zeros((rows, 2), np.int32)])
    execution = an_execution(a_request(1), a_request(2))

    execution.run(instance)

    assert str(execution.error) == f"output 'Z' has {rows} rows for a batch of 2"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        pytest.param(Unavailable("no memory"), Unavailable, id="an error of ours"),
        pytest.param(ValueError("broke"), Internal, id="any exception"),
        pytest.param(StopIteration(), Internal, id="StopIteration, which no future takes"),
        pytest.param(SystemExit(3), Internal, id="SystemExit, which would end the loop"),
        pytest.param(asyncio.CancelledError(), Internal, id="a cancel that is not ours"),
        pytest.param(RustPanic("index"), Internal, id="no Exception"),
    ],
)
def test_whatever_a_load_raises_comes_out_of_start_and_the_thread_ends(
    raised: BaseException, kind: type[Exception]
) -> None:
    async def scene() -> None:
        thread = a_thread()
        with pytest.raises(kind):
            await thread.start(raising(raised))
        await thread.close()

    run(scene())


def test_closing_waits_for_the_running_execution() -> None:
    held = Held()

    async def scene() -> None:
        thread = a_thread()
        await thread.start(lambda: FakeInstance(held.then()))
        running = asyncio.ensure_future(execute(thread, an_execution()))
        await held.has_begun()
        closing = asyncio.ensure_future(thread.close())
        await asyncio.sleep(0)
        assert not closing.done()

        held.release.set()
        await closing

        assert running.done()

    run(scene())


def test_closing_twice_or_without_a_start_does_nothing_more() -> None:
    async def scene() -> None:
        thread = a_thread()
        await thread.close()
        await thread.start(FakeInstance)
        await asyncio.gather(thread.close(), thread.close())
        await thread.close()

    run(scene())


def test_an_instance_whose_close_raises_still_ends_its_thread() -> None:
    class Stubborn(FakeInstance):
        def close(self) -> None:
            raise SystemExit("no")

    async def scene() -> None:
        thread = a_thread()
        await thread.start(Stubborn)
        await thread.close()

    run(scene())


def test_a_load_that_was_given_up_is_not_waited_for_and_ends_its_thread_when_it_is_over() -> None:
    held = Held()
    instance = FakeInstance()

    def load() -> Instance:
        held.wait()
        return instance

    async def scene() -> None:
        thread = a_thread()
        starting = asyncio.ensure_future(thread.start(load))
        await held.has_begun()
        starting.cancel()
        await asyncio.wait([starting])
        await thread.close()
        assert instance_threads() == ["jubako m_0"]  # a load cannot be interrupted

        held.release.set()
        await until(lambda: not instance_threads())

    run(scene())

    assert instance.closed.is_set()


def test_a_loop_that_is_closed_under_a_running_execution_ends_the_thread() -> None:
    held = Held()

    instance = FakeInstance(held.then())

    async def scene() -> None:
        thread = a_thread()
        await thread.start(lambda: instance)
        thread.run(an_execution(), lambda _: None)
        await held.has_begun()

    run(scene())
    held.release.set()
    wait_until(lambda: not instance_threads())

    assert instance.closed.is_set()


def test_a_loop_that_is_closed_under_a_load_ends_the_thread() -> None:
    held = Held()
    instance = FakeInstance()

    def load() -> Instance:
        held.wait()
        return instance

    async def scene() -> None:
        starting = asyncio.ensure_future(a_thread().start(load))
        await held.has_begun()
        starting.cancel()

    run(scene())
    held.release.set()
    wait_until(lambda: not instance_threads())

    assert instance.closed.is_set()


def test_an_idle_thread_keeps_neither_requests_nor_answers_alive() -> None:
    async def scene() -> None:
        thread = a_thread()
        await thread.start(FakeInstance)
        execution = an_execution()
        given = weakref.ref(execution.requests[0].arrays[0])
        await execute(thread, execution)
        made = weakref.ref(execution.shares[0][0])
        del execution
        for _ in range(100):  # the thread, and the loop's own handle, let go a moment after the answer
            await asyncio.sleep(0.001)
        assert (given(), made()) == (None, None)
        await thread.close()

    gc.disable()
    try:
        run(scene())
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [InvalidArgument, ValueError])
def test_a_failed_execution_does_not_keep_its_requests_alive_until_a_collection(error: type[Exception]) -> None:
    logging.disable()  # pytest keeps what is logged, tracebacks and all
    gc.disable()
    try:
        execution = an_execution()
        given = weakref.ref(execution.requests[0].arrays[0])
        execution.run(FakeInstance(raising(error("no"))))
        kept = execution.error
        del execution
        assert kept is not None
        assert given() is None
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
