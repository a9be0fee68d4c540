"""Plots show the data that they are given."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.analysis.compare import Comparison, compare
from model.report import plots
from model.report.style import render_axes
from model.report.sweep_plot import plot_sweep
from model.runs import RunBuilder
from tests.synthetic import make_run, scenario


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    fault = {"kind": "standby_pause", "at_s": 9, "duration_s": 3, "target": 1}
    return compare(make_run("real", faults=[fault]), make_run("model", lag_factor=2.0, faults=[fault]))


def _line(ax: Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    line = next(line for line in ax.get_lines() if str(line.get_label()).startswith(name))
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def test_the_latency_curve_passes_through_the_quantiles(ax: Axes, comparison: Comparison) -> None:
    plots.plot_latency(ax, comparison, "profile")
    x_ms, above = _line(ax, "real")
    for q in (0.5, 0.95, 0.99):
        crossing = x_ms[np.flatnonzero(above <= 1 - q + 1e-9)[0]]
        assert crossing == pytest.approx(comparison.a.latency("profile").quantile(q) * 1e3, rel=0.01)
    assert (np.diff(above) <= 0).all()


def test_the_unscored_region_begins_where_a_hundred_are_left(ax: Axes, comparison: Comparison) -> None:
    plots.plot_latency(ax, comparison, "profile")
    (span,) = ax.patches
    assert span.get_y() + span.get_height() == pytest.approx(100 / 3_000)  # type: ignore[attr-defined]


def test_the_lag_curves_differ_as_the_lags_do(ax: Axes, comparison: Comparison) -> None:
    plots.plot_lag(ax, comparison, "delivery")
    (real, _), (model, _) = _line(ax, "real"), _line(ax, "model")
    assert model.max() / real.max() == pytest.approx(2, rel=0.02)


def test_gauges_are_drawn_over_the_whole_run_with_its_faults(ax: Axes, comparison: Comparison) -> None:
    plots.plot_gauge(ax, comparison, "outbox_length")
    times, values = _line(ax, "model")
    assert times[0] == 0
    assert values.max() == pytest.approx(8, rel=0.01)
    assert ax.get_xlim() == (0, 20)
    assert {text.get_text() for text in ax.texts} == {"warm-up", "standby pause"}


def test_the_worst_standby_is_shown(ax: Axes) -> None:
    builder = RunBuilder(scenario(), "model")
    builder.add_gauge([0.0, 1.0], "replica_lag_s", "standby0", [0.001, 0.005])
    builder.add_gauge([0.0, 1.0], "replica_lag_s", "standby1", [0.003, 0.002])
    run = builder.build({})
    plots.plot_replica_lag(ax, compare(run, run))
    assert _line(ax, "a")[1].tolist() == [3, 5]


def test_latency_over_time_has_a_point_per_second(ax: Axes, comparison: Comparison) -> None:
    plots.plot_latency_over_time(ax, comparison, "react", 0.5)
    times, _ = _line(ax, "real")
    assert times.tolist() == list(range(20))


def test_bars_are_as_long_as_the_utilisation(ax: Axes, comparison: Comparison) -> None:
    plots.plot_utilisation(ax, comparison)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    lengths = [bar.get_width() for bar in ax.containers[0]]
    expected = {"backend": 60, "api": 40, "redis": 10, "primary": 8}
    assert dict(zip(labels, lengths, strict=True)) == pytest.approx(expected)
    assert labels[-1] == "backend"


def test_the_trade_off_labels_its_points_and_leaves_out_what_is_unknown(ax: Axes) -> None:
    table = pl.DataFrame({"threshold": [50, 200, 1_000], "read_ms": [9.0, 7.0, None], "lag_s": [0.1, 0.4, 2.0]})
    plots.plot_trade_off(ax, table, "read_ms", "lag_s", "threshold")
    assert [text.get_text() for text in ax.texts] == ["50", "200"]
    assert np.asarray(ax.get_lines()[0].get_xdata()).tolist() == [9.0, 7.0]


def test_runs_draw_themselves_for_notebooks(ax: Axes) -> None:
    run = make_run("model")
    run.plot_latency(ax, "home_timeline")
    run.latency("react").plot(ax, label="react", color="black")
    assert [line.get_label() for line in ax.get_lines()] == ["model: home_timeline", "react"]
    assert run.plot_gauge(Figure().subplots(), "replica_lag_s").get_ylabel() == "replica_lag_s"


def test_pictures_are_deterministic(comparison: Comparison) -> None:
    def draw(ax: Axes) -> None:
        plots.plot_latency(ax, comparison, "profile")

    assert render_axes(draw) == render_axes(draw)


@pytest.mark.parametrize("fields", [["policies.fanout"], ["threshold"], ["threshold", "policies.fanout"]])
def test_a_sweep_is_drawn_for_numbers_and_names(fields: list[str]) -> None:
    rows = [
        {
            "threshold": threshold,
            "policies.fanout": fanout,
            "delivery_p50_s": 0.1 * threshold,
            "delivery_p99_s": None,
            "home_timeline_mean_ms": 1e3 / threshold,
            "home_timeline_p95_ms": 2e3 / threshold,
        }
        for threshold in (50, 200)
        for fanout in ("push", "hybrid")
    ]
    rows[0]["delivery_p99_s"] = 3.0
    svg = plot_sweep(pl.DataFrame(rows), fields, title="sweep").decode()
    assert [svg.count(f'id="axes_{number}"') for number in (1, 2, 3, 4)] == [1, 1, 1, 0]
