"""Prometheus' text format, version 0.0.4. Pure: families in, text out.

Labels are in alphabetical order and whole numbers without a point, which is how Triton writes them and what scripts
that read it by regular expression expect; no number has an exponent.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import accumulate
from math import isfinite

Labels = Mapping[str, str]
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class Kind(StrEnum):
    """A family's type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(slots=True)
class Family:
    """A metric: its name, type and help, and the lines of its samples."""

    name: str
    kind: Kind
    help: str
    lines: list[str] = field(default_factory=list)

    def add(self, labels: Labels, value: float) -> None:
        """Add a sample of a counter or a gauge."""
        self.lines.append(sample(self.name, labels, value))

    def add_buckets(self, labels: Labels, bounds: Sequence[float], counts: Sequence[int], total: float) -> None:
        """Add a histogram's samples.

        `bounds` are the upper ends, inclusive and ascending; `counts` are how many fell in each and, last, above;
        `total` is the sum of what was counted.
        """
        ends = [*map(number, bounds), "+Inf"]
        running = list(accumulate(counts))
        head, tail = _around(f"{self.name}_bucket", labels, "le")
        self.lines += [f"{head}{end}{tail}{count}" for end, count in zip(ends, running, strict=True)]
        self.lines.append(sample(f"{self.name}_count", labels, running[-1]))
        self.lines.append(sample(f"{self.name}_sum", labels, total))

    def add_quantiles(self, labels: Labels, quantiles: Mapping[str, float], count: int, total: float) -> None:
        """Add a summary's samples."""
        self.lines.append(sample(f"{self.name}_count", labels, count))
        self.lines.append(sample(f"{self.name}_sum", labels, total))
        head, tail = _around(self.name, labels, "quantile")
        self.lines += [f"{head}{quantile}{tail}{number(value)}" for quantile, value in quantiles.items()]

    @property
    def head(self) -> list[str]:
        """Its two lines of comment."""
        return [f"# HELP {self.name} {_escape_help(self.help)}", f"# TYPE {self.name} {self.kind}"]


def render(families: Iterable[Family]) -> str:
    """Return the text of `families`; those without a sample are left out."""
    lines: list[str] = []
    for family in families:
        if family.lines:
            lines += family.head
            lines += family.lines
    return _joined(lines)


def insert(text: str, family: Family) -> str:
    """Return `text` with the samples of `family`, behind those of the same family if it has any already."""
    if not family.lines:
        return text
    lines = text.splitlines()
    own = [
        i
        for i, line in enumerate(lines)
        if line.startswith((f"{family.name} ", f"{family.name}{{", f"# TYPE {family.name} "))
    ]
    if own:
        lines[own[-1] + 1 : own[-1] + 1] = family.lines
    else:
        lines += [*family.head, *family.lines]
    return _joined(lines)


def sample(name: str, labels: Labels, value: float) -> str:
    """Return the line of one sample."""
    if not labels:
        return f"{name} {number(value)}"
    inside = ",".join(f'{label}="{escape(labels[label])}"' for label in sorted(labels))
    return f"{name}{{{inside}}} {number(value)}"


def _around(name: str, labels: Labels, label: str) -> tuple[str, str]:
    """Return what stands before and behind the value of `label` in a sample that has it beside `labels`."""
    before = "".join(f'{other}="{escape(labels[other])}",' for other in sorted(labels) if other < label)
    behind = "".join(f',{other}="{escape(labels[other])}"' for other in sorted(labels) if other > label)
    return f'{name}{{{before}{label}="', f'"{behind}}} '


def number(value: float) -> str:
    """Return a number as plain decimal."""
    if isinstance(value, int):
        return str(value)
    if not isfinite(value):
        return "NaN" if value != value else ("+Inf" if value > 0 else "-Inf")
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def escape(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    if "\\" in value or '"' in value or "\n" in value:
        value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


def tag_label(key: str) -> str:
    """Return the label of a tag in `metric_tags`; what a label may not have in its name becomes an underscore."""
    return "_" + _NOT_IN_NAMES.sub("_", key)


def _joined(lines: Sequence[str]) -> str:
    return "\n".join([*lines, ""])


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
