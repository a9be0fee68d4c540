"""The benchmark does the work it claims, on both sides; how fast is for the benchmark itself to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.engine_vs_simpy import (
    EVENTS_PER_REQUEST,
    SIMPY_EVENTS_PER_REQUEST,
    compare,
    requests,
    run_engine,
    run_simpy,
)

ROOT = Path(__file__).resolve().parents[2]


def test_both_sides_process_every_event_of_the_same_path() -> None:
    load = requests(5_000)
    engine, plain = run_engine(load), run_simpy(load)
    assert (engine.requests, engine.events) == (5_000, 5_000 * EVENTS_PER_REQUEST)
    assert (plain.requests, plain.events) == (5_000, 5_000 * SIMPY_EVENTS_PER_REQUEST)
    # The draws differ, the law is the same.
    assert engine.mean_ms == pytest.approx(plain.mean_ms, rel=0.03)


def test_the_comparison_counts_its_events() -> None:
    found = compare(2_000, 500, repeats=1)
    assert found["events"] == 2_000 * EVENTS_PER_REQUEST
    assert found["ratio"] > 0


def test_it_runs_as_a_module() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.engine_vs_simpy",
        "--json",
        "--requests",
        "1000",
        "--repeats",
        "1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert '"ratio"' in done.stdout
