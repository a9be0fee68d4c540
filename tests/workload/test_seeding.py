"""The seeded state: posts, ages, what Redis holds, timelines against a plain reference; joint activity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec import Scenario
from model.spec.seed_tables import SeedTables
from model.workload import FollowerGraph, graph_of, seed_state
from model.workload.activity import activity_of
from model.workload.seeding import MAX_HISTORY_S

BASE = Scenario.load("baseline")


def plain_timelines(seeds: SeedTables, graph: FollowerGraph, *, everyone: bool) -> list[list[int]]:
    """For each user the newest posts of the accounts followed, by looking at every post in turn."""
    timelines: list[list[int]] = [[] for _ in range(seeds.users)]
    for post, author in zip(reversed(seeds.post_ids.tolist()), reversed(seeds.post_authors.tolist()), strict=True):
        if not seeds.hot[author]:
            for user in graph.followers_of(author).tolist():
                if (everyone or seeds.materialized[user]) and len(timelines[user]) < seeds.timeline_cap:
                    timelines[user].append(post)
    return timelines


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    users=st.integers(20, 120),
    posts_per_user=st.floats(0, 8),
    threshold=st.integers(0, 60),
    cap=st.integers(1, 40),
    share=st.floats(0, 1),
    mode=st.sampled_from(("push", "pull", "hybrid")),
    everyone=st.booleans(),
    chunk=st.sampled_from((1, 50, 2_000_000)),
)
def test_timelines_equal_the_plain_reference(
    seed: int, users: int, posts_per_user: float, threshold: int, cap: int, share: float, mode: str, everyone: bool,
    chunk: int,
) -> None:  # fmt: skip
    scenario = BASE.with_(
        seed=seed, population__users=users, population__mean_followers=4, population__posts_per_user=posts_per_user,
        population__materialized_share=share, policies__celebrity_threshold_followers=threshold,
        policies__timeline_cap=cap, policies__fanout=mode,
    )  # fmt: skip
    graph = graph_of(scenario)
    seeds = seed_state(scenario, graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.spec.seed_tables._CHUNK_PAIRS", chunk)
        offsets, entries = seeds.timelines(everyone=everyone)
    made = [entries[a:b].tolist() for a, b in pairwise(offsets.tolist())]
    assert made == plain_timelines(seeds, graph, everyone=everyone)


def test_posts_reach_back_at_the_rate_of_the_run() -> None:
    seeds = seed_state(BASE)
    assert seeds.post_ids.tolist() == list(range(1, 20_001))
    assert (np.diff(seeds.post_ages_s) <= 0).all()
    assert seeds.post_ages_s.min() >= 0
    created_per_s = BASE.workload.rate_per_s * BASE.workload.mix.create_post
    for back_s in (100, 400, 800):
        expected = created_per_s * back_s
        assert (seeds.post_ages_s < back_s).sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))


@pytest.mark.parametrize(
    ("overrides", "oldest_s"),
    [
        ({"workload.mix": {"home_timeline": 1, "profile": 0, "create_post": 0, "react": 0, "read_post": 0}}, 86_400),
        ({"workload.rate_per_s": 0.001}, MAX_HISTORY_S),
        ({"workload.mode": "closed", "workload.sessions": 10, "workload.think_time_s": 1}, 20_000 / 0.6),
    ],
)
def test_history_without_posts_and_in_closed_mode(overrides: dict[str, object], oldest_s: float) -> None:
    assert seed_state(BASE.with_(overrides)).post_ages_s[0] == pytest.approx(oldest_s, rel=0.01)


@pytest.mark.parametrize("share", [0.0, 0.333, 0.95, 1.0])
def test_shares_in_redis_are_exact(share: float) -> None:
    seeds = seed_state(BASE.with_(population__materialized_share=share, population__cached_posts_share=share))
    assert seeds.materialized.sum() == round(share * 2_000)
    assert seeds.posts - seeds.cached_from == round(share * 20_000)


def test_absent_timelines_are_those_of_rare_readers() -> None:
    graph = graph_of(BASE)
    seeds = seed_state(BASE.with_(population__materialized_share=0.5), graph)
    reading = activity_of(BASE.workload, graph, BASE.seed).reading.weights
    assert reading[seeds.materialized].mean() > 1.5 * reading[~seeds.materialized].mean()


def test_hot_accounts_follow_the_policy() -> None:
    graph = graph_of(BASE)
    for fanout, expected in (("push", 0), ("pull", 2_000), ("hybrid", int((graph.follower_counts >= 500).sum()))):
        assert seed_state(BASE.with_(policies__fanout=fanout), graph).hot.sum() == expected


def test_no_posts_at_all() -> None:
    seeds = seed_state(BASE.with_(population__posts_per_user=0))
    offsets, entries = seeds.timelines()
    assert seeds.posts == seeds.cached_from == len(entries) == offsets[-1] == 0


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_posting_grows_with_followers_as_asked(exponent: float) -> None:
    """The slope of log rate over log(followers + 1) is the exponent, within four standard errors."""
    graph = graph_of(BASE)
    activity = activity_of(BASE.with_(workload__activity_exponent=exponent).workload, graph, 1)
    x, y = np.log(graph.follower_counts + 1.0), np.log(activity.posting.weights)
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - slope * x - intercept
    error = residuals.std() / (x.std() * np.sqrt(len(x)))
    assert slope == pytest.approx(exponent, abs=4 * error)
    assert residuals.std() == pytest.approx(0.75, rel=0.1)


def test_posting_reading_and_following_go_together() -> None:
    graph = graph_of(BASE)
    activity = activity_of(BASE.workload, graph, 1)
    logs = np.log(np.stack((activity.posting.weights, activity.reading.weights, graph.followee_counts + 1.0)))
    correlations = np.corrcoef(logs)
    assert correlations[0, 1] > 0.4
    assert correlations[1, 2] > 0.5
    authors = seed_state(BASE, graph).post_authors
    per_author = np.bincount(authors, minlength=graph.users)
    assert np.corrcoef(np.log(per_author + 1.0), np.log(graph.follower_counts + 1.0))[0, 1] > 0.2
    expected = activity.posting.weights / activity.posting.weights.sum() * 20_000
    chi2 = float(((per_author - expected) ** 2 / expected).sum())
    assert chi2 == pytest.approx(2_000, abs=6 * np.sqrt(2 * 2_000))
