"""Settings of every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from model.spec import Scenario

if TYPE_CHECKING:
    from model.spec.seed_tables import SeedTables
    from real_backend.stack import Stack

# Shared machines stall: a slow example is not a failure. A failing one prints how to replay it.
settings.register_profile("feedtwin", deadline=None, print_blob=True)
settings.load_profile("feedtwin")


@pytest.fixture(scope="session")
def small_scenario() -> Scenario:
    """Everything that the baseline has, small: 200 accounts, some of them celebrities, two shards, one standby."""
    return Scenario.load(
        "baseline",
        {
            "population.users": 200,
            "population.mean_followers": 10,
            "policies.celebrity_threshold_followers": 50,
            "policies.timeline_cap": 40,
            "platform.redis.shards": 2,
            "platform.postgres.standbys": 1,
            "platform.postgres.shared_buffers_mb": 32,
            "platform.rig.quiet": "off",
        },
    )


@pytest.fixture(scope="session")
def small_seed(small_scenario: Scenario) -> SeedTables:
    from model.workload.seeding import seed_state

    return seed_state(small_scenario)


@pytest.fixture(scope="session")
def stack(small_scenario: Scenario, small_seed: SeedTables) -> Iterator[Stack]:
    """The whole real backend, seeded; tests that change the stores call ``stack.reset(small_seed)`` first."""
    pytest.importorskip("psycopg", reason="the backend extra is not installed")
    from real_backend.stack import Stack

    with Stack(small_scenario) as running:
        running.seed(small_seed)
        yield running
