"""What of the metrics is wanted: `--metrics-config`, and the switches beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from jubako.errors import InvalidArgument

DEFAULT_QUANTILES: Final[Mapping[str, float]] = {"0.5": 0.5, "0.9": 0.9, "0.95": 0.95, "0.99": 0.99, "0.999": 0.999}
SWITCHES: Final = ("counter_latencies", "summary_latencies", "histogram_latencies")


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """What `--metrics-config` sets."""

    counter_latencies: bool = True
    summary_latencies: bool = False
    histogram_latencies: bool = False
    quantiles: Mapping[str, float] = field(default_factory=lambda: DEFAULT_QUANTILES)
    """By how they are written."""


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """What a page of metrics shows."""

    config: MetricsConfig = field(default_factory=MetricsConfig)
    cpu: bool = True
    gpu: bool = True
    interval_s: float = 2.0
    """The machine's gauges are not read more often than this, however often they are asked for."""


def parse_metrics_config(entries: Sequence[str]) -> MetricsConfig:
    """Return what `<setting>=<value>` entries say; the last of equal settings holds.

    Raises:
        InvalidArgument: an unknown setting, or a value that does not fit.
    """
    switches: dict[str, bool] = {}
    quantiles = DEFAULT_QUANTILES
    for entry in entries:
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals:
            raise InvalidArgument(f"--metrics-config option format is '<setting>=<value>'. Got {entry}")
        if name in SWITCHES:
            switches[name] = _boolean(name, value)
        elif name == "summary_quantiles":
            quantiles = _quantiles(value)
        else:
            raise InvalidArgument(
                f"--metrics-config: there is no setting {name}; known are {', '.join(SWITCHES)}, summary_quantiles"
            )
    return MetricsConfig(**switches, quantiles=quantiles)


def _boolean(name: str, value: str) -> bool:
    match value.lower():
        case "true" | "1" | "on":
            return True
        case "false" | "0" | "off":
            return False
    raise InvalidArgument(f"--metrics-config: {name} is neither true nor false: {value}")


def _quantiles(value: str) -> Mapping[str, float]:
    """Read `0.5:0.05,0.9:0.01`; the error behind the colon is checked, and not needed."""
    quantiles: dict[str, float] = {}
    for entry in value.split(","):
        quantile, _, error = entry.partition(":")
        try:
            parsed, allowed = float(quantile), float(error)
        except ValueError:
            parsed = allowed = -1.0
        if not (0 <= parsed <= 1 and 0 <= allowed <= 1):
            raise InvalidArgument(
                f"--metrics-config: summary_quantiles is a list of <quantile>:<error>, each from 0 to 1. Got {entry}"
            )
        quantiles[quantile.strip()] = parsed
    return quantiles
