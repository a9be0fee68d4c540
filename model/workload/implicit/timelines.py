"""The timelines of an implicit population at time zero: how long they are, and which of them the cache holds.

A statistical form: the number of entries is drawn for each account from a lognormal with the mean and the variance
that its class has, if every author posts as a Poisson process. Whether the timeline is in the cache is drawn so that
the accounts that read least tend to lack it, as with the explicit graph.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from model.rng.compiled import njit
from model.spec import InputError, Scenario
from model.workload.activity import POSTING_SIGMA, READING_EXPONENT
from model.workload.implicit.activity import followees_by_class, reading_spread, reading_stratum
from model.workload.implicit.columns import SEAT_CACHED, SEAT_LENGTH
from model.workload.implicit.crowd import Crowd
from model.workload.implicit.hashing import hash64
from model.workload.implicit.permutation import STRATA, key_of

FloatArray = NDArray[np.float64]

_POINTS = 4_096
"""Quantiles of a class's lengths."""


def seats_of(crowd: Crowd, scenario: Scenario) -> NDArray[np.uint16]:
    """Every account's timeline by seat, uint16[users] (see `columns`): two bytes an account."""
    cap = scenario.policies.timeline_cap
    if cap > SEAT_LENGTH:
        raise InputError(f"policies.timeline_cap is {cap}; at most {SEAT_LENGTH} entries can be counted")
    mean, variance = entries_by_class(crowd, scenario)
    lengths = np.stack([_quantiles(m, v, cap) for m, v in zip(mean, variance, strict=True)])
    cached = cached_shares(crowd, scenario.population.materialized_share)
    seats = np.empty(crowd.users, np.uint16)
    _fill(seats, crowd.crowd, crowd.class_begins, lengths, cached, key_of(scenario.seed, "population.timelines"))
    return seats


def entries_by_class(crowd: Crowd, scenario: Scenario) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of the number of entries that an account of each class has been sent, [classes] each.

    The `posts_per_user` posts of the scenario's population are divided among the authors by their posting rates; those
    of pulled authors do not count.
    """
    ranks = crowd.ranks
    rate = (ranks.followers + 1.0) ** scenario.workload.activity_exponent
    posts = scenario.population.posts_per_user * crowd.users * rate / ranks.sum(rate)
    posts[: crowd.pulled] = 0.0  # the first ranks stand one by one
    # Of an author's posts the number and, over authors of this rank, the rate itself vary.
    square = posts + posts**2 * math.exp(POSTING_SIGMA**2)
    share = crowd.follow_shares()
    mean = (ranks.accounts * posts) @ share
    variance = (ranks.accounts * square) @ share - (ranks.accounts * posts**2) @ share**2
    return mean, variance


def cached_shares(crowd: Crowd, share: float) -> FloatArray:
    """The probability that a timeline is in the cache, by class and stratum of its reader, [classes, STRATA].

    As in a race at a reader's rate r it is 1 - exp(-t r), with t such that the mean over all accounts is `share`.
    """
    rates = np.outer((followees_by_class(crowd) + 1.0) ** READING_EXPONENT, reading_spread())
    if share in (0.0, 1.0):
        return np.full_like(rates, share)
    sizes = crowd.class_sizes / crowd.users / STRATA
    low, high = 0.0, 1e6 / float(rates.min())
    for _ in range(200):
        middle = (low + high) / 2
        if float(sizes @ (1 - np.exp(-middle * rates)).sum(axis=1)) < share:
            low = middle
        else:
            high = middle
    shares: FloatArray = 1 - np.exp(-low * rates)
    return shares


def _quantiles(mean: float, variance: float, cap: int) -> NDArray[np.uint16]:
    """Lengths at the middles of `_POINTS` equal shares of a lognormal, cut at the cap."""
    if mean <= 0:
        return np.zeros(_POINTS, np.uint16)
    normal = NormalDist()
    sigma = math.sqrt(math.log1p(variance / mean**2))
    z = np.array([normal.inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])
    return np.minimum(np.rint(mean * np.exp(sigma * z - sigma**2 / 2)), cap).astype(np.uint16)


@njit
def _fill(seats, crowd, class_begins, lengths, cached, key):  # type: ignore[no-untyped-def]
    for which in range(lengths.shape[0]):
        begin = class_begins[which]
        for after in range(class_begins[which + 1] - begin):
            h = hash64(begin + after + key)
            value = np.int64(lengths[which, h & (_POINTS - 1)])
            u = ((h >> 12) & 0xFFFFFFFF) / 4294967296.0
            if u < cached[which, reading_stratum(crowd, which, after)]:
                value |= SEAT_CACHED
            seats[begin + after] = value
