"""A Comparison as tables for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from model.analysis.compare import FIGURES, TARGETS, Comparison, Measure
from model.report.words import (
    Row,
    error_of,
    failure_rows,
    headline,
    milliseconds,
    significant,
    system_rows,
    targets_line,
)


def render(comparison: Comparison) -> Group:
    """All of it: notes, latencies, the system's figures, failures if there were any, and the verdict."""
    notes = [Text(f"note: {note}", style="yellow") for note in comparison.notes]
    failures = list(failure_rows(comparison))
    parts: list[Table | Text] = [*notes, render_table(comparison), Text(), render_system_table(comparison)]
    if failures:
        parts += [Text(), _rows_table(comparison, "failures", failures)]
    return Group(*parts, Text(), Text(headline(comparison), style="bold"), Text(targets_line(comparison)))


def render_table(comparison: Comparison) -> Table:
    """Per endpoint: observations, throughput, and each latency figure of both runs in ms with its relative error."""
    first, second = comparison.names
    targets = TARGETS if comparison.is_validation else {}
    table = Table(title="latency from sending, ms", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("endpoint")
    table.add_column("")
    for column in ("n", "per s", *FIGURES):
        table.add_column(column, justify="right")
    for row in comparison.latencies:
        figures = [row.sent[name] for name in FIGURES]
        for side, name, label in (("a", first, row.endpoint), ("b", second, "")):
            table.add_row(
                label,
                name,
                f"{int(getattr(row.n, side) or 0):,}",
                significant(getattr(row.throughput, side)),
                *(milliseconds(getattr(measure, side)) for measure in figures),
            )
        errors = [_error(measure, targets.get(name)) for name, measure in zip(FIGURES, figures, strict=True)]
        table.add_row("", "error", "", _error(row.throughput, None), *errors, end_section=True)
    return table


def render_system_table(comparison: Comparison) -> Table:
    """Rates, lags, hit ratio, queues, utilisation, slip and counters."""
    return _rows_table(comparison, "system", list(system_rows(comparison)))


def _rows_table(comparison: Comparison, title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for name in (*comparison.names, "error"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _error(measure: Measure, target: float | None) -> Text:
    text = error_of(measure)
    if measure.error is None:
        return Text(text, style="dim")
    beyond = target is not None and abs(measure.error) > target
    return Text(text, style="bold red" if beyond else "green" if target is not None else "")
