"""Plots of a Comparison. Each draws into a matplotlib axes that the caller made, and returns it.

The first run is solid and blue, the second dashed and orange. matplotlib itself is imported only where needed, so
that this module can be read without the `explore` extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from model.analysis.compare import MIN_TAIL, REPLICA_GAUGE, Comparison
from model.report.style import FAULT, FIRST, INK, MUTED, SECOND, SHADE
from model.runs import Histogram, Run
from model.runs.run import Basis, LagKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENTILES = {0.5: "p50", 0.1: "p90", 0.05: "p95", 0.01: "p99", 0.001: "p99.9", 0.0001: "p99.99"}


class Side(NamedTuple):
    """One of the two runs, what to call it, and how to draw it."""

    name: str
    run: Run
    style: dict[str, Any]


def sides(comparison: Comparison) -> tuple[Side, Side]:
    """Both runs in the order in which they are drawn."""
    first, second = comparison.names
    return Side(first, comparison.a, FIRST), Side(second, comparison.b, SECOND)


def plot_latency(ax: Axes, comparison: Comparison, endpoint: str | None = None, basis: Basis = "sent") -> Axes:
    """Both latency distributions of an endpoint (None: all), as the share of requests that took longer."""
    named = [(side, side.run.latency(endpoint, basis)) for side in sides(comparison)]
    _tails(ax, named)
    ax.set_title(endpoint or "all endpoints")
    return ax


def plot_lag(ax: Axes, comparison: Comparison, kind: LagKind = "delivery", label: str | None = None) -> Axes:
    """Both distributions of a lag."""
    _tails(ax, [(side, side.run.lag(kind, label)) for side in sides(comparison)])
    ax.set_title(f"{kind} lag" + (f", {label}" if label else ""))
    return ax


def plot_gauge(ax: Axes, comparison: Comparison, gauge: str) -> Axes:
    """A gauge of both runs over time, warm-up and faults shaded."""
    _shade_time(ax, comparison)
    for side in sides(comparison):
        rows = side.run.gauge(gauge).group_by("time_s", maintain_order=True).agg(pl.col("value").sum())
        ax.plot(rows["time_s"].to_numpy(), rows["value"].to_numpy(), label=side.name, **side.style)
    ax.set(title=gauge.replace("_", " "), ylabel="items")
    _finish_time(ax, comparison)
    return ax


def plot_replica_lag(ax: Axes, comparison: Comparison, standby: str | None = None) -> Axes:
    """How far a standby (None: the one furthest behind) was over time."""
    _shade_time(ax, comparison)
    for side in sides(comparison):
        rows = side.run.gauge(REPLICA_GAUGE, standby)
        rows = rows.group_by("time_s", maintain_order=True).agg(pl.col("value").max())
        ax.plot(rows["time_s"].to_numpy(), rows["value"].to_numpy() * 1e3, label=side.name, **side.style)
    ax.set(title=f"replica lag, {standby or 'worst standby'}", ylabel="ms")
    _finish_time(ax, comparison)
    return ax


def plot_latency_over_time(ax: Axes, comparison: Comparison, endpoint: str | None = None, q: float = 0.95) -> Axes:
    """A quantile of the latency in every window."""
    _shade_time(ax, comparison)
    for side in sides(comparison):
        rows = side.run.latency_over_time(endpoint, q)
        ax.plot(rows["time_s"].to_numpy(), rows["quantile_s"].to_numpy() * 1e3, label=side.name, **side.style)
    ax.set(title=f"p{100 * q:g} per second, {endpoint or 'all endpoints'}", ylabel="ms")
    _finish_time(ax, comparison)
    return ax


def plot_utilisation(ax: Axes, comparison: Comparison) -> Axes:
    """Mean share of one core that each kind of process used, both runs."""
    labels = list(comparison.utilisation)[::-1]
    at = np.arange(len(labels))
    for side, offset, values in (
        (sides(comparison)[0], 0.19, [comparison.utilisation[label].a for label in labels]),
        (sides(comparison)[1], -0.19, [comparison.utilisation[label].b for label in labels]),
    ):
        shares = [100 * (value or 0.0) for value in values]
        style = {"color": side.style["color"], "hatch": "" if offset > 0 else "////", "edgecolor": "white"}
        bars = ax.barh(at + offset, shares, 0.36, label=side.name, linewidth=0, **style)
        texts = [f"{share:.1f}" if share < 9.95 else f"{share:.0f}" for share in shares]
        ax.bar_label(bars, texts, padding=3, fontsize=8.5)
    ax.set_yticks(at, labels, color=INK)
    ax.set(title="utilisation", xlabel="% of one core")
    ax.margins(x=0.12)
    ax.grid(visible=False, axis="y")
    _legend(ax)
    return ax


def plot_trade_off(
    ax: Axes, table: pl.DataFrame, x: str, y: str, label: str, *, name: str = "", color: str = FIRST["color"]
) -> Axes:
    """A sweep's points in the plane of two figures (columns `x` and `y`), each labelled with its `label` column.

    Points in which either figure is missing are left out.
    """
    seen = table.filter(pl.col(x).is_not_null() & pl.col(y).is_not_null())
    ax.set(xlabel=x, ylabel=y)
    if not seen.height:
        return ax
    ax.plot(seen[x].to_numpy(), seen[y].to_numpy(), marker="o", color=color, linewidth=1.2, label=name or None)
    for text, x_value, y_value in seen.select(label, x, y).iter_rows():
        ax.annotate(str(text), (x_value, y_value), textcoords="offset points", xytext=(6, 5), fontsize=8.5, color=INK)
    ax.margins(0.12)
    return ax


def _tails(ax: Axes, named: list[tuple[Side, Histogram]]) -> None:
    """Complementary distributions on log axes, with the region that is not scored shaded."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    for side, histogram in named:
        if histogram.n:
            x_s, share = histogram.cdf()
            x_ms = np.concatenate([x_s[:1], x_s]) * 1e3
            # A log axis has no 0: the last step falls out of the picture, at the largest observation.
            above = np.maximum(np.concatenate([[1.0], 1 - share]), 1e-12)
            ax.step(x_ms, above, where="post", label=f"{side.name} (n = {histogram.n:,})", **side.style)
    ax.set_xscale("log")
    ax.set_yscale("log")
    counts = [histogram.n for _, histogram in named if histogram.n]
    bottom = min(0.5 / max(counts), 0.04) if counts else 0.01
    ax.set_ylim(bottom, 1.15)
    if counts and MIN_TAIL / min(counts) > bottom:
        edge = min(MIN_TAIL / min(counts), 1.0)
        ax.axhspan(bottom, edge, color=SHADE, zorder=0, linewidth=0)
        inside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "color": MUTED, "fontsize": 8, "va": "top"}
        ax.text(0.015, edge * 0.88, f"too few to score (< {MIN_TAIL} above)", **inside)
    ticks = {share: text for share, text in PERCENTILES.items() if share >= bottom}
    ax.yaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: ticks.get(round(value, 6), "")))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=30))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("ms")
    _legend(ax)


def _shade_time(ax: Axes, comparison: Comparison) -> None:
    run = comparison.a
    above: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": MUTED, "fontsize": 8, "va": "top"}
    spans = [(0.0, run.first_scored_window * run.window_s, SHADE, "warm-up")]
    for fault in run.scenario.faults:
        # An instant, such as a cache flush, gets a stripe wide enough to see.
        end = fault.at_s + max(fault.duration_s, 0.004 * run.duration_s)
        spans.append((fault.at_s, end, FAULT, fault.kind.value.replace("_", " ")))
    for start, end, color, text in spans:
        if end > start:
            ax.axvspan(start, end, color=color, zorder=0, linewidth=0)
            ax.text(start + 0.006 * run.duration_s, 0.985, text, **above)
    ax.set_xlabel("time (s)")


def _finish_time(ax: Axes, comparison: Comparison) -> None:
    # The drain after the last request is shown, up to the length of the run itself.
    last = max((float(x) for line in ax.get_lines() for x in np.asarray(line.get_xdata())[-1:]), default=0.0)
    ax.set_xlim(0, min(max(last, comparison.a.duration_s), 2 * comparison.a.duration_s))
    ax.set_ylim(0, max(ax.get_ylim()[1], 1e-9) * 1.12)  # room for what the shaded stretches are called
    _legend(ax)


def _legend(ax: Axes) -> None:
    """Beside the title, where no line can run through it."""
    if ax.get_legend_handles_labels()[0]:
        place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.99), "borderaxespad": 0.3}
        ax.legend(ncols=2, handlelength=1.8, columnspacing=1.2, **place)
