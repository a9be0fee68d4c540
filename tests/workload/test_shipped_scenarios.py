"""Every shipped scenario loads, says what it is for, and gives requests that a one-core rig can serve."""

from __future__ import annotations

import numpy as np
import pytest

from model.spec import ENDPOINTS, Endpoint, Scenario
from model.spec.load import shipped_scenarios
from model.spec.scenario import FaultKind
from model.workload import Schedule, graph_of, schedule_of, seed_state

SIX = {"baseline", "celebrity-storm", "hot-key", "replica-lag", "cold-cache", "flash-crowd"}
RIG_PER_S = 600
"""About what one core serves."""


def test_the_six_are_there() -> None:
    assert set(shipped_scenarios()) >= SIX


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_it_loads_and_its_schedule_is_valid(name: str) -> None:
    scenario = Scenario.load(name)
    assert scenario.name == name
    assert scenario.question.endswith("?")
    assert len(scenario.question) <= 140
    assert len(scenario.description) > 80
    if scenario.platform.kind == "cluster":
        return  # tests/platform/test_cluster.py
    graph = graph_of(scenario)
    seeds = seed_state(scenario, graph)
    assert graph.follower_counts.max() >= scenario.policies.celebrity_threshold_followers, "no account is pulled"
    assert seeds.hot.any()
    schedule = schedule_of(scenario, graph, seeds)
    assert isinstance(schedule, Schedule)
    block = schedule.materialize()
    per_second = np.bincount(block.time_ns // 10**9)
    assert 150 <= len(block) / scenario.duration_s <= 400
    assert per_second.max() < 1.1 * RIG_PER_S
    scored = block.time_ns >= scenario.warmup_s * 1e9
    for endpoint in ENDPOINTS:
        assert (scored & (block.endpoint == endpoint.code)).sum() > 300, f"too few {endpoint} for a p95"


def test_each_does_what_it_is_named_for() -> None:
    storm, hot, lag, cold, crowd = (
        Scenario.load(name) for name in ("celebrity-storm", "hot-key", "replica-lag", "cold-cache", "flash-crowd")
    )
    assert seed_state(storm).hot.sum() > 20
    block = schedule_of(hot)
    assert isinstance(block, Schedule)
    requests = block.materialize()
    single = np.isin(requests.endpoint, (Endpoint.REACT.code, Endpoint.READ_POST.code))
    assert np.bincount(requests.target[single]).max() > 0.5 * single.sum()
    assert lag.policies.replica_routing == "read_your_writes"
    assert {fault.kind for fault in lag.faults} == {FaultKind.STANDBY_DELAY, FaultKind.STANDBY_PAUSE}
    assert seed_state(cold).materialized.mean() == pytest.approx(0.05)
    assert {fault.kind for fault in cold.faults} == {FaultKind.CACHE_FLUSH}
    assert max(point.factor for point in crowd.workload.rate_profile) > 2
