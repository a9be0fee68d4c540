"""Who follows whom: push and pull see one relation, every follower is there once, the law is the explicit one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from model.spec import InputError, Scenario
from model.workload.generate import follower_counts as explicit_counts
from model.workload.graph import graph_of
from model.workload.implicit.activity import followees_by_class
from model.workload.implicit.columns import CROWD_COLUMNS
from model.workload.implicit.crowd import counts_by_rank, crowd_of
from tests.workload.implicit.compiled import (
    follower_counts,
    follower_runs,
    follower_seats,
    scenario_of,
    seats_and_back,
    seats_that_follow,
)

USERS = 20_000


@pytest.mark.parametrize(("users", "share"), [(10_000, 0.5), (USERS, 0.2), (33_333, 0.05)])
def test_push_and_pull_see_the_same_relation(users: int, share: float) -> None:
    crowd = crowd_of(scenario_of(users, population__max_follower_share=share, population__mean_followers=60))
    counts = follower_counts(crowd)
    seats, back = np.zeros(users, np.int64), np.zeros(users, np.int64)
    seats_and_back(crowd.crowd, seats, back)
    for author in (0, 1, 2, 3, 50, 999, users // 2, users - 1):
        pushed = follower_seats(crowd, author)
        assert len(pushed) == counts[author]
        assert len(np.unique(pushed)) == len(pushed), "a follower twice"
        assert seats[author] not in pushed
        assert (np.sort(pushed) == seats_that_follow(crowd, author)).all()


def test_the_most_followed_has_exactly_its_share_and_the_mean_is_what_was_asked_for() -> None:
    crowd = crowd_of(scenario_of(USERS))
    counts = follower_counts(crowd)
    assert counts[0] == counts.max() == 0.2 * USERS
    assert (np.diff(counts) <= 0).all()
    assert counts.mean() == pytest.approx(40, rel=0.01)
    assert crowd.ranks.sum(crowd.ranks.followers) / USERS == pytest.approx(counts.mean(), rel=1e-3)
    assert (counts == counts_by_rank(np.arange(USERS), USERS, crowd.law)).all()


def test_counts_are_those_of_the_explicit_graph() -> None:
    """Both are quantiles of one law, here at the middle of each stratum and there anywhere in it."""
    scenario = scenario_of(USERS)
    implicit = np.sort(follower_counts(crowd_of(scenario)))
    explicit = np.sort(explicit_counts(scenario.population, scenario.seed))
    assert implicit.sum() == pytest.approx(explicit.sum(), rel=0.01)
    below = np.arange(USERS) < 0.995 * USERS
    assert np.abs(implicit - explicit)[below].max() <= np.maximum(2, 0.02 * explicit[below]).max()
    assert np.abs(implicit / np.maximum(explicit, 1) - 1)[below & (explicit > 50)].max() < 0.03


def test_followees_are_spread_as_in_the_explicit_graph() -> None:
    """The mean of each class against that of the same shares of the explicit graph's accounts, within 8 %; and of all
    follows within 1 %."""
    scenario = scenario_of(USERS)
    crowd = crowd_of(scenario)
    ours = followees_by_class(crowd)
    explicit = np.sort(
        graph_of(
            Scenario(name="x", population=scenario.population.model_copy(update={"kind": "explicit"}))
        ).followee_counts
    )
    begins = crowd.class_begins
    theirs = np.array([explicit[low:high].mean() for low, high in pairwise(begins.tolist())])
    assert ours @ crowd.class_sizes == pytest.approx(explicit.sum(), rel=0.01)
    # An account's count varies beyond its readiness, so that the ends of the explicit order are a little further out.
    assert np.abs(ours / theirs - 1)[2:-2].max() < 0.08
    assert np.abs(ours / theirs - 1).max() < 0.35


def test_the_classes_that_follow_readily_have_more_of_an_author() -> None:
    crowd = crowd_of(scenario_of(USERS))
    shares = follower_runs(crowd, 0)[:, 1] / crowd.class_sizes
    assert (np.diff(shares) > -0.01).all()
    assert shares[-1] > 0.9
    assert shares[0] < 0.1
    expected = crowd.follow_shares()[0]
    assert np.abs(shares - expected).max() <= 1.5 / crowd.class_sizes.min()


def test_two_seeds_are_two_relations() -> None:
    first, second = (seats_that_follow(crowd_of(scenario_of(USERS, seed=seed)), 5) for seed in (1, 2))
    assert len(first) == len(second)
    shared = len(np.intersect1d(first, second))
    assert shared < 0.5 * len(first)


def test_the_pulled_authors_are_the_most_followed() -> None:
    crowd = crowd_of(scenario_of(USERS, policies__fanout="hybrid", policies__celebrity_threshold_followers=500))
    counts = follower_counts(crowd)
    assert crowd.pulled == (counts >= 500).sum() > 10
    assert crowd_of(scenario_of(USERS)).pulled == 0
    with pytest.raises(InputError, match=r"celebrity_threshold_followers is 20; \d+ accounts .* at most 1000 can be"):
        crowd_of(scenario_of(USERS, policies__fanout="hybrid", policies__celebrity_threshold_followers=20))


def test_two_bytes_an_account_and_a_few_hundred_numbers() -> None:
    crowd = crowd_of(scenario_of(USERS))
    assert crowd.crowd.shape == (CROWD_COLUMNS,)
    assert crowd.law.nbytes + crowd.class_begins.nbytes < 400
    assert crowd.ranks.followers.size < 10_000
