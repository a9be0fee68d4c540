"""`feedtwin verify`, and the theory that `feedtwin simulate` prints."""

from __future__ import annotations

import pytest

from model.analysis import queueing
from model.analysis.verification import N_QUANTITIES
from tests.cli.run_cli import feedtwin


def test_json_has_every_quantity_with_its_interval() -> None:
    outcome = feedtwin("verify", "--only", "mm1-fifo", "--only", "bounded-loads-0.5", "--json")
    assert outcome.code == 0, outcome.stderr
    document = outcome.document
    assert document["passed"] is True
    assert document["family_level"] == 0.999
    assert [check["check"] for check in document["checks"]] == ["mm1-fifo-0.5", "mm1-fifo-0.8", "bounded-loads-0.5"]
    assert len(document["quantities"]) == 3 + 3 + 2
    for row in document["quantities"]:
        assert row["verdict"] == "agrees"
        assert row["half_width"] <= row["largest_half_width"]
        assert row["relation"] == "at most" or abs(row["estimate"] - row["exact"]) <= row["half_width"] + row["allowed"]
    assert "8 of 8 quantities agree; 3 of " in outcome.stderr


def test_the_table_and_another_seed() -> None:
    outcome = feedtwin("verify", "--only", "mg1-cv0", "--seed", "7")
    assert outcome.code == 0, outcome.stdout
    assert "mean (ms)" in outcome.stdout
    assert "agrees" in outcome.stdout
    assert f"all {N_QUANTITIES} of the whole list hold together at 99.9%" in outcome.stdout
    estimates = [
        feedtwin("verify", "--only", "mg1-cv0", "--json", "--seed", seed).document["quantities"][0]["estimate"]
        for seed in ("1", "7", "7")
    ]
    assert estimates[0] != estimates[1] == estimates[2]
    assert f"{estimates[1] * 1e3:.5g}" in outcome.stdout


def test_a_difference_is_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    right = queueing.mg1_fcfs_mean_s
    monkeypatch.setattr(queueing, "mg1_fcfs_mean_s", lambda **known: 1.03 * right(**known))
    outcome = feedtwin("verify", "--only", "mg1-cv0", "--json")
    assert outcome.code == 1
    assert outcome.document["passed"] is False
    assert outcome.document["quantities"][0]["verdict"] == "differs"
    assert "0 of 1 quantities agree" in outcome.stderr


def test_an_unknown_check_is_exit_2() -> None:
    outcome = feedtwin("verify", "--only", "mm7")
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: check 'mm7' is not defined; defined: mm1-fifo-0.5, mm1-loop-0.5")


def test_simulate_prints_the_laws_beside_the_result() -> None:
    small = ("--set", "duration_s=22", "--set", "warmup_s=2", "--set", "population.users=200")
    document = feedtwin("simulate", "baseline", *small, "--json").document["closed_forms"]
    assert document["applying"] == []
    assert "shares host 'backend'" in document["not_applying"]["redis0"]
    assert document["littles_law"]["holds"] is True
    assert 0 < document["utilisation_law"]["rate_times_demand"] < document["utilisation_law"]["utilisation"]
    shown = feedtwin("simulate", "baseline", *small).stdout
    assert "Little's law: " in shown
    assert "utilisation law: " in shown
    closed = feedtwin("simulate", "baseline", *small, "--set", "workload.mode=closed", "--json").document
    assert closed["closed_forms"]["littles_law"]["holds"] is True
    burst = feedtwin("simulate", "baseline", *small, "--set", "workload.rate_profile=[{at_s: 5, factor: 2}]").stdout
    assert "Little's law" not in burst
