"""A report as Markdown: the header, the table of servers, the table of micro benchmarks. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.summary import Row
from benchmarks.timing import Timing

COLUMNS = (
    "workload",
    "c",
    "server",
    "CPU µs/request",
    "÷ echo",
    "requests/s",
    "÷ echo",
    "p50 ms",
    "÷ echo",
    "p99 ms",
    "mean batch",
    "answers",
)


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run found out."""

    header: dict[str, str]
    rows: Sequence[Row] = ()
    micro: Sequence[Timing] = field(default=())


def markdown(report: Report) -> str:
    """Return the whole report."""
    parts = ["\n".join(f"- **{name}**: {text}" for name, text in report.header.items())]
    if report.rows:
        parts.append(table(COLUMNS, map(_cells, report.rows)))
    if report.micro:
        parts.append(
            table(
                ("without sockets", "ns (median)", "ns (best)"),
                ((timing.name, f"{timing.median_ns:,.0f}", f"{timing.best_ns:,.0f}") for timing in report.micro),
            )
        )
    return "\n\n".join(parts) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, padded so that it reads as text too."""
    lines = [list(columns), *[list(cells) for cells in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _cells(row: Row) -> Sequence[str]:
    return (
        row.workload,
        str(row.connections),
        row.server,
        f"{row.cpu_us:.1f}",
        _ratio(row.cpu_ratio),
        f"{row.requests_per_s:,.0f}",
        _ratio(row.requests_per_s_ratio),
        f"{row.p50_ms:.2f}",
        _ratio(row.p50_ratio),
        f"{row.p99_ms:.2f}",
        "" if row.mean_batch is None else f"{row.mean_batch:.1f}",
        f"{row.requests:,} right" if not row.wrong else f"{row.wrong:,} of {row.requests:,} WRONG",
    )


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}×"
