"""A sweep gives one table, whoever computes it, and its figures are those of single runs."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from model.planning import Axis, sweep
from model.platform import simulate
from model.spec import InputError, MachineError, Scenario

OVER = {"policies.celebrity_threshold_followers": [10, 1000], "platform.workers.processes": [1, 2]}


@pytest.fixture(scope="module")
def scenario(small_scenario: Scenario) -> Scenario:
    return small_scenario.with_(duration_s=6, warmup_s=1)


@pytest.fixture(scope="module")
def table(scenario: Scenario) -> pl.DataFrame:
    return sweep(scenario, OVER)


def test_one_row_per_point_with_the_figures_of_its_run(scenario: Scenario, table: pl.DataFrame) -> None:
    assert table.select(*OVER).rows() == [(10, 1), (10, 2), (1000, 1), (1000, 2)]
    run = simulate(scenario.with_({field: values[1] for field, values in OVER.items()}))
    row = table.row(3, named=True)
    assert row["home_timeline_mean_ms"] == pytest.approx(run.latency("home_timeline").mean_s * 1e3)
    assert row["delivery_p50_s"] == run.lag("delivery").quantile(0.5)
    assert row["api_utilisation"] == pytest.approx(run.utilisation["api"])
    assert row["timeline_hit_ratio"] == run.hit_ratio
    assert row["valid"]
    assert row["cost_per_h"] == pytest.approx(table.row(2, named=True)["cost_per_h"] + 0.05)


def test_points_differ_by_configuration_and_not_by_luck(table: pl.DataFrame) -> None:
    """Common random numbers: every point is asked the same requests."""
    assert table["offered_per_s"].n_unique() == 1
    shares = table["backend_utilisation"] - sum(
        (table[f"{name}_utilisation"] for name in ("api", "redis", "broker", "primary", "standby", "relay", "worker")),
        pl.Series([0.0] * 4),
    )
    assert shares.abs().max() < 1e-9  # type: ignore[operator]


def test_threads_give_the_same_table(scenario: Scenario, table: pl.DataFrame) -> None:
    told: list[tuple[int, int]] = []
    axes = [Axis(field, tuple(values)) for field, values in OVER.items()]
    threaded = sweep(scenario, axes, threads=3, on_point=lambda done, points: told.append((done, points)))
    assert_frame_equal(threaded, table)
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_cluster_gives_the_same_table(scenario: Scenario, table: pl.DataFrame, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address="127.0.0.1:0", local_directory=str(tmp_path),
    ) as cluster:  # fmt: skip
        assert_frame_equal(sweep(scenario, OVER, cluster=cluster.scheduler_address), table)


def test_a_cluster_that_does_not_answer(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the cluster extra is not installed")
    monkeypatch.setattr(sys.modules[sweep.__module__], "CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(MachineError, match=r"cluster tcp://127\.0\.0\.1:9: the scheduler cannot be reached"):
        sweep(scenario, OVER, cluster="tcp://127.0.0.1:9")


def test_a_value_that_is_not_allowed_is_refused_before_anything_runs(scenario: Scenario) -> None:
    told: list[tuple[int, int]] = []
    with pytest.raises(InputError, match="processes"):
        sweep(
            scenario, {"platform.workers.processes": [1, 0]}, on_point=lambda done, points: told.append((done, points))
        )
    assert told == []
