"""How figures look: one palette that colour-blind readers can tell apart, and deterministic SVG."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from model.machine.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: these stay apart under every common colour-vision deficiency, and on paper by dash.
FIRST: dict[str, Any] = {"color": "#0072B2", "linestyle": "-", "linewidth": 1.8}
SECOND: dict[str, Any] = {"color": "#D55E00", "linestyle": (0, (4, 1.6)), "linewidth": 1.8}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
INK = "#24292f"
MUTED = "#6e7781"
SHADE = "#eaeef2"
FAULT = "#fbe3d6"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#afb8c1",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "feedtwin",
    "svg.fonttype": "path",
}


def render_svg(draw: Callable[[Figure], None], width_in: float = 5.2, height_in: float = 3.3) -> bytes:
    """Make a figure, let `draw` fill it, and return it as SVG: the same bytes for the same content.

    Raises MachineError where matplotlib is missing.
    """
    require("explore", purpose="a plot")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(cast(Any, RC)):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def render_axes(draw: Callable[[Axes], Any], width_in: float = 5.2, height_in: float = 3.3) -> bytes:
    """`render_svg` for a figure of one axes."""
    return render_svg(lambda figure: draw(figure.subplots()) and None, width_in, height_in)
