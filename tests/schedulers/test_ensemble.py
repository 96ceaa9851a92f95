"""Requests through a graph of steps: what runs when, what comes out, and what becomes of failures and cancels.

Steps' models are played by the test, which answers each call when and how it likes; there is no loop and no thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jubako.config.interface import Admission
from jubako.errors import Cancelled, Internal, InvalidArgument, JubakoError, Unavailable
from jubako.instances import Execution
from jubako.request import InferRequest, InferResponse, Reply, ResponseSignature, Signature, TensorSpec
from jubako.schedulers.batcher import Pending
from jubako.schedulers.dataflow import Graph, Plan, Port, Step, bridged
from jubako.schedulers.ensemble import Ensemble, EnsembleRun, EnsembleScheduler
from jubako.tensor import Array, Datatype

ROWS = 2
SHUT = Unavailable("Server is stopping")


# --- a stage ----------------------------------------------------------------------------------------------------------


class Turns:
    """A loop that runs what it was given when the test says so."""

    def __init__(self) -> None:
        self._planned: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._planned.append(callback)

    def run(self) -> None:
        while self._planned:
            self._planned.pop(0)()


@dataclass
class Call:
    """A request that a step made; the test plays its model."""

    request: InferRequest
    reply: Reply
    answers_cancels: bool
    cancels: int = 0
    answered: bool = False

    def cancel(self) -> None:
        self.cancels += 1
        if self.answers_cancels and not self.answered:  # as one does that is still queued
            self.fail(Cancelled(""))

    def inputs(self) -> dict[str, Array]:
        return dict(zip((s.name for s in self.request.signature.inputs), self.request.arrays, strict=True))

    def succeed(self, *, batched: bool = True, parameters: Mapping[str, Any] | None = None) -> None:
        outputs = compute(self.request.model_name, self.inputs(), self.request.signature.outputs)
        trace = self.request.trace
        assert trace is not None
        trace.ran(5, 10, 11, 13, 17)
        specs = tuple(TensorSpec(name, Datatype.INT64, array.shape) for name, array in outputs.items())
        signature = ResponseSignature(self.request.model_name, 1, specs)
        response = InferResponse(self.request, signature, list(outputs.values()), None, None, batched, parameters)
        self.answer(response)

    def fail(self, error: JubakoError) -> None:
        self.answer(InferResponse(self.request, error=error))

    def answer(self, response: InferResponse) -> None:
        assert not self.answered
        self.answered = True
        self.reply(response, True)


def compute(model: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
    """Return what the model named `model` makes of its inputs: another number for each model, input and output."""
    weighted = sum(array * (3 + ord(name[-1])) for name, array in inputs.items())
    return {name: np.asarray(weighted * ord(name[-1]) + int(model[1:])) % 10_007 for name in outputs}


class Models:
    """Takes the steps' requests."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.refusals: dict[str, JubakoError] = {}
        self.at_once: set[str] = set()
        """Models that answer before they return, as a cache does."""
        self.answers_cancels = False
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while a request is being submitted."""

    def submit(self, request: InferRequest, reply: Reply) -> Call:
        if request.model_name in self.refusals:
            raise self.refusals[request.model_name]
        call = Call(request, reply, self.answers_cancels)
        self.calls.append(call)
        if request.model_name in self.at_once:
            call.succeed()
        self.meanwhile()
        return call

    @property
    def open(self) -> list[Call]:
        return [call for call in self.calls if not call.answered]

    def of(self, model: str) -> Call:
        (call,) = (call for call in self.open if call.request.model_name == model)
        return call

    @property
    def running(self) -> list[str]:
        return [call.request.model_name for call in self.open]


@dataclass
class Ended:
    how: str
    values: dict[str, Array] = field(default_factory=dict)
    error: str = ""
    execution: Execution | None = None


class Outcomes:
    """Keeps how each request ended; a second end fails."""

    def __init__(self) -> None:
        self.of: dict[Pending, Ended] = {}

    def executed(self, execution: Execution, batch: Sequence[Pending]) -> None:
        (run,) = batch
        (share,) = execution.shares
        self._end(run, Ended("executed", dict(zip(execution.outputs, share, strict=True)), execution=execution))

    def refused(self, pending: Pending, error: JubakoError) -> None:
        self._end(pending, Ended("refused", error=f"{type(error).__name__}: {error}"))

    def failed(self, pending: Pending, error: JubakoError) -> None:
        self._end(pending, Ended("failed", error=f"{type(error).__name__}: {error}"))

    def _end(self, run: Pending, ended: Ended) -> None:
        assert run not in self.of, "ended twice"
        self.of[run] = ended


class Stage:
    def __init__(self, graph: Graph, *, max_inflight: int = 0, max_queue_size: int = 100) -> None:
        self.graph, self.models, self.outcomes, self.turns = graph, Models(), Outcomes(), Turns()
        self.scheduler = EnsembleScheduler(
            Ensemble(graph, self.models.submit, max_inflight),
            self.outcomes,
            max_queue_size=max_queue_size,
            loop=self.turns,  # type: ignore[arg-type]
            now_ns=lambda: 1_000,
        )

    def submit(
        self, inputs: Mapping[str, Array], outputs: tuple[int, ...] | None = None, **repeating: Any
    ) -> EnsembleRun:
        specs = tuple(TensorSpec(name, Datatype.INT64, array.shape) for name, array in inputs.items())
        request = InferRequest("e", 1, Signature(specs, **repeating), list(inputs.values()), "r7")
        return self.scheduler.submit(request, Admission(ROWS, (), outputs), lambda response, final: None)

    def begin(self, *args: Any, **more: Any) -> EnsembleRun:
        run = self.submit(*args, **more)
        self.turns.run()
        return run

    def ended(self, run: EnsembleRun) -> Ended | None:
        return self.outcomes.of.get(run)


def port(name: str, tensor: str = "") -> Port:
    return Port(name, tensor or name, Datatype.INT64, (1,))


def ports(names: str) -> tuple[Port, ...]:
    """Read `A=X B=T` as model tensors that read or write ensemble tensors; one without `=` is both."""
    return tuple(port(*name.split("=")) for name in names.split())


def a_graph(*steps: tuple[str, str], ins: str = "X", outs: str = "Y", optional: str = "") -> Graph:
    """Return an ensemble of the models m0, m1, … from what they read and write."""
    made = (Step(f"m{i}", -1, True, ports(reads), ports(writes)) for i, (reads, writes) in enumerate(steps))
    return Graph("e", True, tuple(made), ports(ins), ports(outs), frozenset(optional.split()))


def rows(value: int = 1) -> Array:
    return np.full((ROWS, 1), value)


CHAIN = a_graph(("A=X", "O=T"), ("A=T", "O=U"), ("A=U", "O=Y"))
DIAMOND = a_graph(("A=X", "O=P"), ("A=P", "O=L"), ("A=P", "O=R"), ("A=L B=R", "O=Y"))
FAN = a_graph(("A=X", "O=P"), ("A=P", "O=Q"), ("A=P", "O=Z"), outs="P Q Z")


# --- what runs when ---------------------------------------------------------------------------------------------------


def test_a_step_starts_as_soon_as_its_inputs_exist_and_side_by_side_with_others() -> None:
    stage = Stage(DIAMOND)
    run = stage.begin({"X": rows()})
    assert stage.models.running == ["m0"]

    stage.models.of("m0").succeed()
    assert stage.models.running == ["m1", "m2"]
    stage.models.of("m2").succeed()
    assert stage.models.running == ["m1"]
    stage.models.of("m1").succeed()
    assert stage.models.running == ["m3"]
    assert stage.ended(run) is None
    stage.models.of("m3").succeed()

    assert stage.ended(run) is not None
    assert stage.scheduler.unfinished == 0


@pytest.mark.parametrize(
    ("outputs", "models"),
    [((0,), {"m0"}), ((2,), {"m0", "m2"}), ((1, 2), {"m0", "m1", "m2"}), (None, {"m0", "m1", "m2"})],
)
def test_only_the_steps_that_the_wanted_outputs_depend_on_run(
    outputs: tuple[int, ...] | None, models: set[str]
) -> None:
    stage = Stage(FAN)
    run = stage.begin({"X": rows()}, outputs)
    finish(stage)

    assert {call.request.model_name for call in stage.models.calls} == models
    ended = stage.ended(run)
    assert ended is not None
    assert ended.how == "executed"


def test_a_step_is_asked_only_for_the_outputs_that_somebody_reads() -> None:
    graph = a_graph(("A=X", "O=T P=U"), ("A=T", "O=Y"), ("A=U", "O=Z"), outs="Y Z")
    stage = Stage(graph)
    stage.begin({"X": rows()}, (0,))

    assert stage.models.of("m0").request.signature.outputs == ("O",)


def test_a_step_carries_what_the_request_says_of_itself() -> None:
    stage = Stage(CHAIN)
    said: dict[str, Any] = {
        "parameters": {"k": "v"},
        "priority": 3,
        "timeout_us": 99,
        "sequence_id": "s",
        "sequence_start": True,
        "sequence_end": True,
    }
    stage.begin({"X": rows()}, **said)
    stage.models.of("m0").succeed()

    request = stage.models.of("m1").request
    assert (request.model_name, request.model_version, request.id) == ("m1", -1, "r7")
    assert {key: getattr(request.signature, key) for key in said} == said


def test_what_an_answer_says_of_its_sequence_holds_for_the_steps_behind_it() -> None:
    stage = Stage(CHAIN)
    stage.begin({"X": rows()}, sequence_id=1)
    stage.models.of("m0").succeed(parameters={"sequence_id": 8, "sequence_end": True})

    signature = stage.models.of("m1").request.signature
    assert (signature.sequence_id, signature.sequence_start, signature.sequence_end) == (8, False, True)


def test_requests_alike_share_their_steps_signatures() -> None:
    stage = Stage(CHAIN)
    origin = Signature((TensorSpec("X", Datatype.INT64, (ROWS, 1)),), reusable=True)
    for _ in range(2):
        request = InferRequest("e", 1, origin, [rows()])
        stage.scheduler.submit(request, Admission(ROWS, (), None), lambda response, final: None)
    stage.turns.run()

    first, second = stage.models.open
    assert first.request.signature is second.request.signature


def test_an_optional_input_that_did_not_come_is_left_out() -> None:
    graph = a_graph(("A=X B=W", "O=Y"), ins="X W", optional="W")
    stage = Stage(graph)
    run = stage.begin({"X": rows()})

    assert list(stage.models.of("m0").inputs()) == ["A"]
    stage.models.of("m0").succeed()
    ended = stage.ended(run)
    assert ended is not None
    assert ended.how == "executed"


def test_a_needed_input_that_did_not_come_is_tritons_deadlock() -> None:
    stage = Stage(a_graph(("A=X B=W", "O=Y"), ins="X W", optional="W"))
    run = stage.begin({"W": rows()})

    assert stage.models.calls == []
    assert stage.ended(run) == Ended(
        "failed",
        error="InvalidArgument: in ensemble 'e', [request id: r7] unexpected deadlock, at least one output is not set "
        "while no more ensemble steps can be made",
    )


def test_a_request_counts_as_one_execution_with_the_sums_of_its_steps() -> None:
    stage = Stage(CHAIN)
    run = stage.begin({"X": rows()})
    finish(stage)

    ended = stage.ended(run)
    assert ended is not None
    execution = ended.execution
    assert execution is not None
    assert execution.rows == [ROWS]
    assert execution.input_end_ns - execution.start_ns == 3 * 1
    assert execution.infer_end_ns - execution.input_end_ns == 3 * 2
    assert execution.stop_ns - execution.infer_end_ns == 3 * 4


@pytest.mark.parametrize(
    ("shape", "batched", "into_batched", "dims", "expected"),
    [
        ((2,), False, True, (2,), (1, 2)),
        ((2,), False, True, (-1,), (1, 2)),
        ((5, 2), False, True, (2,), (5, 2)),
        ((1, 2), True, False, (2,), (2,)),
        ((1, 2), True, False, (-1, 2), (1, 2)),
        ((3, 2), True, False, (2,), (3, 2)),
        ((3, 2), True, True, (7,), (3, 2)),
        ((2,), False, False, (7,), (2,)),
    ],
)
def test_a_batch_dimension_of_one_comes_and_goes_where_that_makes_the_shape_fit(
    shape: tuple[int, ...], batched: bool, into_batched: bool, dims: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert bridged(np.zeros(shape), batched=batched, into_batched=into_batched, dims=dims).shape == expected


# --- failures and cancels ---------------------------------------------------------------------------------------------


def finish(stage: Stage) -> None:
    """Answer every call, as they come."""
    while stage.models.open:
        stage.models.open[0].succeed()
        stage.turns.run()


@pytest.mark.parametrize("failing", ["m0", "m1", "m2", "m3"])
@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("answers_cancels", [False, True])
def test_a_request_fails_with_the_step_that_fails_and_at_once(
    failing: str, refused: bool, answers_cancels: bool
) -> None:
    stage = Stage(DIAMOND)
    stage.models.answers_cancels = answers_cancels
    if refused:
        stage.models.refusals[failing] = Unavailable("no room")
    run = stage.begin({"X": rows()})
    while stage.ended(run) is None:
        if failing in stage.models.running:
            stage.models.of(failing).fail(Unavailable("no room"))
        else:
            stage.models.open[0].succeed()

    text = f"Unavailable: in ensemble 'e', no room (step {failing[1:]}, model '{failing}')"
    assert stage.ended(run) == Ended("failed", error=text)
    assert all(call.cancels == 1 for call in stage.models.open)
    finish(stage)
    assert stage.scheduler.unfinished == 0


def test_once_a_step_is_refused_no_other_starts() -> None:
    stage = Stage(DIAMOND)
    stage.models.refusals["m1"] = Unavailable("no room")
    stage.begin({"X": rows()})
    stage.models.of("m0").succeed()

    assert [call.request.model_name for call in stage.models.calls] == ["m0"]


def test_a_step_is_cancelled_that_was_being_submitted_when_the_request_was() -> None:
    stage = Stage(CHAIN)
    run: list[EnsembleRun] = []
    stage.models.meanwhile = lambda: run[0].cancel()
    run.append(stage.submit({"X": rows()}))
    stage.turns.run()

    (call,) = stage.models.open
    assert call.cancels == 1
    call.fail(Cancelled(""))
    assert stage.ended(run[0]) == Ended("failed", error="Cancelled: ")


def test_an_error_that_names_its_model_is_only_prefixed() -> None:
    stage = Stage(CHAIN)
    run = stage.begin({"X": rows()})
    stage.models.of("m0").fail(InvalidArgument("bad shape for model 'm0'"))

    assert stage.ended(run) == Ended("failed", error="InvalidArgument: in ensemble 'e', bad shape for model 'm0'")


@pytest.mark.parametrize("steps_done", range(4))
@pytest.mark.parametrize("answers_cancels", [False, True])
def test_a_cancel_ends_the_request_with_the_steps_that_run(steps_done: int, answers_cancels: bool) -> None:
    stage = Stage(DIAMOND)
    stage.models.answers_cancels = answers_cancels
    run = stage.begin({"X": rows()})
    for _ in range(steps_done):
        stage.models.open[0].succeed()
    before = len(stage.models.calls)

    run.cancel()
    run.cancel()

    assert all(call.cancels == 1 for call in stage.models.open)
    assert (stage.ended(run) is None) == bool(stage.models.open)
    finish(stage)
    assert stage.ended(run) == Ended("failed", error="Cancelled: ")
    assert len(stage.models.calls) == before
    assert stage.scheduler.unfinished == 0


def test_a_cancel_after_the_answer_does_nothing() -> None:
    stage = Stage(CHAIN)
    run = stage.begin({"X": rows()})
    finish(stage)
    ended = stage.ended(run)

    run.cancel()

    assert stage.ended(run) is ended


# --- how many at a time -----------------------------------------------------------------------------------------------


def test_no_more_requests_are_in_their_steps_than_the_configuration_says() -> None:
    stage = Stage(CHAIN, max_inflight=2)
    runs = [stage.begin({"X": rows(value)}) for value in range(3)]

    assert len(stage.models.open) == 2
    assert stage.scheduler.waiting == 1
    while stage.ended(runs[0]) is None and stage.ended(runs[1]) is None:
        stage.models.open[0].succeed()
    stage.turns.run()
    assert stage.scheduler.waiting == 0
    finish(stage)
    assert [ended.how for ended in map(stage.ended, runs) if ended is not None] == ["executed"] * 3


def test_a_request_that_finds_the_queue_full_is_refused_and_one_that_waits_can_be_cancelled() -> None:
    stage = Stage(CHAIN, max_inflight=1, max_queue_size=1)
    stage.begin({"X": rows()})
    waits = stage.begin({"X": rows()})
    with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
        stage.submit({"X": rows()})

    waits.cancel()

    assert stage.ended(waits) == Ended("refused", error="Cancelled: ")
    stage.submit({"X": rows()})


def test_the_requests_of_one_turn_are_not_too_many_while_nothing_bounds_them() -> None:
    stage = Stage(CHAIN, max_queue_size=1)
    for _ in range(3):
        stage.submit({"X": rows()})
    stage.turns.run()

    assert len(stage.models.open) == 3


# --- the end ----------------------------------------------------------------------------------------------------------


def test_closing_refuses_what_waits_and_lets_the_running_steps_end() -> None:
    stage = Stage(CHAIN, max_inflight=1)
    runs, waits = stage.begin({"X": rows()}), stage.begin({"X": rows()})

    stage.scheduler.close(SHUT)
    with pytest.raises(Unavailable):
        stage.submit({"X": rows()})
    assert stage.ended(waits) == Ended("refused", error=f"Unavailable: {SHUT}")
    assert stage.ended(runs) is None
    stage.models.of("m0").succeed()

    ended = stage.ended(runs)
    assert ended is not None
    assert ended.error.startswith("Unavailable: in ensemble 'e', Server is stopping")
    assert stage.scheduler.unfinished == 0


def test_a_request_accepted_before_a_stop_goes_through_all_its_steps() -> None:
    stage = Stage(CHAIN)
    run = stage.begin({"X": rows()})
    stage.scheduler.stop()
    finish(stage)

    ended = stage.ended(run)
    assert ended is not None
    assert ended.how == "executed"


# --- any graph --------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return an ensemble of up to seven steps, all of whose tensors are used."""
    inputs = [f"I{i}" for i in range(draw(st.integers(1, 3)))]
    tensors, steps = list(inputs), []
    for index in range(draw(st.integers(1, 7))):
        sources = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))
        made = [f"T{index}{letter}" for letter in "ab"[: draw(st.integers(1, 2))]]
        reads = tuple(port(f"A{i}", source) for i, source in enumerate(sources))
        steps.append(Step(f"m{index}", -1, True, reads, tuple(port(f"O{t[-1]}", t) for t in made)))
        tensors += made
    read = {p.tensor for step in steps for p in step.inputs}
    made = [tensor for tensor in tensors if tensor not in inputs]
    outputs = [tensor for tensor in made if tensor not in read or draw(st.booleans())]
    order = draw(st.permutations(steps))
    return Graph("e", True, tuple(order), tuple(map(port, inputs)), tuple(map(port, outputs)))


def evaluated(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return every tensor of an ensemble, one step after the other."""
    values, left = dict(inputs), list(graph.steps)
    while left:
        step = next(step for step in left if all(p.tensor in values for p in step.inputs))
        left.remove(step)
        given = {p.name: values[p.tensor] for p in step.inputs}
        outputs = compute(step.model, given, [p.name for p in step.outputs])
        values.update({p.tensor: outputs[p.name] for p in step.outputs})
    return values


def started_all_that_can(stage: Stage, plan: Plan, run: EnsembleRun) -> bool:
    """Whether each planned step has been called whose inputs exist."""
    mine = [call for call in stage.models.calls if call.request.id == run.request.id]
    done = {call.request.model_name for call in mine if call.answered}
    exists = {p.tensor for p in stage.graph.inputs}
    exists |= {p.tensor for planned in plan.steps for p in planned.step.outputs if planned.step.model in done}
    due = {s.step.model for s in plan.steps if all(p.tensor in exists for p in s.step.inputs)}
    return due == {call.request.model_name for call in mine}


@settings(max_examples=300)
@given(st.data())
def test_any_graph_gives_what_its_steps_give_one_after_the_other(data: st.DataObject) -> None:
    stage = Stage(data.draw(graphs()))
    stage.models.at_once = data.draw(st.sets(st.sampled_from([step.model for step in stage.graph.steps])))
    inputs = {p.tensor: rows(data.draw(st.integers(0, 99))) for p in stage.graph.inputs}
    outputs = data.draw(st.none() | st.sets(st.sampled_from(range(len(stage.graph.outputs))), min_size=1))
    wanted = None if outputs is None else tuple(sorted(outputs))
    run = stage.begin(inputs, wanted)
    plan = stage.scheduler.plan(run.admission)
    while stage.models.open:
        assert started_all_that_can(stage, plan, run)
        data.draw(st.sampled_from(stage.models.open)).succeed()

    ended, expected = stage.ended(run), evaluated(stage.graph, inputs)
    assert ended is not None
    for position, output in enumerate(stage.graph.outputs):
        if wanted is None or position in wanted:
            assert np.array_equal(ended.values[output.name], expected[output.tensor])
    assert sorted(c.request.model_name for c in stage.models.calls) == sorted(s.step.model for s in plan.steps)
    assert stage.scheduler.unfinished == 0


@settings(max_examples=300)
@given(st.data())
def test_every_request_ends_once_whatever_fails_and_whoever_leaves(data: st.DataObject) -> None:
    bound = data.draw(st.integers(0, 2))
    stage = Stage(data.draw(graphs()), max_inflight=bound)
    stage.models.answers_cancels = data.draw(st.booleans())
    models = [step.model for step in stage.graph.steps]
    stage.models.at_once = data.draw(st.sets(st.sampled_from(models)))
    stage.models.refusals = {model: Internal("no") for model in data.draw(st.sets(st.sampled_from(models), max_size=1))}
    runs: list[EnsembleRun] = []
    for _ in range(data.draw(st.integers(1, 15))):
        match data.draw(st.sampled_from(["submit", "turn", "succeed", "fail", "cancel", "close"])):
            case "submit" if not stage.scheduler.stopping:
                runs.append(stage.submit({p.tensor: rows() for p in stage.graph.inputs}))
            case "turn":
                stage.turns.run()
            case "succeed" if stage.models.open:
                data.draw(st.sampled_from(stage.models.open)).succeed()
            case "fail" if stage.models.open:
                data.draw(st.sampled_from(stage.models.open)).fail(Internal("broke"))
            case "cancel" if runs:
                data.draw(st.sampled_from(runs)).cancel()
            case "close" if data.draw(st.integers(0, 3)) == 0:
                stage.scheduler.close(SHUT)
        assert not bound or stage.scheduler.unfinished - stage.scheduler.waiting <= bound
    stage.turns.run()
    finish(stage)
    stage.turns.run()
    finish(stage)

    assert set(stage.outcomes.of) == set(runs)
    assert stage.scheduler.unfinished == 0
    assert all(call.cancels <= 1 for call in stage.models.calls)
