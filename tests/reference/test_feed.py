"""The feed itself, small, path by path: every endpoint, fan-out, replication, hybrid timelines, and its faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.engine import layout as c
from model.engine.plant import Plant
from model.platform.data import platform_data
from model.platform.feed import feed_plant, settings
from model.platform.simulate import shipped_calibration
from model.spec import Scenario
from model.workload import Schedule, graph_of, schedule_of, seed_state
from tests.reference.compared import Action, Platform, assert_agree

SMALL: dict[str, Any] = {
    "population.users": 200, "population.mean_followers": 10, "policies.celebrity_threshold_followers": 50,
    "policies.timeline_cap": 40, "platform.redis.shards": 3, "platform.postgres.standbys": 2,
    "platform.workers.processes": 2, "platform.api.processes": 2, "duration_s": 1.0, "warmup_s": 0.2,
    "workload.rate_per_s": 300.0,
}  # fmt: skip
REPLAY = "replay0"


def feed_platform(changes: dict[str, Any], actions: tuple[tuple[int, Action], ...] = (), grid_ns: int = 1) -> Platform:
    """A scenario's plant, data and schedule for both models."""
    scenario = Scenario.load("baseline", {**SMALL, **changes})
    calibration = shipped_calibration()
    graph = graph_of(scenario)
    seeds, schedule = seed_state(scenario, graph), schedule_of(scenario, graph)
    assert isinstance(schedule, Schedule)
    blocks = list(schedule.blocks())
    columns = [
        np.concatenate([np.asarray(getattr(block, name), np.int64) for block in blocks])
        for name in ("time_ns", "endpoint", "user", "target")
    ]
    columns[0] = columns[0] // grid_ns * grid_ns

    def build(plant: Plant) -> None:
        vars(plant).update(vars(feed_plant(scenario, calibration)))

    return Platform(
        build, requests=[tuple(row) for row in np.stack(columns, axis=1).tolist()], actions=actions,
        until_ns=1_300_000_000, seed=scenario.seed, settings=settings(scenario),
        data=platform_data(scenario, seeds, schedule.highest_post_id), shards=scenario.platform.redis.shards,
        stalls=(calibration.stalls.rate_per_s, "stall") if calibration.stalls.duration else None,
    )  # fmt: skip


def row_of(platform: Platform, name: str) -> int:
    return platform.plant().station_names.index(name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"policies.fanout": "push", "policies.replica_routing": "any", "platform.rig.layout": "split"},
        {"policies.fanout": "pull", "policies.replica_routing": "primary", "platform.postgres.standbys": 0},
    ],
    ids=["hybrid", "push", "pull"],
)
def test_the_feed(changes: dict[str, Any]) -> None:
    model = assert_agree(feed_platform(changes))
    assert model.feed is not None
    assert model.feed.counters["posts"] > 5
    assert sum(row[0] == c.LOG_REQUEST for row in model.log) > 200


def test_the_feed_on_a_grid_with_faults() -> None:
    """Requests in batches of ten milliseconds; a paused replay, a slow shard, a slow host."""
    platform = feed_platform({}, grid_ns=10_000_000)
    replay, shard = row_of(platform, REPLAY), row_of(platform, "redis1")
    actions: tuple[tuple[int, Action], ...] = (
        (200_000_000, lambda plane: plane.pause(replay)), (500_000_000, lambda plane: plane.resume(replay)),
        (300_000_000, lambda plane: plane.slow_down(shard, 5.0)),
        (400_000_000, lambda plane: plane.slow_down_host("backend", 2.0)),
        (600_000_000, lambda plane: plane.slow_down_host("backend", 1.0)),
    )  # fmt: skip
    model = assert_agree(replace(platform, actions=sorted(actions, key=lambda action: action[0])))
    assert model.feed is not None
    assert model.feed.counters["expected"] > 20
