"""The picture of how the cost of a request grows with the platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from model.report.style import FIRST, SECOND, render_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_scaling(points: Sequence[dict[str, Any]]) -> bytes:
    """Nanoseconds per request over requests in flight (rows of `model.bench.scaling.Point`) as SVG, with the least
    squares line in log(in flight): points that bend upwards from it grow faster than the logarithm."""
    in_flight = np.array([point["in_flight"] for point in points])
    cost_ns = np.array([point["ns_per_request"] for point in points])
    slope, start = np.polyfit(np.log10(in_flight), cost_ns, 1)

    def draw(axes: Axes) -> None:
        axes.plot(in_flight, cost_ns, marker="o", label="measured", **FIRST)
        axes.plot(in_flight, start + slope * np.log10(in_flight), label=f"{slope:+.0f} ns per decade", **SECOND)
        axes.set(
            xscale="log", xlabel="requests in flight", ylabel="ns per request", title="What a request costs as it grows"
        )
        axes.set_ylim(bottom=0)
        axes.legend()

    return render_axes(draw)
