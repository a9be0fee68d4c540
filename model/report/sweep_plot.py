"""The picture of a sweep: what readers pay against how fast posts arrive."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DELIVERY = {"delivery_p50_s": "p50", "delivery_p99_s": "p99"}
READ = {"home_timeline_mean_ms": "mean", "home_timeline_p95_ms": "p95"}


def plot_sweep(table: pl.DataFrame, fields: Sequence[str], *, title: str) -> bytes:
    """An SVG of a sweep's table: delivery lag over the first field, read cost over it, and one against the other.

    Further fields become one line per combination of their values.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    lag_axes, read_axes, trade_axes = figure.subplots(1, 3)
    first, *others = fields
    groups = table.partition_by(others, as_dict=True, maintain_order=True) if others else {(): table}
    for position, (values, rows) in enumerate(groups.items()):
        names = ", ".join(f"{_short(field)} {value}" for field, value in zip(others, values, strict=True))
        colour = f"C{position % 10}"
        _lines(lag_axes, rows, first, DELIVERY, names, colour)
        _lines(read_axes, rows, first, READ, names, colour)
        _trade_off(trade_axes, rows, first, names, colour)
    lag_axes.set(xlabel=first, ylabel="delivery lag (s)", title="how late a post arrives")
    read_axes.set(xlabel=first, ylabel="home timeline (ms)", title="what a read costs")
    trade_axes.set(xlabel="home timeline mean (ms)", ylabel="delivery lag p99 (s)", title=f"labels: {_short(first)}")
    for axes in (lag_axes, read_axes):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    if others and trade_axes.get_legend_handles_labels()[0]:
        trade_axes.legend(fontsize="small")
    for axes in (lag_axes, read_axes, trade_axes):
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _lines(axes: Axes, rows: pl.DataFrame, field: str, columns: dict[str, str], names: str, colour: str) -> None:
    for column, quantile in columns.items():
        seen = rows.filter(pl.col(column).is_not_null())
        if seen.height:
            line, label = "--" if quantile in ("p95", "p99") else "-", f"{names} {quantile}".strip()
            x, y = _positions(seen, field), seen[column].to_list()
            axes.plot(x, y, marker="o", color=colour, linestyle=line, label=label)
    axes.set_ylim(bottom=0)


def _trade_off(axes: Axes, rows: pl.DataFrame, field: str, names: str, colour: str) -> None:
    seen = rows.filter(pl.col("home_timeline_mean_ms").is_not_null() & pl.col("delivery_p99_s").is_not_null())
    x, y = seen["home_timeline_mean_ms"].to_list(), seen["delivery_p99_s"].to_list()
    if not x:
        return
    axes.plot(x, y, marker="o", color=colour, label=names or None)
    for value, x_value, y_value in zip(seen[field].to_list(), x, y, strict=True):
        axes.annotate(str(value), (x_value, y_value), textcoords="offset points", xytext=(5, 5), fontsize="small")


def _positions(rows: pl.DataFrame, field: str) -> list[Any]:
    """Numbers stay numbers; anything else is a category."""
    values = rows[field]
    return values.to_list() if values.dtype.is_numeric() else [str(value) for value in values]


def _short(field: str) -> str:
    return field.rpartition(".")[2]
