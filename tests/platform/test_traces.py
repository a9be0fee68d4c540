"""The traces of a Run: where single requests were, and for how long."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model import Run, Scenario, simulate


@pytest.fixture(scope="module")
def run() -> Run:
    return simulate(Scenario.load("baseline").with_({"duration_s": 12.0, "warmup_s": 2.0}))


def test_the_steps_of_a_request_add_up_to_its_latency(run: Run) -> None:
    assert 500 <= run.traces["ordinal"].n_unique() <= 1_100
    # Reading one post takes one step after another, without branches.
    reads = run.requests.filter(pl.col("endpoint") == "read_post").select("ordinal", "latency_s")
    summed = run.traces.group_by("ordinal").agg(pl.col("residence_s").sum(), pl.col("begin_s").min())
    both = reads.join(summed, on="ordinal")
    assert both.height > 30
    assert np.abs((both["latency_s"] - both["residence_s"]).to_numpy()).max() < 1e-8


def test_tracing_changes_nothing(run: Run) -> None:
    longer = run.scenario.with_({"duration_s": 13.0})
    other = simulate(longer)
    # Another number of requests is traced by another mask; what both runs saw in their first ten seconds is the same.
    early = pl.col("scheduled_s") < 10
    assert other.requests.filter(early).equals(run.requests.filter(early))


def test_traces_are_stored(run: Run, tmp_path: Path) -> None:
    folder = run.save(tmp_path / "run")
    assert Run.load(folder).traces.equals(run.traces)
