"""Which plots a report shows, each with a caption that says how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.analysis.compare import REPLICA_GAUGE, Comparison
from model.report import plots
from model.report.style import render_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Plot:
    """One picture of a report."""

    section: str
    alt: str
    """What a reader who cannot see it should know."""
    draw: Callable[[Axes], Any]
    height_in: float = 3.3

    def svg(self) -> bytes:
        """The picture itself."""
        return render_axes(self.draw, height_in=self.height_in)


LATENCY = "Latency distributions"
DELIVERY = "From post to timeline"
TIME = "Over time"
CORE = "Who uses the core"

CAPTIONS = {
    LATENCY: "The share of requests that took longer, both axes logarithmic: further left is faster, and where the "
    "two lines lie on each other the runs agree. In the shaded part fewer than 100 requests are slower in one of the "
    "runs, so nothing there is scored.",
    DELIVERY: "Delivery lag runs from a post's row, just before its commit, to its arrival in a follower's timeline; "
    "every follower counts once. Outbox lag is its first part, from the row to the broker.",
    TIME: "The grey stretch is the warm-up, which is served but not scored; faults are shaded in orange.",
    CORE: 'Share of one core, mean over the scored part. "backend" is the core that all of them share.',
}


def report_plots(comparison: Comparison) -> Iterator[Plot]:
    """The plots for which there is data, by section."""
    first, second = comparison.names
    both = f"of {first} and {second}"
    for row in comparison.latencies:
        if row.n.a or row.n.b:
            yield Plot(LATENCY, f"Latency distributions {both}: {row.endpoint}", _latency(comparison, row.endpoint))
    if len(comparison.latencies) > 1:
        yield Plot(LATENCY, f"Latency distributions {both}: all endpoints", _latency(comparison, None))
    for kind in ("delivery", "outbox"):
        lag = next((lag for lag in comparison.lags if lag.kind == kind and not lag.label), None)
        if lag:
            yield Plot(DELIVERY, f"Distributions of the {kind} lag {both}", _lag(comparison, kind))
    for queue in comparison.queues:
        yield Plot(TIME, f"{queue.gauge.replace('_', ' ')} {both} over time", _gauge(comparison, queue.gauge))
    for standby in sorted({*comparison.a.gauge_labels(REPLICA_GAUGE), *comparison.b.gauge_labels(REPLICA_GAUGE)}):
        yield Plot(TIME, f"Replica lag of {standby} {both} over time", _replica(comparison, standby))
    if comparison.latencies:
        yield Plot(TIME, f"95th percentile of the latency {both} in every second", _over_time(comparison))
    if comparison.utilisation:
        height = 1.1 + 0.42 * len(comparison.utilisation)
        yield Plot(CORE, f"Utilisation {both} by process", lambda ax: plots.plot_utilisation(ax, comparison), height)


def _latency(comparison: Comparison, endpoint: str | None) -> Callable[[Axes], Any]:
    return lambda ax: plots.plot_latency(ax, comparison, endpoint)


def _lag(comparison: Comparison, kind: Any) -> Callable[[Axes], Any]:
    return lambda ax: plots.plot_lag(ax, comparison, kind)


def _gauge(comparison: Comparison, gauge: str) -> Callable[[Axes], Any]:
    return lambda ax: plots.plot_gauge(ax, comparison, gauge)


def _replica(comparison: Comparison, standby: str) -> Callable[[Axes], Any]:
    return lambda ax: plots.plot_replica_lag(ax, comparison, standby)


def _over_time(comparison: Comparison) -> Callable[[Axes], Any]:
    return lambda ax: plots.plot_latency_over_time(ax, comparison)
