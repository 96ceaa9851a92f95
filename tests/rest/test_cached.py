"""Answers from the cache, over both lanes: the same bytes, in order, and each with its own id."""

from collections.abc import Callable

from fakes import Served, identity, simple

from jubako.runner import RunnerOptions
from jubako.schedulers.cache import ResponseCache

from .wire import Wire, document, get, message, sum_of, sums

CACHED = "response_cache { enable: true }"


def test_pipelined_inferences_are_answered_in_order_those_from_the_cache_too(serve: Callable[..., Served]) -> None:
    model = simple(more=CACHED)
    served = serve({"simple": model}, runner=RunnerOptions(cache=ResponseCache(1 << 20)))
    values = [n % 7 for n in range(300)]

    with Wire.to(served) as wire:
        for value in range(7):
            wire.send(sums(value))
            assert sum_of(wire.answer()) == value
        wire.send(*(sums(value) for value in values))

        assert [sum_of(wire.answer()) for _ in values] == values
        wire.send(get("/v2/models/simple/stats"))
        (counted,) = wire.answer().json["model_stats"]

    assert model.executions == 7
    assert (counted["inference_count"], counted["execution_count"]) == (7, 7)
    counts = {
        what: counted["inference_stats"][what]["count"] for what in ("success", "queue", "cache_hit", "cache_miss")
    }
    assert counts == {"success": 307, "queue": 307, "cache_hit": 300, "cache_miss": 7}
    assert counted["inference_stats"]["cache_hit"]["ns"] > 0


def test_strings_from_the_cache_are_written_as_those_that_were_computed(serve: Callable[..., Served]) -> None:
    served = serve({"words": identity("STRING", more=CACHED)}, runner=RunnerOptions(cache=ResponseCache(1 << 20)))
    bodies = [document(["a", "bc", ""], "BYTES", id=name) for name in "xyy"]

    with Wire.to(served) as wire:
        answers = []
        for body in bodies:
            wire.send(message("POST", "/v2/models/words/infer", body))
            answers.append(wire.answer())

    assert served.models["words"].executions == 1
    assert [answer.json["id"] for answer in answers] == ["x", "y", "y"]
    assert [answer.json["outputs"] for answer in answers] == [answers[0].json["outputs"]] * 3
    assert answers[0].json["outputs"][0]["data"] == ["a", "bc", ""]
