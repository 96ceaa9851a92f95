"""Which requests are traced, by the settings of the server and of each model (observability.md 3.1, 3.2). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, Final

from jubako.errors import InvalidArgument


class Level(Enum):
    """What is recorded of a sampled request; none of them is OFF."""

    TIMESTAMPS = "TIMESTAMPS"
    TENSORS = "TENSORS"


class Mode(Enum):
    """Where traces go."""

    TRITON = "triton"
    OPENTELEMETRY = "opentelemetry"


@dataclass(frozen=True, slots=True)
class Values:
    """What a setting says."""

    level: frozenset[Level] = frozenset()
    rate: int = 1000
    """One request of so many is sampled; 0 samples those alone that say so themselves."""
    count: int = -1
    """How many are sampled in all; -1 is no limit."""
    log_frequency: int = 0
    """How many traces make a file; 0 leaves them in one."""


FIELDS: Final = frozenset(each.name for each in fields(Values))
Update = Mapping[str, Any]
"""Some of the fields of `Values`; None clears one, so that it is again what it would be without an update."""


class TraceSetting:
    """The setting of the server or of a model, from one update to the next, and what it has sampled."""

    __slots__ = ("_collected", "_sampled", "_seen", "remaining", "retired", "specified", "valid", "values")

    def __init__(self, values: Values, specified: frozenset[str], why_not: str | None) -> None:
        self.values = values
        self.specified = specified
        """The fields that an update has set."""
        self.valid = why_not is None
        self.remaining = values.count
        self.retired = False
        """Another has taken its place; only what it has sampled still counts."""
        self._seen = 0
        self._sampled = 0
        self._collected = 0

    def sample(self, forced: bool = False) -> bool:
        """Count a request and say whether it is traced; `forced` traces it even out of turn."""
        if not self.valid:
            return False
        hit = False
        if self.values.rate and self.remaining:
            self._seen += 1
            hit = self._seen % self.values.rate == 0
            if hit and self.remaining > 0:
                self.remaining -= 1
        if hit or forced:
            self._sampled += 1
        return hit or forced

    def collect(self) -> None:
        """Take note that a sampled request has ended."""
        self._collected += 1

    @property
    def all_collected(self) -> bool:
        """No sampled request is under way."""
        return self._collected == self._sampled

    @property
    def exhausted(self) -> bool:
        """The last of a limited number was sampled, and all have ended."""
        return self.remaining == 0 and self.all_collected

    def now(self) -> Values:
        """Return the values with the count that is left."""
        return replace(self.values, count=self.remaining)


@dataclass(slots=True)
class TraceSettings:
    """All settings. `start` is what the server was started with; a model without a setting goes by the server's."""

    start: Values
    needs_file: bool
    """Traces go to a file, and none is named."""
    server: TraceSetting = field(init=False)
    models: dict[str, TraceSetting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A start may ask for a rate, or a count, of 0: it samples what is forced (observability.md 3.2, 3.4).
        why_not = "tracing is disabled" if not self.start.level else self._no_file()
        self.server = TraceSetting(self.start, frozenset(), why_not)

    @property
    def active(self) -> bool:
        """Some request may be sampled."""
        return self.server.valid or any(setting.valid for setting in self.models.values())

    def of(self, model: str) -> TraceSetting:
        """Return the setting that requests for `model` go by."""
        return self.models.get(model, self.server)

    def update(self, model: str, update: Update) -> list[TraceSetting]:
        """Change the setting of a model, or of the server (the empty name); return those that are thereby retired.

        Raises:
            InvalidArgument: the values that result could sample nothing, and do not say OFF.
        """
        current = self.models.get(model) if model else self.server
        base = self.server.now() if model else self.start
        made = self._updated(current, base, update)
        if not model:
            retired = [self.server]
            self.server = made
            for name in list(self.models):
                retired += self._follow(name)
            return retired
        if made.specified:
            self.models[model] = made
        else:
            self.models.pop(model, None)
        return [current] if current is not None else []

    def _updated(self, current: TraceSetting | None, base: Values, update: Update) -> TraceSetting:
        set_before = current.specified if current is not None else frozenset()
        kept = {name: getattr(current.now(), name) for name in set_before} if current is not None else {}
        said = {name: value for name, value in {**kept, **update}.items() if value is not None}
        values = replace(base, **said)
        why_not = self._why_not(values)
        if why_not is not None and values.level:
            raise InvalidArgument(f"Attempting to set invalid trace setting :{why_not}")
        return TraceSetting(values, frozenset(said), why_not)

    def _follow(self, model: str) -> list[TraceSetting]:
        """Bring what a model has not set to the server's new values, as far as that can be."""
        try:
            return self.update(model, {}) if self.models[model].specified != FIELDS else []
        except InvalidArgument:
            return []

    def _why_not(self, values: Values) -> str | None:
        """Return why nothing would be sampled, in Triton's words (it has none for a count of 0)."""
        if not values.level:
            return "tracing is disabled"
        if not values.rate:
            return "sample rate must be non-zero"
        return "" if not values.count else self._no_file()

    def _no_file(self) -> str | None:
        return "trace file name is not given" if self.needs_file else None
