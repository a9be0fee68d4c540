"""The generated follower graph: structure, the distribution that was asked for, correlation, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec import InputError, Scenario
from model.spec.scenario import Population
from model.workload import FollowerGraph, graph_of
from model.workload.generate import follower_counts, generate_edges

SEEDS = (1, 2, 3)


def graph(seed: int = 1, **population: float) -> FollowerGraph:
    return FollowerGraph.from_followers(*generate_edges(Population(**population), seed))


@settings(max_examples=40, deadline=None)
@given(
    users=st.integers(10, 300),
    mean_share=st.floats(0.02, 0.4),
    top_share=st.floats(0.05, 1.0),
    exponent=st.floats(1.6, 4.0),
    seed=st.integers(0, 2**32),
)
def test_structure(users: int, mean_share: float, top_share: float, exponent: float, seed: int) -> None:
    cap = min(max(round(top_share * users), 1), users - 1)
    mean = cap / users + mean_share * cap
    population = Population(users=users, mean_followers=mean, max_follower_share=top_share, follower_exponent=exponent)
    made = FollowerGraph.from_followers(*generate_edges(population, seed))
    authors = np.repeat(np.arange(users), made.follower_counts)
    pairs = set(zip(made.followers.tolist(), authors.tolist(), strict=True))
    assert len(pairs) == made.edges, "a pair is there twice"
    assert not (made.followers == authors).any(), "somebody follows himself"
    assert made.follower_counts.max() == cap
    assert made.follower_counts.tolist() == follower_counts(population, seed).tolist()
    for user in range(users):
        assert (np.diff(made.followers_of(user)) > 0).all()
        assert (np.diff(made.followees_of(user)) > 0).all()
    readers = np.repeat(np.arange(users), made.followee_counts)
    assert set(zip(readers.tolist(), made.followees.tolist(), strict=True)) == pairs


def test_the_seed_decides() -> None:
    digests = [graph(seed, users=500, mean_followers=20).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("seed", SEEDS)
def test_follower_counts_are_the_shifted_power_law(seed: int) -> None:
    """Mean within 1 %, and P(X > x) within 1 % of 1 of the formula wherever it is read (stratified quantiles)."""
    population = Population(users=20_000)
    counts = follower_counts(population, seed)
    assert counts.mean() == pytest.approx(40, rel=0.01)
    assert counts.max() == 10_000
    alpha, cap = population.follower_exponent - 1, 10_000.0
    x = np.concatenate(([0.0], np.geomspace(0.01, cap, 2_000)))

    def mean_at(s: float) -> float:
        beyond = (1 + cap / s) ** -alpha
        return float(np.trapezoid((1 + x / s) ** -alpha - beyond, x) / (1 - beyond))

    scales = np.geomspace(1, 100, 2_001)  # the scale is found again here by trying them all
    s = scales[int(np.argmin([abs(mean_at(each) - (40 - 10_000 / 20_000)) for each in scales]))]
    beyond = (1 + cap / s) ** -alpha
    for at in (1, 5, 20, 100, 500, 2_000):
        law = ((1 + (at + 0.5) / s) ** -alpha - beyond) / (1 - beyond)
        assert (counts > at).mean() == pytest.approx(law, abs=0.01)


@pytest.mark.parametrize("exponent", [2.0, 2.276, 3.0])
def test_the_tail_has_the_exponent(exponent: float) -> None:
    """Far below the cap and far above the scale, doubling x divides P(X > x) by 2^(exponent - 1)."""
    population = Population(users=400_000, mean_followers=20, follower_exponent=exponent, max_follower_share=1)
    counts = follower_counts(population, 1)
    x = 600 if exponent < 2.5 else 150
    ratio = (counts > 2 * x).sum() / (counts > x).sum()
    assert -np.log2(ratio) == pytest.approx(exponent - 1, abs=0.35)


def test_a_default_population_has_celebrities_and_lurkers() -> None:
    made = graph()
    assert made.users == 2_000
    assert (made.follower_counts >= 500).sum() >= 1
    assert made.follower_counts.max() == 1_000
    assert (made.follower_counts == 0).sum() > 0
    assert made.followee_counts.std() / made.followee_counts.mean() > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_the_popular_follow_more(seed: int) -> None:
    made = graph(seed)
    correlation = np.corrcoef(np.log(made.follower_counts + 1), np.log(made.followee_counts + 1))[0, 1]
    assert 0.15 < correlation < 0.6


def test_ids_say_nothing_about_popularity() -> None:
    counts = graph(users=20_000, mean_followers=10).follower_counts
    assert abs(np.corrcoef(np.arange(20_000), np.log(counts + 1.0))[0, 1]) < 4 / np.sqrt(20_000)


def test_large_and_small_authors_draw_followers_alike() -> None:
    """The two ways of drawing followers have one distribution: who follows many follows them among both alike."""
    made = graph(users=4_000, mean_followers=60)
    authors = np.repeat(np.arange(made.users), made.follower_counts)
    size = made.follower_counts[authors]
    above, below = size > made.users / 16, (size <= made.users / 16) & (size > made.users / 32)
    weight = made.followee_counts[made.followers].astype(float)
    # Followers taken without replacement from a larger share of all are a little more ordinary, never less.
    assert weight[above].mean() < weight[below].mean() < 1.35 * weight[above].mean()


@pytest.mark.parametrize(
    ("population", "message"),
    [
        ({"users": 50, "mean_followers": 40}, r"population.mean_followers is 40; with 50 users .* 25 followers"),
        ({"users": 1000, "mean_followers": 0.3}, r"more than 0\.5"),
        ({"users": 5_000_000, "mean_followers": 400}, r"at most 100000000 are allowed"),
    ],
)
def test_impossible_populations_are_refused(population: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate_edges(Population(**population), 1)


def test_the_graph_depends_on_population_and_seed_only() -> None:
    base = Scenario.load("baseline")
    same = base.with_(workload__rate_per_s=10, policies__timeline_cap=50, platform__redis__shards=5)
    assert graph_of(base).digest == graph_of(same).digest


def test_a_hundred_thousand_users_fit_in_chunks() -> None:
    made = graph(users=100_000, mean_followers=45)
    assert made.edges > 4_000_000
    assert made.follower_counts.max() == 50_000
    keys = (made.followers.astype(np.int64) << 17) | np.repeat(np.arange(made.users), made.follower_counts)
    assert len(np.unique(keys[:1_000_000])) == 1_000_000
    assert np.array_equal(np.sort(keys & 0x1FFFF), np.repeat(np.arange(made.users), made.follower_counts))
