"""The picture of a sweep: what readers pay against how fast posts arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from model.report.plots import plot_trade_off
from model.report.style import MUTED, SERIES, render_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DELIVERY = {"delivery_p50_s": "p50", "delivery_p99_s": "p99"}
READ = {"home_timeline_mean_ms": "mean", "home_timeline_p95_ms": "p95"}
TAILS = ("p95", "p99")


def plot_sweep(table: pl.DataFrame, fields: Sequence[str], *, title: str) -> bytes:
    """An SVG of a sweep's table: delivery lag over the first field, read cost over it, and one against the other.

    Further fields become one line per combination of their values.
    """

    def draw(figure: Figure) -> None:
        lag_axes, read_axes, trade_axes = figure.subplots(1, 3)
        first, *others = fields
        groups = table.partition_by(others, as_dict=True, maintain_order=True) if others else {(): table}
        for position, (values, rows) in enumerate(groups.items()):
            name = ", ".join(f"{_short(field)} {value}" for field, value in zip(others, values, strict=True))
            color = SERIES[position % len(SERIES)]
            _lines(lag_axes, rows, first, DELIVERY, name, color)
            _lines(read_axes, rows, first, READ, name, color)
            x, y = "home_timeline_p95_ms", "delivery_p99_s"
            plot_trade_off(trade_axes, rows, x, y, first, name=name, color=color)
        lag_axes.set(xlabel=first, ylabel="delivery lag (s)", title="How late a post arrives")
        read_axes.set(xlabel=first, ylabel="home timeline (ms)", title="What a read costs")
        trade_axes.set(xlabel="home timeline p95 (ms)", ylabel="delivery lag p99 (s)", title="The trade-off")
        few = "too few observations for {}"
        _finish(lag_axes, few.format("p50 and p99"))
        _finish(read_axes, few.format("the mean and p95"))
        if not trade_axes.has_data():
            _finish(trade_axes, few.format("the two tails"))
        elif trade_axes.get_legend_handles_labels()[0]:
            trade_axes.legend()
        figure.suptitle(f"{title}, by {_short(first)}", fontweight="bold")

    return render_svg(draw, 13, 4.2)


def _lines(axes: Axes, rows: pl.DataFrame, field: str, columns: dict[str, str], name: str, color: str) -> None:
    for column, figure in columns.items():
        seen = rows.filter(pl.col(column).is_not_null())
        if not seen.height:
            continue
        half_width = f"{column}_half_width"
        spread = seen[half_width].fill_null(0.0).to_list() if half_width in seen.columns else None
        dash = "--" if figure in TAILS else "-"
        label = f"{name} {figure}".strip()
        axes.errorbar(
            _positions(seen, field), seen[column].to_list(), yerr=spread, fmt=dash, marker="o", color=color,
            label=label, capsize=3,
        )  # fmt: skip


def _finish(axes: Axes, missing: str) -> None:
    """From 0 to a little above everything; where nothing could be drawn, why."""
    if axes.has_data():
        _, top = axes.get_ylim()
        axes.set_ylim(0, 1.12 * top)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        return
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, missing, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def _positions(rows: pl.DataFrame, field: str) -> list[Any]:
    """Numbers stay numbers; anything else is a category."""
    values = rows[field]
    return values.to_list() if values.dtype.is_numeric() else [str(value) for value in values]


def _short(field: str) -> str:
    return field.rpartition(".")[2]
