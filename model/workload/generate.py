"""Generating a follower graph: a configuration model with power-law follower counts and unequal readers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.rng import generator
from model.spec import InputError
from model.spec.scenario import Population

MAX_EDGES = 100_000_000
"""Explicit graphs hold at most this many (follower, followee) pairs: 8 bytes each once built."""

FOLLOWING_SIGMA = 1.0
"""Spread of the logarithm of how readily an account follows others."""
FOLLOWING_EXPONENT = 0.25
"""Accounts follow others in proportion to their own (followers + 1) to this power, besides the spread."""

_CHUNK_EDGES = 4_000_000
TICKETS_PER_USER = 8
_EXACT_SHARE = 1 / 16
_MAX_ROUNDS = 12


def generate_edges(population: Population, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Offsets int64[users + 1] and followers int32[edges], ascending within each author; no self-follows, no repeats.

    Each author's follower count is given by `follower_counts`; its followers are drawn without replacement in
    proportion to how readily each account follows others. Raises InputError for an impossible population.
    """
    counts = follower_counts(population, seed)
    users, edges = len(counts), int(counts.sum())
    if edges > MAX_EDGES:
        raise InputError(
            f"population: {users} users with {edges / users:.0f} followers on average make {edges} edges; "
            f"at most {MAX_EDGES} are allowed: lower population.users or population.mean_followers"
        )
    offsets = np.zeros(users + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    tickets = _following_tickets(counts, seed)
    followers = np.empty(edges, np.int32)
    for ordinal, (first, last) in enumerate(_chunks(offsets)):
        rng = generator(seed, "graph.followers", ordinal)
        part = followers[offsets[first] : offsets[last]]
        _draw_followers(first, counts[first:last], tickets, part, rng)
    return offsets, followers


def follower_counts(population: Population, seed: int) -> NDArray[np.int64]:
    """Follower counts int64[users]: a shifted power law, P(X > x) = (1 + x/s)^(1 - exponent), cut at the cap.

    The most followed account has exactly ``max_follower_share`` of the users (itself not among them); the scale s is
    such that the mean is `mean_followers`. Quantiles are stratified, so that the sample's mean is close to it too.
    Raises InputError where no scale gives that mean.
    """
    users = population.users
    alpha, scale, cap = power_law(population)
    rng = generator(seed, "graph.follower_counts")
    strata = (np.arange(users - 1) + rng.random(users - 1)) / (users - 1)
    survival_at_cap = (1 + cap / scale) ** -alpha
    sizes = scale * ((1 - strata * (1 - survival_at_cap)) ** (-1 / alpha) - 1)
    counts = np.append(np.minimum(np.rint(sizes), cap), cap).astype(np.int64)
    return rng.permutation(counts)


def power_law(population: Population) -> tuple[float, float, int]:
    """Exponent less one, scale s and cap of the follower counts. Raises InputError where no scale gives the mean."""
    users, mean = population.users, population.mean_followers
    cap = min(max(round(population.max_follower_share * users), 1), users - 1)
    rest = (mean * users - cap) / (users - 1)
    highest = (0.45 * cap * (users - 1) + cap) / users
    lowest = cap / users
    if not lowest < mean <= highest:
        raise InputError(
            f"population.mean_followers is {mean:g}; with {users} users of whom the most followed has {cap} followers "
            f"(max_follower_share {population.max_follower_share:g}) it must be more than {lowest:g} and at most "
            f"{highest:g}"
        )
    alpha = population.follower_exponent - 1
    return alpha, _scale_for_mean(alpha, cap, rest), cap


def _scale_for_mean(alpha: float, cap: int, mean: float) -> float:
    """The s for which the shifted power law cut at `cap` has this mean; found by bisection of a rising function."""
    low, high = 1e-9 * cap, 1e9 * cap
    for _ in range(200):
        middle = math.sqrt(low * high)
        if _truncated_mean(alpha, cap, middle) < mean:
            low = middle
        else:
            high = middle
    return low


def _truncated_mean(alpha: float, cap: float, scale: float) -> float:
    """Mean of X given X <= cap: the integral of (P(X > x) - P(X > cap)) / P(X <= cap) over 0 .. cap."""
    log_ratio = math.log1p(cap / scale)
    if abs(alpha - 1) < 1e-9:
        integral = scale * log_ratio
    else:
        integral = scale * math.expm1((1 - alpha) * log_ratio) / (1 - alpha)
    beyond = math.exp(-alpha * log_ratio)
    return (integral - cap * beyond) / -math.expm1(-alpha * log_ratio)


def _following_tickets(counts: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """How many tickets each account has in the urn from which followers are drawn, at least one, int64[users]."""
    spread = generator(seed, "graph.following").standard_normal(len(counts)) * FOLLOWING_SIGMA
    weights = np.exp(spread) * (counts + 1.0) ** FOLLOWING_EXPONENT
    tickets: NDArray[np.int64] = np.maximum(np.rint(TICKETS_PER_USER * weights / weights.mean()), 1).astype(np.int64)
    return tickets


def _chunks(offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of authors with about _CHUNK_EDGES edges each (or one author with more)."""
    users = len(offsets) - 1
    bounds = [0]
    while bounds[-1] < users:
        full = int(np.searchsorted(offsets, offsets[bounds[-1]] + _CHUNK_EDGES, side="right")) - 1
        bounds.append(min(max(full, bounds[-1] + 1), users))
    return list(pairwise(bounds))


def _draw_followers(
    first: int, counts: NDArray[np.int64], tickets: NDArray[np.int64], out: NDArray[np.int32], rng: np.random.Generator
) -> None:
    """Fill `out` with the followers of the authors from `first` on.

    Small authors draw tickets in rounds and drop repeats, which is successive sampling without replacement; the
    others, and those whom a few rounds did not satisfy, take the smallest of exponential variates over tickets
    (Efraimidis and Spirakis, 2006), which has the same distribution.
    """
    users = len(tickets)
    bits = max(users - 1, 1).bit_length()
    urn = np.repeat(np.arange(users, dtype=np.int32), tickets)
    large = counts > users * _EXACT_SHARE
    wanted = np.where(large, 0, counts)
    keys = added = np.empty(0, np.int64)
    for _ in range(_MAX_ROUNDS):
        authors = np.repeat(np.arange(len(counts), dtype=np.int64), wanted)
        if len(authors) == 0:
            break
        drawn = urn[rng.integers(0, len(urn), len(authors))]
        fresh = _sorted_distinct(((authors << bits) | drawn)[drawn != authors + first])
        if len(keys) == 0:
            keys = fresh
        else:
            added = _sorted_distinct(np.concatenate((added, fresh[~_contains(keys, fresh)])))
        held = np.bincount(keys >> bits, minlength=len(counts)) + np.bincount(added >> bits, minlength=len(counts))
        wanted = np.where(large, 0, counts - held)
    exact = large | (wanted > 0)
    if (wanted > 0).any():
        keys, added = (part[~exact[part >> bits]] for part in (keys, added))
    parts = [added]
    for author in np.flatnonzero(exact).tolist():
        races = rng.standard_exponential(users) / tickets
        races[first + author] = np.inf
        chosen = np.argpartition(races, counts[author] - 1)[: counts[author]]
        parts.append((author << bits) | chosen)
    added = np.sort(np.concatenate(parts))
    out[:] = np.insert(keys, np.searchsorted(keys, added), added) & ((1 << bits) - 1)


def _sorted_distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    keys = np.sort(keys)
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _contains(ascending: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    position = np.searchsorted(ascending, keys)
    nearest: NDArray[np.int64] = ascending[np.minimum(position, len(ascending) - 1)]
    found: NDArray[np.bool_] = nearest == keys
    return found
