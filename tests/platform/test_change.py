"""An endpoint of one's own in the feed: profiles from a cache."""

from __future__ import annotations

import polars as pl
import pytest

from model import Plant, Run, Scenario, simulate
from model.engine import effects as e
from model.engine.program import Acquire, Effect, Lookup, Release, Store, delay, serve, when
from model.spec import InputError

SCENARIO = Scenario.load("baseline").with_({"duration_s": 20.0, "warmup_s": 3.0})


def cached_profile(plant: Plant) -> None:
    """A profile that was read in the last ten seconds is not asked of the database again."""
    plant.cache("profiles", 500, key="target", ttl_s=10.0)
    plant.step("api.profile.cached", 20e-6)
    read = (
        Effect(e.E_ROUTE, 1),
        Acquire("pool"),
        serve("db.profile_read", on="db"),
        Release("pool"),
        Store("profiles"),
    )
    from_cache = (serve("api.profile.cached", on="api"),)
    plant.endpoint("profile", (
        serve("api.profile.receive", on="api"), Lookup("profiles"), when(read, from_cache),
        serve("api.profile.respond", on="api"), delay("net.client"),
    ))  # fmt: skip


@pytest.fixture(scope="module")
def runs() -> tuple[Run, Run]:
    return simulate(SCENARIO), simulate(SCENARIO, change=cached_profile)


def visits(run: Run, step: str) -> int:
    return int(run.steps.filter(pl.col("step") == step)["visits"].sum())


def test_a_cached_profile_is_quicker_and_spares_the_database(runs: tuple[Run, Run]) -> None:
    before, after = runs
    assert after.latency("profile").n == before.latency("profile").n > 300
    assert 0 < visits(after, "db.profile_read") < 0.8 * visits(before, "db.profile_read")
    assert after.latency("profile").mean_s < 0.95 * before.latency("profile").mean_s
    assert visits(after, "api.profile.cached") + visits(after, "db.profile_read") == visits(before, "db.profile_read")


def test_the_others_meet_the_same_requests(runs: tuple[Run, Run]) -> None:
    before, after = runs
    columns = ["ordinal", "endpoint", "scheduled_s"]
    assert after.requests.select(columns).equals(before.requests.select(columns))
    assert after.digest != before.digest


def test_a_cluster_has_no_endpoints_to_change() -> None:
    with pytest.raises(InputError, match="change is for the feed's platform"):
        simulate(Scenario.load("twitter-2013"), change=cached_profile)
