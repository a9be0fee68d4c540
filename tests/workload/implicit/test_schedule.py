"""The requests of an implicit population: drawn by the stated weights, and as those of an explicit one are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from model.spec import Endpoint, Scenario
from model.workload import Schedule, graph_of, schedule_of
from model.workload.activity import POSTING_SIGMA
from model.workload.implicit.activity import followees_by_class, reading_spread, spreads
from model.workload.implicit.crowd import Crowd, crowd_of
from model.workload.implicit.schedule import ImplicitSchedule
from model.workload.schedule import Block
from tests.workload.implicit.compiled import (
    follower_counts,
    scenario_of,
    seats_and_back,
    strata_and_back,
    strata_of_seats,
)

USERS = 20_000
MANY = {"workload__rate_per_s": 200_000, "duration_s": 4}


def requests(scenario: Scenario) -> tuple[Crowd, Block]:
    crowd = crowd_of(scenario)
    blocks = list(ImplicitSchedule(scenario, crowd).blocks())
    return crowd, Block(0, *(np.concatenate([getattr(block, name) for block in blocks]) for name in FIELDS))


FIELDS = ("time_ns", "endpoint", "user", "target")


@pytest.fixture(scope="module")
def drawn() -> tuple[Crowd, Block]:
    return requests(scenario_of(USERS, **MANY))


def chi_squared_excess(observed: Any, weights: Any) -> float:
    """How many standard deviations chi-squared over the cells lies above what chance gives."""
    expected = weights / weights.sum() * observed.sum()
    assert expected.min() > 5
    chi = float(((observed - expected) ** 2 / expected).sum())
    return float((chi - len(expected)) / np.sqrt(2 * len(expected)))


def posting_strata(crowd: Crowd) -> Any:
    """The stratum in posting of every account, by rank."""
    strata, places = np.zeros((-(-crowd.users // 256), 256), np.int64), np.zeros(256, np.int64)
    for block, row in enumerate(strata):
        strata_and_back(crowd.crowd[9], block, row, places)
    return strata.ravel()[: crowd.users]


def test_authors_are_drawn_in_proportion_to_their_posting_rate(drawn: tuple[Crowd, Block]) -> None:
    """Each account's own number of posts, in cells of 40 accounts each by rank, and of 8 strata by spread."""
    crowd, block = drawn
    posts = np.bincount(block.user[block.endpoint == Endpoint.CREATE_POST.code], minlength=USERS)
    strata = posting_strata(crowd)
    weights = (follower_counts(crowd) + 1.0) ** 0.3 * np.exp(POSTING_SIGMA * spreads()[strata])
    assert (
        abs(
            chi_squared_excess(
                np.add.reduceat(posts, range(0, USERS, 40)), np.add.reduceat(weights, range(0, USERS, 40))
            )
        )
        < 4
    )
    assert abs(chi_squared_excess(np.bincount(strata // 8, posts), np.bincount(strata // 8, weights))) < 4


def test_readers_are_drawn_in_proportion_to_their_reading_rate(drawn: tuple[Crowd, Block]) -> None:
    crowd, block = drawn
    reads = np.bincount(block.user[block.endpoint == Endpoint.HOME_TIMELINE.code], minlength=USERS)
    seats, back = np.zeros(USERS, np.int64), np.zeros(USERS, np.int64)
    seats_and_back(crowd.crowd, seats, back)
    own = np.zeros(USERS, np.int64)
    strata_of_seats(crowd.crowd, crowd.class_begins, own)
    which = np.searchsorted(crowd.class_begins, seats, side="right") - 1
    shared = np.exp(0.3 * spreads()[posting_strata(crowd)])
    weights = np.sqrt(followees_by_class(crowd) + 1)[which] * reading_spread()[own[seats]] * shared
    for cells in (which, own[seats] // 8, np.arange(USERS) // 40):
        assert abs(chi_squared_excess(np.bincount(cells, reads), np.bincount(cells, weights))) < 4


def test_who_posts_more_reads_more(drawn: tuple[Crowd, Block]) -> None:
    """The readers' mean spread in posting is that of a lognormal drawn in proportion to exp(0.3 z): 0.3."""
    crowd, block = drawn
    readers = block.user[block.endpoint == Endpoint.HOME_TIMELINE.code]
    assert spreads()[posting_strata(crowd)][readers].mean() == pytest.approx(0.3, abs=0.01)


def test_the_explicit_population_gives_the_same_requests_on_average(drawn: tuple[Crowd, Block]) -> None:
    """Followers of a post's author, accounts that a reader follows, share of posts: within a few percent."""
    crowd, block = drawn
    scenario = scenario_of(USERS, population__kind="explicit", **MANY)
    graph = graph_of(scenario)
    schedule = schedule_of(scenario, graph)
    assert isinstance(schedule, Schedule)
    explicit = schedule.materialize()
    counts = follower_counts(crowd)
    seats, back = np.zeros(USERS, np.int64), np.zeros(USERS, np.int64)
    seats_and_back(crowd.crowd, seats, back)
    which = np.searchsorted(crowd.class_begins, seats, side="right") - 1
    ours, theirs = (each.endpoint == Endpoint.CREATE_POST.code for each in (block, explicit))
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.02)
    implicit_followers, explicit_followers = counts[block.user[ours]], graph.follower_counts[explicit.user[theirs]]
    # The few most followed of 20 000 weigh much, and their own spread is luck: 10 % of the mean, 5 % of the middle.
    assert implicit_followers.mean() == pytest.approx(explicit_followers.mean(), rel=0.1)
    for q in (0.25, 0.5, 0.75, 0.9):
        assert np.quantile(implicit_followers, q) == pytest.approx(np.quantile(explicit_followers, q), rel=0.05)
    implicit_followees = followees_by_class(crowd)[which[block.user[~ours]]]
    assert implicit_followees.mean() == pytest.approx(graph.followee_counts[explicit.user[~theirs]].mean(), rel=0.03)


def test_requests_are_a_function_of_seed_and_ordinal() -> None:
    short, long = (requests(scenario_of(USERS, duration_s=duration_s))[1] for duration_s in (2, 3))
    for name in FIELDS:
        assert (getattr(long, name)[: len(short)] == getattr(short, name)).all()
    other = requests(scenario_of(USERS, seed=2, duration_s=2))[1]
    n = min(len(other), len(short))
    assert (other.user[:n] == short.user[:n]).mean() < 0.01
    posts = short.endpoint == Endpoint.CREATE_POST.code
    assert (short.target[posts] == 3 * USERS + 1 + np.arange(posts.sum())).all()
    assert (short.target[~posts] == short.user[~posts]).all()
    assert (np.diff(short.time_ns) >= 0).all()


def test_the_digest_does_not_depend_on_having_been_read() -> None:
    scenario = scenario_of(USERS, duration_s=2)
    crowd = crowd_of(scenario)
    read, unread = ImplicitSchedule(scenario, crowd), ImplicitSchedule(scenario, crowd)
    list(itertools.islice(read.blocks(), 1))
    list(read.blocks())
    assert read.digest == unread.digest
    assert read.digest != ImplicitSchedule(scenario_of(USERS, duration_s=2, seed=5), crowd).digest
