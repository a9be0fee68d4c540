"""The implicit population of a scenario: the few numbers that compiled code computes everything from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from model.policy import FANOUT_CODES, is_pulled
from model.spec import InputError, Scenario
from model.workload.generate import FOLLOWING_EXPONENT, FOLLOWING_SIGMA, TICKETS_PER_USER, power_law
from model.workload.implicit import columns as c
from model.workload.implicit.permutation import describe_permutation, key_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CLASS_BOUNDS = (0.0, 0.13, 0.25, 0.4, 0.55, 0.7, 0.8, 0.87, 0.92, 0.95, 0.97, 0.985, 0.993, 0.997, 0.999, 1.0)
"""Shares of the accounts that follow others least: the classes of readiness lie between them."""
MOST_PULLED = 1_000
"""Each read looks at every pulled author."""

_EXACT_RANKS = 4_096
_RANK_RATIO = 1.005


@dataclass(frozen=True, eq=False)
class Ranks:
    """All ranks in groups of nearly equal follower counts, for sums over the accounts."""

    followers: FloatArray
    """[groups]"""
    accounts: FloatArray
    """[groups] how many accounts a group has."""

    def sum(self, of_followers: FloatArray) -> float:
        """The sum over all accounts of what each group has."""
        return float((self.accounts * of_followers).sum())


@dataclass(frozen=True, eq=False)
class Crowd:
    """The numbers that describe a population (see `columns`), and what follows from them."""

    users: int
    crowd: IntArray
    """[CROWD_COLUMNS]"""
    law: FloatArray
    """[W_CLASS + classes]"""
    class_begins: IntArray
    """[classes + 1] first seat of each class of readiness, and the number of seats."""
    ranks: Ranks

    @property
    def pulled(self) -> int:
        """Accounts with a lower number than this are pulled."""
        return int(self.crowd[c.U_PULLED])

    @property
    def readiness(self) -> FloatArray:
        """[classes] how readily an account of each follows others; 8 on average."""
        return self.law[c.W_CLASS :]

    @property
    def class_sizes(self) -> IntArray:
        """[classes]"""
        return np.diff(self.class_begins)

    def follow_shares(self) -> FloatArray:
        """The probability [groups of ranks, classes] with which an account of a class follows one of a group."""
        sizes, readiness = self.class_sizes.astype(float), self.readiness
        followers = self.ranks.followers[:, None]
        pressure = followers / (sizes @ readiness)
        for _ in range(100):
            beyond = np.exp(-pressure * readiness)
            missing = followers - ((1 - beyond) @ sizes)[:, None]
            pressure = pressure + missing / (beyond @ (sizes * readiness))[:, None]
            if (np.abs(missing) <= 1e-9 * followers).all():
                break
        shares: FloatArray = -np.expm1(-pressure * readiness)
        return shares


def crowd_of(scenario: Scenario) -> Crowd:
    """The scenario's implicit population. Raises InputError for an impossible one, or for too many pulled authors."""
    population, policies, seed = scenario.population, scenario.policies, scenario.seed
    users = population.users
    alpha, scale, most = power_law(population)
    law = np.zeros(c.W_CLASS + len(CLASS_BOUNDS) - 1)
    law[[c.W_SCALE, c.W_SLOPE, c.W_MOST]] = scale, -1 / alpha, most
    law[c.W_BEYOND] = (1 + most / scale) ** -alpha
    ranks = _ranks(users, law)
    begins = np.rint(np.array(CLASS_BOUNDS) * users).astype(np.int64)
    law[c.W_CLASS :] = _readiness(ranks)
    law[c.W_READINESS] = np.diff(begins) @ law[c.W_CLASS :]
    law[c.W_READIEST] = law[c.W_CLASS :].max()
    crowd = np.zeros(c.CROWD_COLUMNS, np.int64)
    for column, value in describe_permutation(users, seed).items():
        crowd[column] = value
    crowd[c.U_IMPLICIT] = 1
    crowd[c.U_CLASSES] = len(begins) - 1
    crowd[c.U_FOLLOWERS_KEY] = key_of(seed, "population.followers")
    crowd[c.U_POSTING_KEY] = key_of(seed, "population.posting")
    crowd[c.U_READING_KEY] = key_of(seed, "population.reading")
    crowd[c.U_PULLED] = _pulled(users, law, FANOUT_CODES[policies.fanout], policies.celebrity_threshold_followers)
    return Crowd(users, crowd, law, begins, ranks)


def counts_by_rank(ranks: NDArray[np.integer] | FloatArray, users: int, law: FloatArray) -> FloatArray:
    """Follower counts of accounts by rank, as `followers.followers_of` computes them, float64 of the same length."""
    above = np.maximum(ranks - 0.5, 0.0) / (users - 1)
    survival = above + law[c.W_BEYOND] * (1.0 - above)
    counts = np.minimum(law[c.W_SCALE] * (survival ** law[c.W_SLOPE] - 1.0), law[c.W_MOST])
    exact: FloatArray = np.where(ranks == 0, law[c.W_MOST], np.floor(counts + 0.5))
    return exact


def _ranks(users: int, law: FloatArray) -> Ranks:
    """The most followed accounts one by one, the others in groups whose ranks lie within half a percent."""
    exact = min(_EXACT_RANKS, users)
    steps = int(np.ceil(np.log(users / exact) / np.log(_RANK_RATIO))) + 1
    edges = np.unique(np.rint(np.geomspace(exact, users, max(steps, 2))).astype(np.int64))
    middles = np.concatenate((np.arange(exact, dtype=np.float64), (edges[:-1] + edges[1:] - 1) / 2))
    accounts = np.concatenate((np.ones(exact), np.diff(edges)))
    return Ranks(counts_by_rank(middles, users, law), accounts)


def _readiness(ranks: Ranks) -> FloatArray:
    """The mean number of tickets in each class, were they given as `generate` gives them."""
    normal = NormalDist()
    spread = np.exp(FOLLOWING_SIGMA * np.array([normal.inv_cdf((i + 0.5) / 1024) for i in range(1024)]))
    order = np.cumsum(ranks.accounts) / ranks.accounts.sum()
    typical = ranks.followers[np.searchsorted(order, (np.arange(256) + 0.5) / 256)]
    weights = np.sort((spread[:, None] * (typical + 1.0) ** FOLLOWING_EXPONENT).ravel())
    tickets = np.maximum(np.rint(TICKETS_PER_USER * weights / weights.mean()), 1)
    bounds = np.rint(np.array(CLASS_BOUNDS) * len(tickets)).astype(int)
    return np.array([tickets[low:high].mean() for low, high in pairwise(bounds)])


def _pulled(users: int, law: FloatArray, mode_code: int, threshold: int) -> int:
    """How many accounts are pulled: counts fall with the rank, so they are the first ones."""
    low, high = 0, users
    while low < high:
        middle = (low + high) // 2
        if is_pulled(mode_code, int(counts_by_rank(np.array([middle]), users, law)[0]), threshold):
            low = middle + 1
        else:
            high = middle
    if low > MOST_PULLED:
        raise InputError(
            f"policies.celebrity_threshold_followers is {threshold}; {low} accounts have as many followers, and at "
            f"most {MOST_PULLED} can be pulled: raise it"
        )
    return low
