"""Timelines at time zero: as long as the explicit population's, and missing where little is read."""

from __future__ import annotations

import numpy as np
import pytest

from model.workload import graph_of, seed_state
from model.workload.implicit.columns import SEAT_CACHED, SEAT_LENGTH
from model.workload.implicit.crowd import crowd_of
from model.workload.implicit.timelines import cached_shares, seats_of
from tests.workload.implicit.compiled import scenario_of

USERS = 20_000


@pytest.mark.parametrize(("posts", "cap"), [(1.0, 2_000), (3.0, 800), (10.0, 800)])
def test_lengths_are_those_of_the_explicit_population(posts: float, cap: int) -> None:
    """Mean within 4 %, quantiles from the 10th to the 95th percentile within 10 %, full timelines within 2 points; the
    5th percentile within 15 % or two entries, since a lognormal has fewer short ones."""
    fields = {"population__posts_per_user": posts, "policies__timeline_cap": cap}
    implicit = scenario_of(USERS, **fields)
    ours = seats_of(crowd_of(implicit), implicit) & SEAT_LENGTH
    explicit = scenario_of(USERS, population__kind="explicit", **fields)
    offsets, _ = seed_state(explicit, graph_of(explicit)).timelines(everyone=True)
    theirs = np.diff(offsets)
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.04)
    for q in (0.1, 0.25, 0.5, 0.75, 0.9, 0.95):
        assert np.quantile(ours, q) == pytest.approx(np.quantile(theirs, q), rel=0.1), q
    assert np.quantile(ours, 0.05) == pytest.approx(np.quantile(theirs, 0.05), rel=0.15, abs=2)
    assert ours.max() <= cap
    assert (ours == cap).mean() == pytest.approx((theirs == cap).mean(), abs=0.02)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95, 1.0])
def test_as_many_are_in_the_cache_as_stated_and_more_of_those_who_read(share: float) -> None:
    scenario = scenario_of(USERS, population__materialized_share=share)
    crowd = crowd_of(scenario)
    cached = (seats_of(crowd, scenario) & SEAT_CACHED) > 0
    assert cached.mean() == pytest.approx(share, abs=0.01)
    by_class = np.add.reduceat(cached, crowd.class_begins[:-1]) / crowd.class_sizes
    if 0 < share < 1:
        assert by_class[-5:].mean() > by_class[0] + 0.05
        shares = cached_shares(crowd, share)
        assert (np.diff(shares, axis=0) >= 0).all()
        assert (np.diff(shares, axis=1) >= 0).all()


def test_no_posts_no_entries() -> None:
    scenario = scenario_of(USERS, population__posts_per_user=0)
    assert ((seats_of(crowd_of(scenario), scenario) & SEAT_LENGTH) == 0).all()
