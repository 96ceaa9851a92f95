"""`--trace-config`: what the server is started with. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jubako.errors import InvalidArgument
from jubako.tracing.settings import Level, Mode, Values

DEFAULT_URL: Final = "http://localhost:4318/v1/traces"
DEFAULT_RESOURCE: Final[Mapping[str, str]] = {"service.name": "triton-inference-server"}
BSP: Final[Mapping[str, int]] = {
    "bsp_max_queue_size": 2048,
    "bsp_schedule_delay": 5000,
    "bsp_max_export_batch_size": 512,
}
"""Options of the batch processor, with their defaults; OpenTelemetry's own variables (`OTEL_BSP_…`) stand between."""
LEVELS: Final[Mapping[str, frozenset[Level]]] = {
    "off": frozenset(),
    "timestamps": frozenset({Level.TIMESTAMPS}),
    "tensors": frozenset({Level.TENSORS}),
    "min": frozenset({Level.TIMESTAMPS}),
    "max": frozenset({Level.TIMESTAMPS}),
}
BOUNDS: Final = {"rate": (0, 2**32 - 1), "count": (-1, 2**31 - 1), "log_frequency": (0, 2**32 - 1)}


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What is traced from the start on, and where traces go."""

    mode: Mode = Mode.TRITON
    values: Values = field(default_factory=Values)
    file: str = ""
    url: str = DEFAULT_URL
    resource: Mapping[str, str] = field(default_factory=lambda: DEFAULT_RESOURCE)
    bsp_max_queue_size: int = BSP["bsp_max_queue_size"]
    bsp_schedule_delay: int = BSP["bsp_schedule_delay"]
    """Milliseconds."""
    bsp_max_export_batch_size: int = BSP["bsp_max_export_batch_size"]

    @property
    def shown(self) -> dict[str, str | list[str]]:
        """What of these clients see among the settings, beside those that they can change."""
        if self.mode is Mode.TRITON:
            return {}
        return {
            "url": self.url,
            "resource": ",".join(f"{key}={value}" for key, value in self.resource.items()),
            **{name: str(getattr(self, name)) for name in BSP},
        }


def parse_trace_config(entries: Sequence[str], environ: Mapping[str, str]) -> TraceOptions:
    """Return what `<setting>=<value>` and `<mode>,<setting>=<value>` entries say; the last of equal ones holds.

    `environ` is where OpenTelemetry's own variables are looked up.

    Raises:
        InvalidArgument: an unknown setting, or a value that does not fit.
    """
    reading = _Reading(environ)
    for entry in entries:
        name, equals, value = entry.partition("=")
        scope, comma, setting = name.partition(",")
        if not equals:
            raise InvalidArgument(
                f"--trace-config option format is '<mode>,<setting>=<value>' or '<setting>=<value>'. Got {entry}"
            )
        reading.take(_mode(scope) if comma else None, (setting if comma else name).strip(), value.strip())
    return reading.options()


class _Reading:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.levels: frozenset[Level] = frozenset()
        self.values: dict[str, Any] = {}
        self.given: dict[str, Any] = {}
        self.resource: dict[str, str] = {}
        for name in BSP:
            if text := environ.get(f"OTEL_{name.upper()}"):
                self.given[name] = _number(f"OTEL_{name.upper()}", text, 1, 2**31 - 1)

    def take(self, scope: Mode | None, name: str, value: str) -> None:
        match scope, name:
            case None, "level":
                if value.lower() not in LEVELS:
                    raise InvalidArgument(f"invalid value for trace level option: {value.lower()}")
                self.levels |= LEVELS[value.lower()]
            case None, "mode":
                self.given["mode"] = _mode(value)
            case None, "rate" | "count":
                self.values[name] = _number(name, value, *BOUNDS[name])
            case Mode.TRITON, "file":
                self.given["file"] = value
            case Mode.TRITON, "log-frequency":
                self.values["log_frequency"] = _number(name, value, *BOUNDS["log_frequency"])
            case Mode.OPENTELEMETRY, "url":
                self.given["url"] = value
            case Mode.OPENTELEMETRY, "resource":
                key, _, said = value.partition("=")
                self.resource[key.strip()] = said.strip()
            case Mode.OPENTELEMETRY, _ if name in BSP:
                self.given[name] = _number(name, value, 1, 2**31 - 1)
            case _:
                spelled = name if scope is None else f"{scope.value},{name}"
                raise InvalidArgument(f"--trace-config: there is no setting {spelled}")

    def options(self) -> TraceOptions:
        resource = DEFAULT_RESOURCE | self.resource  # type: ignore[operator]
        return TraceOptions(values=Values(level=self.levels, **self.values), resource=resource, **self.given)


def _mode(text: str) -> Mode:
    try:
        return Mode(text.strip().lower())
    except ValueError:
        raise InvalidArgument(
            f'invalid value for trace mode option: {text}. Available options are "triton" and "opentelemetry"'
        ) from None


def _number(name: str, text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise InvalidArgument(f"--trace-config {name}: Invalid option value. Got {text}") from None
    if not least <= number <= most:
        raise InvalidArgument(f"--trace-config {name}: value is out of range [ {least}, {most} ], got: {text}")
    return number
