"""One request through the model on the seeded state: which steps are visited, with how many items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.state import State
from model.platform import shipped_calibration
from model.platform.data import platform_data
from model.platform.feed import feed_plant, settings
from model.spec import Endpoint, Scenario
from model.spec.seed_tables import SeedTables
from model.spec.steps import STEPS
from tests.engine.arrivals import Arrivals


@dataclass(frozen=True)
class Work:
    """Visits and items of one step; items are 0 where they do not matter to its cost."""

    visits: int
    items: int


def modelled_work(
    scenario: Scenario,
    seed: SeedTables,
    endpoint: Endpoint,
    user: int,
    target: int,
    prepare: Callable[[State], None] = lambda state: None,
) -> Mapping[str, Work]:
    """What each step has done a second after one request; `prepare` may change the seeded state first."""
    data = platform_data(scenario, seed, max(seed.posts, target) + 1)
    one = np.ones(1, np.int64)
    arrivals = Arrivals(0, one, one * endpoint.code, one * user, one * target)
    plane = DataPlane(
        feed_plant(scenario, shipped_calibration()), scenario.seed, blocks=iter([arrivals]), data=data,
        settings=settings(scenario), shards=scenario.platform.redis.shards,
    )  # fmt: skip
    prepare(plane.state)
    plane.advance(1_000_000_000)
    assert plane.scalar(c.X_COMPLETED) == 1
    return {
        name: Work(int(visits), int(items) if STEPS[name].items else 0)
        for name, (visits, items, _) in zip(plane.plant.step_names, plane.state.visits, strict=True)
        if visits and name in STEPS
    }
