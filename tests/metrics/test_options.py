"""`--metrics-config`."""

import pytest

from jubako.bundle.arguments import settle
from jubako.bundle.translate import metrics_options_of, server_options_of
from jubako.errors import InvalidArgument
from jubako.metrics.options import MetricsConfig, parse_metrics_config


def test_counters_are_on_and_the_rest_is_off_by_default() -> None:
    config = parse_metrics_config([])

    assert config == MetricsConfig()
    assert (config.counter_latencies, config.summary_latencies, config.histogram_latencies) == (True, False, False)
    assert list(config.quantiles) == ["0.5", "0.9", "0.95", "0.99", "0.999"]


def test_each_setting_is_taken_and_the_last_of_equal_ones_holds() -> None:
    config = parse_metrics_config(
        [
            "counter_latencies=false",
            "summary_latencies=false",
            "summary_latencies=true",
            "histogram_latencies=True",
            "summary_quantiles=0.5:0.05,0.75:0.01",
        ]
    )

    assert config == MetricsConfig(False, True, True, {"0.5": 0.5, "0.75": 0.75})


@pytest.mark.parametrize(
    "entry",
    [
        "summary_latencies",
        "latencies=true",
        "counter_latencies=yes please",
        "summary_quantiles=0.5",
        "summary_quantiles=2:0.1",
    ],
)
def test_what_does_not_fit_is_refused_by_name(entry: str) -> None:
    with pytest.raises(InvalidArgument, match="--metrics-config"):
        parse_metrics_config([entry])


def test_the_service_refuses_it_before_anything_starts() -> None:
    with pytest.raises(InvalidArgument, match="there is no setting nix"):
        settle({"metrics_config": "summary_latencies=true;nix=1"}, {})


def test_the_arguments_reach_the_runners_and_the_page() -> None:
    config = "summary_latencies=true;histogram_latencies=true;summary_quantiles=0.5:0.1,0.9:0.1"
    arguments = settle(
        {"metrics_config": config, "metrics_interval_ms": "500", "allow_cpu_metrics": "false"}, {}
    ).arguments

    runner, page = server_options_of(arguments, []).load.runner, metrics_options_of(arguments)

    assert (runner.summaries, runner.first_responses) == (True, True)
    assert (page.cpu, page.gpu, page.interval_s, list(page.config.quantiles)) == (False, True, 0.5, ["0.5", "0.9"])


def test_what_is_not_shown_is_not_counted() -> None:
    given = {"metrics_config": "summary_latencies=true;histogram_latencies=true", "allow_metrics": "false"}

    runner = server_options_of(settle(given, {}).arguments, []).load.runner

    assert (runner.summaries, runner.first_responses) == (False, False)
