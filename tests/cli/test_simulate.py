"""`feedtwin simulate` with the real engine on a small scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.runs import Run
from tests.cli.run_cli import SMALL, Outcome, feedtwin, files_below


def simulate(*arguments: str | Path) -> Outcome:
    return feedtwin("simulate", "baseline", *SMALL, *arguments)


def test_json_is_alone_on_stdout_and_the_run_is_saved(tmp_path: Path) -> None:
    outcome = simulate("-o", tmp_path / "run", "--json")
    assert outcome.code == 0, outcome.stderr
    document = outcome.document
    assert document["valid"] is True
    assert document["requests"] > 0
    assert set(document["latency"]["home_timeline"]) == {"n", "mean_ms", "p50_ms", "p95_ms", "p99_ms"}
    run = Run.load(tmp_path / "run")
    assert run.digest == document["digest"]
    assert run.scenario.population.users == 200


def test_the_table_names_every_endpoint() -> None:
    outcome = simulate()
    assert outcome.code == 0, outcome.stderr
    for endpoint in ("home_timeline", "profile", "create_post", "react", "read_post"):
        assert endpoint in outcome.stdout


def test_the_seed_decides_the_result() -> None:
    first, again, other = (simulate("--json", "--seed", seed).document["digest"] for seed in ("3", "3", "4"))
    assert first == again
    assert first != other


def test_a_missed_slo_is_exit_1_and_named(tmp_path: Path) -> None:
    outcome = simulate("--set", "slos.latency_p99_s.home_timeline=0.000001", "-o", tmp_path / "run")
    assert outcome.code == 1
    assert "latency_p99_s.home_timeline" in outcome.stdout
    assert "missed" in outcome.stdout
    assert Run.load(tmp_path / "run").kind == "model"


def test_a_met_slo_is_exit_0() -> None:
    assert simulate("--set", "slos.latency_p99_s.home_timeline=60").code == 0


def test_force_replaces_a_run_and_only_a_run(tmp_path: Path) -> None:
    assert simulate("-o", tmp_path / "run").code == 0
    before = files_below(tmp_path)
    refused = simulate("-o", tmp_path / "run", "--seed", "9")
    assert refused.code == 2
    assert "--force" in refused.stderr
    assert files_below(tmp_path) == before
    assert simulate("-o", tmp_path / "run", "--seed", "9", "--force").code == 0
    assert Run.load(tmp_path / "run").scenario.seed == 9


def test_force_does_not_replace_a_folder_of_someone_else(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("a picture")
    outcome = simulate("-o", tmp_path / "photos", "--force")
    assert outcome.code == 2
    assert files_below(tmp_path) == {"photos/one.jpg": b"a picture"}


@pytest.mark.parametrize("mode", ["open", "closed"])
def test_both_workload_modes(mode: str) -> None:
    outcome = simulate("--json", "--set", f"workload.mode={mode}", "--set", "workload.sessions=5")
    assert outcome.code == 0, outcome.stderr
    assert outcome.document["failed"] == 0
