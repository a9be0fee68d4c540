"""Compiled functions of the implicit population over whole arrays, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.rng.compiled import njit
from model.spec import Scenario
from model.spec.cluster import ClusterStep
from model.workload.implicit.activity import reading_stratum
from model.workload.implicit.crowd import Crowd
from model.workload.implicit.followers import followers_of, follows, runs_of
from model.workload.implicit.permutation import place_of, seat_of, stratum_of, user_at

IntArray = npt.NDArray[np.int64]


def scenario_of(users: int, **fields: Any) -> Scenario:
    """A cluster with an implicit population of so many users; fields as dotted paths with `__` for the dot."""
    fixed = {
        "population": {
            "kind": "implicit", "users": users, "mean_followers": 40, "max_follower_share": 0.2, "posts_per_user": 3
        },
        "workload": {
            "rate_per_s": 2_000,
            "mix": {"home_timeline": 0.9, "profile": 0, "create_post": 0.1, "react": 0, "read_post": 0},
        },
        "platform": {
            "kind": "cluster",
            "cluster": {"costs": {step.value: {"base_s": 2e-5, "per_item_s": 1e-6} for step in ClusterStep}},
        },
        "policies": {"fanout": "push", "timeline_cap": 800},
    }  # fmt: skip
    return Scenario(name="crowd", duration_s=4, warmup_s=1).with_(fixed).with_(**fields)


def follower_runs(crowd: Crowd, author: int) -> IntArray:
    """The runs of an author's followers, int64 [classes, 2]."""
    runs = np.zeros((len(crowd.readiness), 2), np.int64)
    _runs(crowd.crowd, crowd.law, crowd.class_begins, author, runs)
    return runs


def follower_seats(crowd: Crowd, author: int) -> IntArray:
    """The seats of an author's followers, walked along the runs as a push does."""
    parts = []
    for which, (begin, length) in enumerate(follower_runs(crowd, author)):
        size = crowd.class_sizes[which]
        parts.append(crowd.class_begins[which] + (begin + np.arange(length)) % size)
    return np.concatenate(parts)


def seats_that_follow(crowd: Crowd, author: int) -> IntArray:
    """The seats of those who follow an author, each asked, as a reader's pull does."""
    answers = np.zeros(crowd.users, np.bool_)
    _ask_all(crowd.crowd, crowd.class_begins, follower_runs(crowd, author), answers)
    return np.flatnonzero(answers)


def follower_counts(crowd: Crowd) -> IntArray:
    """The follower count of every account, by rank."""
    counts = np.zeros(crowd.users, np.int64)
    _counts(crowd.crowd, crowd.law, counts)
    return counts


@njit
def seats_and_back(crowd, seats, users):  # type: ignore[no-untyped-def]
    """The seat of each user, and the user at each of those seats."""
    for user in range(len(seats)):
        seats[user] = seat_of(crowd, user)
        users[user] = user_at(crowd, seats[user])


@njit
def strata_and_back(key, block, strata, places):  # type: ignore[no-untyped-def]
    """The stratum of each place of a block, and the place of each of those strata."""
    for place in range(len(strata)):
        strata[place] = stratum_of(key, block, place)
        places[place] = place_of(key, block, strata[place])


@njit
def strata_of_seats(crowd, class_begins, strata):  # type: ignore[no-untyped-def]
    """The stratum in reading of every seat."""
    for which in range(len(class_begins) - 1):
        for seat in range(class_begins[which], class_begins[which + 1]):
            strata[seat] = reading_stratum(crowd, which, seat - class_begins[which])


@njit
def _runs(crowd, law, class_begins, author, runs):  # type: ignore[no-untyped-def]
    runs_of(crowd, law, class_begins, author, followers_of(crowd, law, author), runs)


@njit
def _ask_all(crowd, class_begins, runs, answers):  # type: ignore[no-untyped-def]
    for seat in range(len(answers)):
        answers[seat] = follows(crowd, class_begins, seat, runs)


@njit
def _counts(crowd, law, counts):  # type: ignore[no-untyped-def]
    for user in range(len(counts)):
        counts[user] = followers_of(crowd, law, user)
