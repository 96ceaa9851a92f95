"""An ensemble whose answers are kept, and one whose step's are."""

from collections.abc import Callable, Iterator

import pytest
from google.protobuf import text_format
from programmable import Answered, Model, a_config, a_request, a_server, no_thread_left, run
from programmable import snapshot as snapshot
from tritonclient.grpc.model_config_pb2 import ModelConfig

from jubako.repository import Snapshot
from jubako.runner import RunnerOptions
from jubako.schedulers.cache import ResponseCache
from jubako.statistics import ModelStatistics

CACHED = "response_cache { enable: true }"


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    with no_thread_left():
        yield


def an_ensemble(more: str = "") -> Model:
    """Return an ensemble of X that is one step to `m`; its Y is that model's Y."""
    text = f"""
        name: "e" platform: "ensemble" max_batch_size: 8
        input {{ name: "X" data_type: TYPE_INT32 dims: [ 2 ] }}
        output {{ name: "Y" data_type: TYPE_INT32 dims: [ 2 ] }}
        ensemble_scheduling {{ step {{
          model_name: "m" model_version: -1 input_map {{ key: "X" value: "X" }} output_map {{ key: "Y" value: "Y" }}
        }} }}
        {more}
    """
    return Model("e", config=text_format.Parse(text, ModelConfig()))


@pytest.mark.parametrize(
    ("ensemble", "step", "hits", "step_runs", "step_requests"),
    [
        pytest.param(CACHED, "", {"e": 2, "m": 0}, 1, 1, id="a hit on the ensemble skips its step"),
        pytest.param("", CACHED, {"e": 0, "m": 2}, 1, 3, id="a hit on the step is the ensemble's way"),
        pytest.param("", "", {"e": 0, "m": 0}, 3, 3, id="none is kept"),
    ],
)
def test_an_ensemble_and_its_step_keep_answers_each_for_itself(
    snapshot: Callable[..., Snapshot],
    ensemble: str,
    step: str,
    hits: dict[str, int],
    step_runs: int,
    step_requests: int,
) -> None:
    written = snapshot(an_ensemble(ensemble), Model(config=a_config(more=step)))

    async def scene() -> dict[str, ModelStatistics]:
        async with a_server(runner=RunnerOptions(cache=ResponseCache(100_000))) as server:
            await server.load(written)
            for _ in range(3):
                request = a_request(4)
                request.model_name = "e"
                answer = Answered()
                server.submit(request, answer)
                await answer.arrived.wait()
                assert answer.values == [[[-4, -4]]]
            return {version.name: version.statistics for version in server.statistics()}

    counted = run(scene())

    assert {name: statistics.cache_hit.count for name, statistics in counted.items()} == hits
    assert counted["e"].success.count == 3
    assert (counted["m"].execution_count, counted["m"].success.count) == (step_runs, step_requests)
