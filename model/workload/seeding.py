"""What exists before the first request: posts with authors and ages, and what of them Redis holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.policy import FANOUT_CODES, is_pulled
from model.rng import generator
from model.spec import InputError, Scenario
from model.spec.seed_tables import SeedTables
from model.workload.activity import activity_of
from model.workload.graph import FollowerGraph, graph_of

MAX_HISTORY_S = 30 * 86_400.0
"""Seeded posts are at most this old."""
MAX_POSTS = 50_000_000
IDLE_HISTORY_S = 86_400.0
"""How far back seeded posts reach where the workload creates none."""


def seed_state(scenario: Scenario, graph: FollowerGraph | None = None) -> SeedTables:
    """The state at t = 0 of a scenario on its graph (built when not given).

    Posts are as old as if the platform had been running at the scenario's rate, so that popularity does not drift
    when the run begins. The timelines that are not in Redis tend to be those of the accounts that read least. Raises
    InputError for more posts than fit in memory.
    """
    graph = graph_of(scenario) if graph is None else graph
    population, policies = scenario.population, scenario.policies
    activity = activity_of(scenario.workload, graph, scenario.seed)
    posts = round(population.posts_per_user * graph.users)
    if posts > MAX_POSTS:
        raise InputError(
            f"population.posts_per_user is {population.posts_per_user:g}; with {graph.users} users that makes {posts} "
            f"posts, at most {MAX_POSTS} are allowed"
        )
    rng = generator(scenario.seed, "seed.posts")
    authors = activity.posting.pick(rng.random(posts))
    ages_s = np.sort(rng.random(posts))[::-1] * history_s(scenario, posts)
    return SeedTables(
        users=graph.users,
        follower_offsets=graph.follower_offsets,
        followers=graph.followers,
        post_ids=np.arange(1, posts + 1, dtype=np.int64),
        post_authors=authors,
        post_ages_s=np.ascontiguousarray(ages_s),
        materialized=_materialized(scenario, activity.reading.weights),
        cached_from=posts - round(population.cached_posts_share * posts),
        hot=pulled_authors(graph, FANOUT_CODES[policies.fanout], policies.celebrity_threshold_followers),
        timeline_cap=policies.timeline_cap,
    )


def history_s(scenario: Scenario, posts: int) -> float:
    """How far back `posts` seeded posts reach, in seconds, at the rate at which the workload creates them."""
    workload = scenario.workload
    rate_per_s = workload.rate_per_s if workload.mode == "open" else workload.sessions / workload.think_time_s
    created_per_s = rate_per_s * workload.mix.create_post
    if created_per_s == 0:
        return IDLE_HISTORY_S
    return min(posts / created_per_s, MAX_HISTORY_S)


def pulled_authors(graph: FollowerGraph, mode_code: int, threshold: int) -> NDArray[np.bool_]:
    """Whether each account is pulled, by the shared policy, bool[users]."""
    counts, inverse = np.unique(graph.follower_counts, return_inverse=True)
    pulled = np.array([is_pulled(mode_code, count, threshold) for count in counts.tolist()], bool)
    answer: NDArray[np.bool_] = pulled[inverse]
    return answer


def _materialized(scenario: Scenario, reading: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The given share of accounts, drawn without replacement in proportion to their reading rate."""
    count = round(scenario.population.materialized_share * len(reading))
    races = generator(scenario.seed, "seed.materialized").standard_exponential(len(reading)) / reading
    chosen = np.zeros(len(reading), bool)
    if count:
        chosen[np.argpartition(races, count - 1)[:count]] = True
    return chosen
