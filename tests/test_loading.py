"""From a stored version to a runner: what is decided first, and what is left when it does not work out."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from programmable import (
    FakeInstance,
    Held,
    Model,
    a_config,
    instance_threads,
    no_thread_left,
    run,
    snapshot,
    until,
)

from jubako.backends.base import Instance
from jubako.backends.placement import Placement
from jubako.backends.registry import BackendRegistry
from jubako.errors import Internal, InvalidArgument, JubakoError, Unavailable
from jubako.loading import LoadOptions, load_runner, plan_load
from jubako.repository import Snapshot
from jubako.runner import Runner, RunnerOptions

__all__ = ["snapshot"]  # a fixture
Write = Callable[..., Snapshot]


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def plan(written: Snapshot) -> Any:
    return plan_load(written.versions[0], BackendRegistry(), LoadOptions())


async def load(config: Any, loads: dict[str, Callable[[], Instance]]) -> Runner:
    placements = [Placement(name) for name in loads]
    return await load_runner(config, 1, {}, placements, lambda at: loads[at.name](), RunnerOptions())


def failing(error: BaseException) -> Callable[[], Instance]:
    def function() -> Instance:
        raise error

    return function


def test_each_instance_of_a_group_is_placed_and_loaded_in_its_own_thread() -> None:
    async def scene() -> list[str]:
        runner = await load(a_config(), {"m_0": FakeInstance, "m_1": FakeInstance})
        threads = instance_threads()
        assert runner.load_ns > 0
        await runner.close()
        return threads

    assert run(scene()) == ["jubako m_0", "jubako m_1"]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(Unavailable("no memory"), Unavailable), (ValueError("broke"), Internal), (SystemExit(1), Internal)],
)
def test_an_instance_that_fails_to_load_closes_the_others(raised: BaseException, kind: type[JubakoError]) -> None:
    first, last = FakeInstance(), FakeInstance()

    with pytest.raises(kind):
        run(load(a_config(), {"m_0": lambda: first, "m_1": failing(raised), "m_2": lambda: last}))

    assert first.closed.is_set()
    assert last.closed.is_set()


def test_the_first_instances_failure_is_the_one_that_is_told() -> None:
    with pytest.raises(Unavailable, match="first"):
        run(load(a_config(), {"m_0": failing(Unavailable("first")), "m_1": failing(Internal("second"))}))


def test_a_configuration_that_no_runner_can_be_made_of_closes_what_had_loaded() -> None:
    config = a_config()
    config.input[0].data_type = 0
    instance = FakeInstance()

    with pytest.raises(KeyError):
        run(load(config, {"m_0": lambda: instance}))

    assert instance.closed.is_set()


def test_a_load_that_is_cancelled_closes_what_had_loaded_and_does_not_wait_for_what_still_loads() -> None:
    held = Held()
    quick, slow = FakeInstance(), FakeInstance()

    def load_slowly() -> Instance:
        held.wait()
        return slow

    async def scene() -> None:
        loading = asyncio.ensure_future(load(a_config(), {"m_0": lambda: quick, "m_1": load_slowly}))
        await held.has_begun()

        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert quick.closed.is_set()
        assert instance_threads() == ["jubako m_1"]

        held.release.set()
        await until(lambda: not instance_threads())

    run(scene())

    assert slow.closed.is_set()


def test_a_load_that_is_cancelled_twice_still_ends_its_threads() -> None:
    held = Held()
    slow = FakeInstance()

    def load_slowly() -> Instance:
        held.wait()
        return slow

    async def scene() -> None:
        loading = asyncio.ensure_future(load(a_config(), {"m_0": load_slowly}))
        await held.has_begun()
        for _ in range(2):
            loading.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await loading
        held.release.set()
        await until(lambda: not instance_threads())

    run(scene())

    assert slow.closed.is_set()


def test_a_plan_places_every_instance(snapshot: Write) -> None:
    model = Model(config=a_config(groups="{ name: 'a' count: 2 }, { name: 'b' count: 1 passive: true }"))

    placements = plan(snapshot(model)).placements

    assert [(placement.name, placement.passive) for placement in placements] == [
        ("a_0", False),
        ("a_1", False),
        ("b_0", True),
    ]


def test_a_model_whose_instances_are_all_passive_is_refused(snapshot: Write) -> None:
    model = Model(config=a_config(groups="{ count: 2 passive: true }"))

    with pytest.raises(InvalidArgument, match="model 'm' has no instance that is not passive"):
        plan(snapshot(model))


@pytest.mark.parametrize("raised", [ValueError("broke"), SystemExit(1), StopIteration(), asyncio.CancelledError()])
def test_whatever_a_backend_raises_while_a_model_is_prepared_becomes_an_error_of_that_model(
    snapshot: Write, raised: BaseException
) -> None:
    def complete() -> None:
        raise raised

    with pytest.raises(Internal, match=type(raised).__name__):
        plan(snapshot(Model(complete=complete)))
