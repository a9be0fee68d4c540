"""Real stores for the tests of the stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model.spec import Scenario
from model.spec.seed_tables import SeedTables
from real_backend.stack import Stack


@pytest.fixture(scope="session")
def stores(small_scenario: Scenario, small_seed: SeedTables) -> Iterator[Stack]:
    """PostgreSQL with one standby, two Redis shards and the broker, seeded; without API, relay and workers."""
    with Stack(small_scenario, stores_only=True) as running:
        running.seed(small_seed)
        yield running
