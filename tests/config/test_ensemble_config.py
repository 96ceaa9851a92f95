"""What makes an ensemble's configuration good: alone, beside its models, and in which order it loads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.config.ensemble import check_models, dependencies, inherited_labels, load_order, validate_ensemble
from jubako.config.parse import parse_text
from jubako.errors import InvalidArgument, Unsupported

Maps = dict[str, str]


def tensors(kind: str, *entries: str) -> str:
    """Write inputs or outputs from entries such as `X INT32 2`."""
    text = ""
    for entry in entries:
        name, datatype, *dims = entry.split()
        optional = "optional: true" if "optional" in dims else ""
        sizes = ", ".join(dim for dim in dims if dim != "optional")
        text += f'{kind} {{ name: "{name}" data_type: TYPE_{datatype} dims: [ {sizes} ] {optional} }}\n'
    return text


def step(model: str, inputs: Maps, outputs: Maps) -> str:
    maps = [("input_map", inputs), ("output_map", outputs)]
    text = "".join(f'{kind} {{ key: "{key}" value: "{value}" }} ' for kind, m in maps for key, value in m.items())
    return f'step {{ model_name: "{model}" model_version: -1 {text} }}\n'


def one(source: str = "X", target: str = "Y", model: str = "one") -> str:
    return step(model, {"X": source}, {"Y": target})


def two(a: str, b: str, **outputs: str) -> str:
    return step("two", {"A": a, "B": b}, outputs)


def ensemble(
    *steps: str, ins: str = "X INT32 2", outs: str = "Y INT32 2", batch: int = 8, more: str = ""
) -> ModelConfig:
    scheduling = f"ensemble_scheduling {{ {' '.join(steps)} }}"
    text = tensors("input", *ins.split(",")) + tensors("output", *outs.split(",")) + scheduling + more
    return parse_text(f'name: "e" platform: "ensemble" max_batch_size: {batch}\n' + text, "e")


def model(name: str, ins: str = "X INT32 2", outs: str = "Y INT32 2", batch: int = 8) -> ModelConfig:
    text = tensors("input", *ins.split(",")) + tensors("output", *outs.split(","))
    return parse_text(f'name: "{name}" max_batch_size: {batch}\n' + text, name)


ONE = model("one")
TWO = model("two", "A INT32 2,B INT32 2", "C INT32 2,D INT32 2")

# --- alone ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(ensemble(one()), id="one step"),
        pytest.param(ensemble(one("T"), one(target="T")), id="steps in any order"),
        pytest.param(ensemble(two("X", "X", C="Y")), id="a tensor read twice, an output left out"),
        pytest.param(ensemble(one(target="Y"), one("Y", "Z"), outs="Y INT32 2,Z INT32 2"), id="an output read again"),
        pytest.param(parse_text('name: "m" backend: "python"', "m"), id="no ensemble at all"),
    ],
)
def test_a_whole_graph_is_good(config: ModelConfig) -> None:
    validate_ensemble(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ensemble(one(), more="instance_group { }"), "instance group should not be specified for ensemble 'e'"),
        (ensemble(one(), more="optimization { }"), "optimization should not be specified for ensemble 'e'"),
        (ensemble(one(), more="model_warmup { }"), "model_warmup can not be specified for ensemble 'e'"),
        (ensemble(), "must specify 'step' for ensemble 'e'"),
        (ensemble(one("X", "T"), one("T", model="")), "must specify 'model_name' in step 1 of ensemble 'e'"),
        (ensemble(step("one", {}, {"Y": "Y"})), "must specify 'input_map' in step 0 of ensemble 'e'"),
        (ensemble(step("one", {"X": "X"}, {})), "must specify 'output_map' in step 0 of ensemble 'e'"),
        (
            ensemble(one(), one()),
            "ensemble tensor 'Y' can appear in an output map only once for ensemble 'e' step 1",
        ),
        (
            ensemble(two("X", "X", C="Y", D="Y")),
            "ensemble tensor 'Y' can appear in an output map only once for ensemble 'e' step 0",
        ),
        (ensemble(one(), ins="X INT32 2,U INT32 2"), "ensemble input 'U' for ensemble e' is not used"),
        (ensemble(one(), outs="Y INT32 2,U INT32 2"), "ensemble output 'U' for ensemble e' is not used"),
        (
            ensemble(two("X", "NOWHERE", C="T"), one("T")),
            "output 'Y' for ensemble 'e' is not written: at least one of its depending tensors, 'T', is not connected",
        ),
        (
            ensemble(two("X", "T", C="T", D="Y")),
            "output 'Y' for ensemble 'e' is not written: at least one of its depending tensors, 'T', is not connected",
        ),
        (ensemble(one(), one("X", "T")), "ensemble tensor 'T' is unused in ensemble 'e'"),
        (ensemble(one(target="X"), one("X")), "ensemble input 'X' for ensemble 'e' is written by a step"),
    ],
)
def test_a_fault_of_the_graph_is_told_in_tritons_words(config: ModelConfig, message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        validate_ensemble(config)

    assert str(raised.value) == message


def test_a_reshape_belongs_to_the_models_of_the_steps() -> None:
    config = ensemble(one())
    config.input[0].reshape.shape[:] = [1, 2]

    with pytest.raises(Unsupported, match="'reshape' of 'X' is not supported for ensemble 'e'"):
        validate_ensemble(config)


# --- beside its models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "models"),
    [
        pytest.param(ensemble(one("X", "T"), one("T")), [ONE, ONE], id="alike"),
        pytest.param(ensemble(one()), [model("one", "X INT32 -1", "Y INT32 2")], id="any size goes"),
        pytest.param(ensemble(one()), [model("one", "X INT32 2", batch=0)], id="no batch dimension, same dims"),
        pytest.param(
            ensemble(one()), [model("one", "X INT32 -1 2", "Y INT32 -1 2", batch=0)], id="the batch as a dimension"
        ),
        pytest.param(
            ensemble(step("two", {"A": "X"}, {"C": "Y"})),
            [model("two", "A INT32 2,B INT32 2 optional", "C INT32 2")],
            id="an optional input left out",
        ),
    ],
)
def test_models_that_fit_pass(config: ModelConfig, models: list[ModelConfig]) -> None:
    check_models(config, models)


@pytest.mark.parametrize(
    ("config", "models", "message"),
    [
        (
            ensemble(one()),
            [model("one", batch=2)],
            "ensemble e allows maximum batch size 8, but it contains model one which only allows maximum batch size "
            "to be 2",
        ),
        (
            ensemble(step("one", {"Q": "X"}, {"Y": "Y"})),
            [ONE],
            "in ensemble e, ensemble tensor X is mapping to non-existing input Q in model one",
        ),
        (
            ensemble(step("one", {"X": "X"}, {"Q": "Y"})),
            [ONE],
            "in ensemble e, ensemble tensor Y is mapped from non-existing output Q in model one",
        ),
        (
            ensemble(step("two", {"A": "X"}, {"C": "Y"})),
            [TWO],
            "in ensemble e, input B in model two is not mapped to any ensemble tensors",
        ),
        (
            ensemble(one("X", "T"), one("T", model="f32"), outs="Y FP32 2"),
            [ONE, model("f32", "X FP32 2", "Y FP32 2")],
            "in ensemble e, ensemble tensor T: inconsistent data type: TYPE_INT32 is inferred from model one while "
            "TYPE_FP32 is inferred from model f32",
        ),
        (
            ensemble(one(), ins="X FP32 2"),
            [ONE],
            "in ensemble e, ensemble tensor X: inconsistent data type: TYPE_FP32 is inferred from model e while "
            "TYPE_INT32 is inferred from model one",
        ),
        (
            ensemble(one(), outs="Y INT32 3"),
            [ONE],
            "in ensemble e, ensemble tensor Y: inconsistent shape: [-1,3] is inferred from model e while [-1,2] is "
            "inferred from model one",
        ),
        (
            ensemble(one("X", "T"), one("T", model="three"), outs="Y INT32 3"),
            [ONE, model("three", "X INT32 3", "Y INT32 3")],
            "in ensemble e, ensemble tensor T: inconsistent shape: [-1,2] is inferred from model one while [-1,3] is "
            "inferred from model three",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_told_in_tritons_words(
    config: ModelConfig, models: list[ModelConfig], message: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_models(config, models)

    assert str(raised.value) == message


def test_an_output_has_its_own_labels_or_those_of_the_step_that_writes_it() -> None:
    config = ensemble(one("X", "T"), two("T", "T", C="Y", D="Z"), outs="Y INT32 2,Z INT32 2")
    of_steps = [{"Y": ["inner"]}, {"C": ["a", "b"], "D": ["c"]}]

    assert inherited_labels(config, {"Z": ["own"]}, of_steps) == {"Y": ["a", "b"], "Z": ["own"]}


# --- the order of loading ---------------------------------------------------------------------------------------------


def test_an_ensemble_depends_on_its_steps_and_another_model_on_nothing() -> None:
    assert dependencies(ensemble(one("X", "T"), one("T", model="other"))) == {"one", "other"}
    assert dependencies(ONE) == frozenset()


def test_models_load_before_what_depends_on_them() -> None:
    order = load_order({"a": ["b", "c"], "b": ["c"], "c": [], "d": ["gone"]})

    assert order.models == ("c", "d", "b", "a")
    assert order.circular == {}


def test_a_circle_never_loads_nor_what_stands_on_it() -> None:
    order = load_order({"a": ["b"], "b": ["c"], "c": ["a"], "on": ["b", "m"], "self": ["self"], "m": []})

    assert order.models == ("m",)
    assert order.circular == {
        "a": "circular dependency between ensembles: a -> b -> c -> a",
        "b": "circular dependency between ensembles: b -> c -> a -> b",
        "c": "circular dependency between ensembles: c -> a -> b -> c",
        "on": "circular dependency between ensembles: b -> c -> a -> b",
        "self": "circular dependency between ensembles: self -> self",
    }


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.sets(NAMES)))
def test_every_model_is_ordered_behind_what_it_needs_or_told_to_be_circular(depends: dict[str, set[str]]) -> None:
    order = load_order(depends)

    assert sorted((*order.models, *order.circular)) == sorted(depends)
    for index, name in enumerate(order.models):
        assert depends[name] & depends.keys() <= set(order.models[:index])
    for name in order.circular:
        assert depends[name] & order.circular.keys()
