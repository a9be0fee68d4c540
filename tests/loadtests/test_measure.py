"""One short real measurement in each mode: everything is counted, faults act, the stores agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from loadtests.measure import measure
from model.runs import Run
from model.spec import Scenario
from model.spec.seed_tables import SeedTables
from model.workload import Schedule, graph_of, schedule_of, seed_state
from real_backend.stack import Stack, rabbitmq

SCENARIO = Scenario.load(
    "baseline",
    {
        "duration_s": 5,
        "warmup_s": 1,
        "population.users": 300,
        "population.mean_followers": 15,
        "policies.celebrity_threshold_followers": 100,
        "workload.rate_per_s": 120,
        "workload.mix": {"home_timeline": 0.5, "profile": 0.1, "create_post": 0.2, "react": 0.1, "read_post": 0.1},
    },
)
FAULTS = [
    {"kind": "worker_pause", "at_s": 1.5, "duration_s": 1.5},
    {"kind": "standby_pause", "at_s": 2, "duration_s": 1, "target": 1},
]


@pytest.fixture(scope="module")
def seeds() -> SeedTables:
    return seed_state(SCENARIO, graph_of(SCENARIO))


@pytest.fixture(scope="module")
def stack(seeds: SeedTables) -> Iterator[Stack]:
    with Stack(SCENARIO) as running:
        running.seed(seeds)
        yield running


installed = pytest.mark.skipif(not rabbitmq.SERVER_SCRIPT.exists(), reason="rabbitmq-server is not installed")


def assert_the_stores_agree(run: Run) -> None:
    created = run.totals.filter(pl.col("endpoint") == "create_post")["completed"].sum()
    assert run.counters["posts_created"] == created > 0
    assert run.counters["posts_lost"] == 0
    assert run.counters["deliveries_duplicate"] == 0
    assert run.counters["deliveries_expected"] == run.counters["deliveries_seen"] > 0
    assert run.counters["deliveries_seen"] == run.counters["deliveries_present"] + run.counters["deliveries_trimmed"]
    assert run.lag("delivery", scored=False).n > 0
    assert run.lag("outbox", scored=False).n == created
    # A post is in the broker before it is in any timeline; means are weighted by followers, so only the least compares.
    assert 0 < run.lag("outbox", scored=False).quantile(0) < run.lag("delivery", scored=False).quantile(0)


def test_an_open_run_with_faults(stack: Stack, seeds: SeedTables) -> None:
    scenario = SCENARIO.with_(faults=FAULTS)
    schedule = schedule_of(scenario, graph_of(scenario), seeds)
    assert isinstance(schedule, Schedule)
    told: list[tuple[int, int]] = []
    run = measure(stack, scenario, schedule, seeds, on_progress=lambda done, total: told.append((done, total)))

    block = schedule.materialize()
    assert run.n_requests == len(block)
    assert run.n_failed == 0
    sample = run.requests.sort("ordinal")
    assert sample["ordinal"].to_list() == list(range(len(block)))
    assert np.allclose(sample["scheduled_s"].to_numpy(), block.time_ns * 1e-9)
    assert told[-1][1] == len(block)
    assert 0 < told[-1][0] <= len(block)
    assert_the_stores_agree(run)

    # The faults were seen: fan-out waited for the worker, one standby fell behind and the other did not.
    assert [event["action"] for event in run.provenance["faults"]] == ["begin", "begin", "end", "end"]
    assert float(run.lag("delivery", scored=False).quantile(0.99)) > 0.5
    lag = {label: float(run.gauge("replica_lag_s", label)["value"].max()) for label in ("standby0", "standby1")}  # type: ignore[arg-type]
    assert lag["standby1"] > 0.5 > lag["standby0"]
    assert float(run.gauge("fanout_queue_length")["value"].max()) >= 5  # type: ignore[arg-type]

    gauges = set(run.gauges["gauge"].unique().to_list())
    assert gauges >= {"utilisation", "outbox_length", "fanout_queue_length", "replica_lag_s", "in_flight"}
    assert 0 < run.utilisation["api"] < run.utilisation["backend"]
    assert run.hit_ratio is not None
    steps = {(row["step"], row["process"]): row["visits"] for row in run.steps.iter_rows(named=True)}
    assert steps["api.create_post.receive", "api"] == run.counters["posts_created"]
    assert steps["worker.done", "worker"] >= run.counters["posts_created"]
    generator = run.provenance["generator"]
    assert generator["sent"] == len(block)
    assert generator["pool_dry"] == 0
    assert generator["connections"] >= 512
    assert not any("generator" in reason or "requests were sent" in reason for reason in run.validity.reasons)


def test_a_closed_run(stack: Stack, seeds: SeedTables) -> None:
    stack.reset(seeds)
    scenario = SCENARIO.with_({"workload.mode": "closed", "workload.sessions": 20, "workload.think_time_s": 0.2})
    run = measure(stack, scenario, schedule_of(scenario, graph_of(scenario), seeds), seeds)
    # 20 sessions of 5 s with 0.2 s of thinking send 500 requests, less what the answers take.
    assert 300 < run.n_requests < 600
    assert run.n_failed == 0
    assert_the_stores_agree(run)
    assert run.gauge("in_flight")["value"].max() <= 20  # type: ignore[operator]


@installed
def test_a_run_on_rabbitmq(seeds: SeedTables) -> None:
    scenario = SCENARIO.with_(
        platform__broker__kind="rabbitmq", platform__postgres__standbys=0, duration_s=4, faults=FAULTS[:1]
    )
    with Stack(scenario) as stack:
        stack.seed(seeds)
        run = measure(stack, scenario, schedule_of(scenario, graph_of(scenario), seeds), seeds)
    assert_the_stores_agree(run)
    assert float(run.gauge("fanout_queue_length")["value"].max()) >= 5  # type: ignore[arg-type]
    assert run.gauge("replica_lag_s").is_empty()
