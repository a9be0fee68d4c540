"""One scenario, calibration and seed give one digest: in any process, compiled or not, watched or not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine.environment import Environment
from model.platform import Platform, simulate
from model.spec import Scenario

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {
    "population.users": 200, "population.mean_followers": 10, "policies.celebrity_threshold_followers": 50,
    "policies.timeline_cap": 40, "platform.redis.shards": 2, "platform.postgres.standbys": 1,
    "duration_s": 2.0, "warmup_s": 0.5, "workload.rate_per_s": 120.0,
}  # fmt: skip
CLOSED = {**CHANGES, "workload.mode": "closed", "workload.sessions": 20, "workload.think_time_s": 0.1}
PROGRAM = """
import sys
from model.platform import simulate
from model.spec import Scenario
sys.stdout.write(simulate(Scenario.load("baseline", {changes!r})).digest)
"""


@pytest.fixture(scope="module")
def digest() -> str:
    return simulate(Scenario.load("baseline", CHANGES)).digest


def elsewhere(changes: dict[str, Any] = CHANGES, **environment: str) -> str:
    """The digest that another process finds."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(changes=changes)], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_twice_in_one_process(digest: str) -> None:
    assert simulate(Scenario.load("baseline", CHANGES)).digest == digest


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_in_another_process_with_another_hash_seed(digest: str, hash_seed: str) -> None:
    assert elsewhere(PYTHONHASHSEED=hash_seed) == digest


def test_with_the_jit_off(digest: str) -> None:
    assert elsewhere(NUMBA_DISABLE_JIT="1", PYTHONWARNINGS="error") == digest


def test_closed_mode_too() -> None:
    digest = simulate(Scenario.load("baseline", CLOSED)).digest
    assert elsewhere(CLOSED, NUMBA_DISABLE_JIT="1") == digest


def test_another_seed_is_another_run(digest: str) -> None:
    assert simulate(Scenario.load("baseline", {**CHANGES, "seed": 99})).digest != digest


@given(period_s=st.floats(1e-4, 3.0))
@settings(max_examples=8)
def test_a_sampler_of_any_period_leaves_the_digest(digest: str, period_s: float) -> None:
    readings: list[int] = []

    def sample(env: Environment, platform: Platform) -> Generator[simpy.Event, Any, None]:
        while True:
            readings.append(platform.in_flight + platform.queue_length("fanout") + platform.api[0].queue_length)
            yield env.timeout(period_s)

    assert simulate(Scenario.load("baseline", CHANGES), processes=(sample,)).digest == digest
    assert len(readings) >= 2.0 / period_s


def test_a_process_that_changes_something_changes_the_digest(digest: str) -> None:
    def brown_out(env: Environment, platform: Platform) -> Generator[simpy.Event, Any, None]:
        yield env.timeout(1.0)
        platform.redis[1].slow_down(20)

    assert simulate(Scenario.load("baseline", CHANGES), processes=(brown_out,)).digest != digest
