"""Which post is asked for: against exact weights, with ageing, young posts and rescaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.rng import generator
from model.spec.seed_tables import SeedTables
from model.workload.popularity import PostPopularity

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
WEIGHTS = np.array([1.0, 2.0, 7.0])


def seeded(ages_s: list[float]) -> SeedTables:
    posts = len(ages_s)
    return SeedTables(
        users=3, follower_offsets=np.zeros(4, np.int64), followers=np.empty(0, np.int32),
        post_ids=np.arange(1, posts + 1), post_authors=(np.arange(posts) % 3).astype(np.int32),
        post_ages_s=np.array(ages_s), materialized=np.ones(3, bool), cached_from=0, hot=np.zeros(3, bool),
        timeline_cap=10,
    )  # fmt: skip


def shares(popularity: PostPopularity, at_s: float, posts: int, draws: int = 40_000) -> FloatArray:
    # Stratified numbers give each post its share to within one draw.
    u = (np.arange(draws) + generator(1, "test").random(draws)) / draws
    ids = popularity.pick(np.full(draws, round(at_s * 1e9)), u)
    made: FloatArray = np.bincount(ids, minlength=posts + 1)[1:] / draws
    return made


def exact(ages_s: FloatArray, authors: np.ndarray[Any, np.dtype[np.integer[Any]]], half_life_s: float) -> FloatArray:
    weights: FloatArray = WEIGHTS[authors] * 0.5 ** (ages_s / half_life_s)
    weights /= weights.sum()
    return weights


@pytest.mark.parametrize("half_life_s", [1.0, 30.0, 1e6])
def test_shares_are_author_weight_times_decay(half_life_s: float) -> None:
    ages_s = [90.0, 40.0, 39.0, 5.0, 0.5, 0.0]
    made = shares(PostPopularity(seeded(ages_s), WEIGHTS, half_life_s), 0.0, 6)
    assert made == pytest.approx(exact(np.array(ages_s), np.arange(6) % 3, half_life_s), abs=1e-3)


@pytest.mark.parametrize("half_life_s", [0.02, 2.0, 50.0])
def test_created_posts_join_a_second_later_and_all_go_on_ageing(half_life_s: float) -> None:
    """Half-lives so short that the sums are rescaled many times, and so long that they never are."""
    popularity = PostPopularity(seeded([3.0, 0.01]), WEIGHTS, half_life_s)
    created_s = np.empty(0)
    for second in range(20):
        new_s = second + np.array([0.1, 0.6, 0.9])
        known = np.concatenate(([-3.0, -0.01], created_s))
        for at_s in (second + 0.05, second + 0.65, second + 0.95):
            old_enough = np.concatenate(([True, True], created_s <= at_s - 1))
            authors = np.concatenate(([0, 1], np.arange(len(created_s)) % 3))
            expected = np.zeros(len(known))
            newest = known[old_enough].max()  # only differences of age matter
            expected[old_enough] = exact(newest - known[old_enough], authors[old_enough], half_life_s)
            assert shares(popularity, at_s, len(known), 4_000) == pytest.approx(expected, abs=2e-3)
        popularity.append(np.rint(new_s * 1e9).astype(np.int64), np.arange(3, dtype=np.int32))
        created_s = np.concatenate((created_s, new_s))


def test_without_any_post_the_first_one_is_named() -> None:
    popularity = PostPopularity(seeded([]), WEIGHTS, 60.0)
    u = np.array([0.0, 0.5, 0.999])
    assert popularity.pick(np.array([0, 1, 2]), u).tolist() == [1, 1, 1]
    popularity.append(np.array([500_000_000, 900_000_000]), np.array([0, 2], np.int32))
    assert popularity.pick(np.array([1_000_000_000] * 3), u).tolist() == [1, 1, 1]
    assert popularity.pick(np.array([1_500_000_000, 1_950_000_000, 1_950_000_000]), u).tolist() == [1, 2, 2]


def test_a_vanishing_half_life_asks_for_the_newest_post() -> None:
    popularity = PostPopularity(seeded([5.0, 2.0, 1.0]), WEIGHTS, 1e-9)
    u = np.array([0.0, 0.3, 0.99])
    assert popularity.pick(np.zeros(3, np.int64), u).tolist() == [3, 3, 3]
    popularity.append(np.array([200_000_000, 700_000_000]), np.array([0, 1], np.int32))
    assert popularity.pick(np.full(3, 1_300_000_000), u).tolist() == [4, 4, 4]
    assert popularity.pick(np.full(3, 1_800_000_000), u).tolist() == [5, 5, 5]
