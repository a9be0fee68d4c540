"""`feedtwin sweep`: a table, a file, a picture."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from model.planning import Axis, grid
from model.planning.sweep import cost_per_h
from model.report.sweep_plot import plot_sweep
from model.spec import InputError, Scenario
from tests.cli.run_cli import SMALL, feedtwin

THRESHOLD = "policies.celebrity_threshold_followers"


def test_the_grid_is_every_combination_with_the_last_axis_fastest() -> None:
    points = grid(Scenario(name="x"), [Axis(THRESHOLD, (10, 20)), Axis("policies.fanout", ("push", "pull", "hybrid"))])
    assert [point.values for point in points] == [
        (threshold, fanout) for threshold in (10, 20) for fanout in ("push", "pull", "hybrid")
    ]
    assert points[4].scenario.policies.celebrity_threshold_followers == 20
    assert points[4].scenario.policies.fanout == "pull"


def test_an_axis_without_values_is_refused() -> None:
    with pytest.raises(InputError, match="seed has no values"):
        grid(Scenario(name="x"), [Axis("seed", ())])


def test_cost_counts_every_part() -> None:
    scenario = Scenario(name="x").with_(platform__api__processes=2, platform__postgres__standbys=1)
    assert cost_per_h(scenario) == pytest.approx(2 * 0.05 + 3 * 0.08 + 2 * 0.20 + 1 * 0.05)


def test_table_csv_and_plot(tmp_path: Path) -> None:
    over = ("--over", f"{THRESHOLD}=5,1000", "--over", "policies.fanout=hybrid,pull")
    outcome = feedtwin("sweep", "baseline", *SMALL, *over, "-o", tmp_path / "sweep", "--json")
    assert outcome.code == 0, outcome.stderr
    points = outcome.document["points"]
    assert [(point[THRESHOLD], point["policies.fanout"]) for point in points] == [
        (5, "hybrid"),
        (5, "pull"),
        (1000, "hybrid"),
        (1000, "pull"),
    ]
    assert all(point["offered_per_s"] == pytest.approx(points[0]["offered_per_s"]) for point in points)
    saved = pl.read_csv(tmp_path / "sweep" / "sweep.csv")
    assert saved.height == 4
    assert saved["home_timeline_mean_ms"].to_list() == pytest.approx([p["home_timeline_mean_ms"] for p in points])
    assert (tmp_path / "sweep" / "sweep.svg").read_bytes().startswith(b"<?xml")


def test_without_a_folder_the_plot_is_in_the_default_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = ("sweep", "baseline", *SMALL, "--over", f"{THRESHOLD}=5,1000")
    outcome = feedtwin(*call)
    assert "home mean ms" in outcome.stdout
    assert "out/sweep/sweep.svg" in outcome.stderr
    assert (tmp_path / "out/sweep/sweep.svg").read_bytes().startswith(b"<?xml")
    again = feedtwin(*call)
    assert again.code == 2
    assert "out/sweep exists" in again.stderr
    assert feedtwin(*call, "--force").code == 0


@pytest.mark.parametrize("values", [[5, 50, 500], ["push", "pull", "hybrid"]])
def test_the_plot_takes_numbers_and_names_and_gaps(values: list[int] | list[str]) -> None:
    table = pl.DataFrame(
        {
            "field": values,
            "delivery_p50_s": [0.01, None, 0.03],
            "delivery_p99_s": [None, 0.2, 0.3],
            "home_timeline_mean_ms": [1.0, 2.0, 3.0],
            "home_timeline_p95_ms": [None, None, None],
        },
        schema_overrides={"home_timeline_p95_ms": pl.Float64},
    )
    picture = plot_sweep(table, ["field"], title="gaps")
    assert picture.startswith(b"<?xml")
    assert picture == plot_sweep(table, ["field"], title="gaps")
