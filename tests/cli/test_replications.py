"""`feedtwin simulate` and `feedtwin sweep` with replications: every figure with its interval."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from model.analysis.replicate import replication_seed
from model.spec import Scenario
from tests.cli.run_cli import SMALL, Outcome, feedtwin, files_below

REACT = ("--precision", "mean of react within 5% at 95%")
OVERLOAD = ("--set", "platform.workers.wait_per_batch_s=1", "--set", "duration_s=25")


def simulate(*arguments: str | Path) -> Outcome:
    return feedtwin("simulate", "baseline", *SMALL, *arguments)


def test_figures_with_intervals_in_json_and_on_disk(tmp_path: Path) -> None:
    outcome = simulate("--replications", "3", "--threads", "2", "-o", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.stderr
    document = outcome.document
    assert document["replications"] == 3
    assert document["partial"] is None
    mean = document["latency"]["home_timeline"]["mean_ms"]
    assert mean["low"] < mean["value"] < mean["high"]
    assert document["latency"]["profile"]["p99_ms"] is None
    assert document["rates"]["offered_per_s"]["value"] == pytest.approx(60, rel=0.2)
    assert document["warmup"]["rule"] == "mser-5"
    assert json.loads((tmp_path / "out" / "replications.json").read_text()) == document
    seed = str(replication_seed(Scenario.load("baseline").seed, 2))
    assert simulate("--seed", seed, "--json").document["digest"] == document["members"][2]["digest"]


def test_the_table_has_half_widths_and_the_warm_up() -> None:
    outcome = simulate("--replications", "2", "--warmup", "scenario")
    assert outcome.code == 0, outcome.stderr
    assert "2 replications of 6 s, ± at 95 %" in outcome.stdout
    assert "warm-up: 1 s, as the scenario states" in outcome.stdout
    (line,) = (line for line in outcome.stdout.splitlines() if line.startswith("home_timeline"))
    assert line.count("±") >= 2


def test_one_run_stays_as_it_is() -> None:
    assert "±" not in simulate().stdout


def test_a_precision_that_is_reached() -> None:
    outcome = simulate("--precision", "mean of home_timeline within 20% at 95%", "--json")
    assert outcome.code == 0, outcome.stderr
    (asked,) = outcome.document["precisions"]
    assert asked["reached"] is True
    assert asked["relative_half_width"] <= 0.2


def test_a_precision_that_is_not_reached_is_exit_2_with_one_line_and_a_partial_result(tmp_path: Path) -> None:
    call = ("--precision", "p99 of react within 0.1% at 99%", "--max-replications", "3", "-o", tmp_path / "out")
    outcome = simulate(*call)
    assert outcome.code == 2
    assert "PARTIAL" in outcome.stdout
    assert "not yet" in outcome.stdout
    assert outcome.stderr.splitlines()[-1].startswith("error: after 3 replications the limit of 3 replications")
    document = json.loads((tmp_path / "out" / "replications.json").read_text())
    assert "p99 of react within 0.1% at 99%" in document["partial"]
    assert document["latency"]["home_timeline"]["mean_ms"]["value"] > 0
    kept = files_below(tmp_path)
    assert simulate(*call).code == 2
    assert files_below(tmp_path) == kept
    assert "--force" in simulate(*call).stderr


def test_a_time_that_is_too_short_is_exit_2() -> None:
    outcome = simulate("--precision", "p99 of react within 0.1% at 99%", "--max-seconds", "0.001", "--json")
    assert outcome.code == 2
    assert "the time limit of 0.001 s was reached" in outcome.stderr
    assert outcome.document["replications"] == 0
    assert simulate("--replications", "3", "--max-seconds", "0.001").code == 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--precision", "p99 of home within 5% at 95%"), "a figure of 'home'; allowed: home_timeline"),
        (("--precision", "quickly"), "precision 'quickly': expected a sentence such as"),
        ((*REACT, "--replications", "9", "--max-replications", "5"), "max_replications is 5; it must be at least 9"),
        (("--threads", "2"), "--threads is for several replications; add --replications or --precision"),
        (("--max-seconds", "2"), "--max-seconds is for several replications"),
        (("--replications", "2", "--max-seconds", "-1"), "max_seconds is -1"),
    ],
)  # fmt: skip
def test_bad_input_is_named(options: tuple[str, ...], complaint: str) -> None:
    outcome = simulate(*options)
    assert outcome.code == 2
    assert complaint in outcome.stderr


@pytest.mark.parametrize("options", [(), ("--replications", "2")])
def test_without_a_steady_state_there_are_no_means(options: tuple[str, ...]) -> None:
    outcome = simulate(*OVERLOAD, *options, "--set", "slos.latency_p99_s.home_timeline=60")
    assert outcome.code == 3
    assert "what saturates: the takers of queue fanout" in outcome.stderr
    assert "SLO" not in outcome.stdout
    for line in outcome.stdout.splitlines():
        if line.startswith(("home_timeline", "delivery lag")):
            assert "grows" in line
            assert " ms" not in line
    document = simulate(*OVERLOAD, *options, "--json").document
    assert document["stationary"] is False
    assert document["valid"] is False
    of_home = document["latency"]["home_timeline"]
    assert of_home is None or of_home["mean_ms"] is None
    assert document["delivery_lag"] is None or document["delivery_lag"]["p99_s"] is None


def test_a_sweep_shows_the_change_from_the_first_point(tmp_path: Path) -> None:
    over = ("--over", "platform.redis.shards=1,4")
    outcome = feedtwin("sweep", "baseline", *SMALL, *over, "--replications", "4", "-o", tmp_path / "sweep")
    assert outcome.code == 0, outcome.stderr
    assert "± at 95 %, 4 replications; second lines: change from the first point" in outcome.stdout
    rows = pl.read_csv(tmp_path / "sweep" / "sweep.csv")
    first, second = rows.to_dicts()
    name = "home_timeline_mean_ms"
    assert first[f"{name}_change"] is None
    assert second[f"{name}_change"] == pytest.approx(second[name] - first[name])
    assert second[f"{name}_change_half_width"] > 0
    assert second[f"{name}_variance_reduction"] > 1
    assert second["cost_per_h"] > first["cost_per_h"]
    assert rows["replications"].to_list() == [4, 4]


def test_a_point_without_a_steady_state_has_no_figures_in_a_sweep(tmp_path: Path) -> None:
    over = ("--over", "platform.workers.wait_per_batch_s=0,1")
    outcome = feedtwin("sweep", "baseline", *SMALL, *OVERLOAD[2:], *over, "-o", tmp_path / "sweep")
    assert outcome.code == 0, outcome.stderr
    assert "grows: work piles up, there is no steady state" in outcome.stdout
    rows = pl.read_csv(tmp_path / "sweep" / "sweep.csv")
    assert rows["valid"].to_list() == [True, False]
    assert rows["home_timeline_mean_ms"].null_count() == 1
