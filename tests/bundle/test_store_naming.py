import logging

import pytest
from bentoml import Tag
from hypothesis import given
from hypothesis import strategies as st

from jubako.bundle.store.naming import tag_name, tag_version

NAMES = st.one_of(
    st.text(min_size=1, max_size=80),
    st.text("aA-._1", min_size=1, max_size=6),
    st.from_regex(r"[a-z0-9]{1,4}-[0-9a-f]{10}", fullmatch=True),
)


@pytest.mark.parametrize("model", ["simple", "digits_torchscript", "resnet-50.v2", "a", "7", "x" * 63])
def test_a_name_that_bentoml_accepts_is_kept(model: str) -> None:
    assert tag_name(model) == model


@pytest.mark.parametrize(
    ("model", "start"),
    [
        ("DenseNet.ONNX", "densenet.onnx-"),
        ("A", "a-"),
        ("my model (2)", "my-model-2-"),
        ("Größe", "groe-"),
        ("模型", "model-"),
        ("_private_", "private-"),
        ("x" * 200, "x" * 52 + "-"),
        ("x" * 64, "x" * 52 + "-"),
        ("line\n", "line-"),
        ("\udcff", "model-"),
        ("name-0123456789", "name-0123456789-"),
    ],
)
def test_any_other_name_becomes_readable_with_a_hash_behind_it(model: str, start: str) -> None:
    name = tag_name(model)

    assert name.startswith(start)
    assert len(name) == len(start) + 10


@pytest.mark.parametrize(
    ("one", "other"), [("A", "a"), ("a b", "a-b"), ("x" * 200, "x" * 201), ("é", "è"), ("模", "型"), ("a", "a\n")]
)
def test_names_that_look_alike_have_different_tags(one: str, other: str) -> None:
    assert tag_name(one) != tag_name(other)


def test_a_model_cannot_be_called_what_the_tag_of_another_is_called() -> None:
    taken = tag_name("DenseNet.ONNX")

    assert tag_name(taken) != taken


@given(NAMES)
def test_every_name_makes_a_tag_that_bentoml_takes_as_it_is(model: str) -> None:
    tag = Tag(tag_name(model), tag_version(2**63 - 1, "0" * 64))

    assert str(tag) == f"{tag_name(model)}:{2**63 - 1}-{'0' * 16}"
    assert Tag.from_str(str(tag)) == tag


@given(NAMES, NAMES)
def test_two_names_never_share_a_tag(one: str, other: str) -> None:
    assert (tag_name(one) == tag_name(other)) == (one == other)
    assert tag_name(tag_name(one)) != tag_name(one) or tag_name(one) == one


def test_bentoml_has_nothing_to_say_about_our_tags(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Tag(tag_name("DenseNet.ONNX"), tag_version(1, "ab" * 32))

    assert caplog.records == []
