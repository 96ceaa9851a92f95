"""Where a process takes the models to serve from."""

import pytest

from jubako.bundle.arguments import settle
from jubako.bundle.models import Choice, Origin, origin_of
from jubako.errors import InvalidArgument

BY_ARGUMENT = settle({"model_repository": "/argument"}, {})
BY_ENVIRONMENT = settle({"model_repository": "/argument"}, {"JUBAKO_MODEL_REPOSITORY": "/a,/b"})
NOBODY = settle({}, {})


def test_a_worker_takes_the_supervisors_list_whatever_it_was_told() -> None:
    assert origin_of(BY_ENVIRONMENT, worker=True, bento=True, default="/d") == Choice(Origin.SUPERVISOR)


def test_outside_a_bento_it_is_the_repository_that_was_named() -> None:
    assert origin_of(BY_ARGUMENT, worker=False, bento=False, default="/d") == Choice(Origin.REPOSITORY, ("/argument",))


def test_where_none_was_named_it_is_the_one_beside_the_service() -> None:
    assert origin_of(NOBODY, worker=False, bento=False, default="/d") == Choice(Origin.REPOSITORY, ("/d",))


def test_where_there_is_none_either_that_is_said_in_tritons_words() -> None:
    with pytest.raises(InvalidArgument, match="--model-repository must be specified"):
        origin_of(NOBODY, worker=False, bento=False, default=None)


def test_a_bento_serves_its_own_models_though_it_was_built_from_a_repository() -> None:
    assert origin_of(BY_ARGUMENT, worker=False, bento=True, default=None) == Choice(Origin.BENTO)
    assert origin_of(NOBODY, worker=False, bento=True, default="/d") == Choice(Origin.BENTO)


def test_a_bento_serves_the_repositories_that_the_environment_names() -> None:
    assert origin_of(BY_ENVIRONMENT, worker=False, bento=True, default=None) == Choice(Origin.REPOSITORY, ("/a", "/b"))
