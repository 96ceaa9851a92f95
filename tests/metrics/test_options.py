"""`--metrics-config`."""

import pytest

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
