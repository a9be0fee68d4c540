"""Who does how much: posting, reading and being read, jointly distributed with the follower graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.rng import generator
from model.spec.scenario import Workload
from model.workload.graph import FollowerGraph

POSTING_SIGMA = 0.75
"""Spread of the logarithm of an account's posting rate, given its followers."""
READING_SIGMA = 0.5
"""Spread of the logarithm of an account's reading rate, given how many it follows."""
READING_EXPONENT = 0.5
"""Reading rate grows as (accounts followed + 1) to this power."""
SHARED_CORRELATION = 0.6
"""Correlation of the two spreads: who posts more than others also reads more."""


class Weighted:
    """Draws indices in proportion to weights, by inverting their cumulative sum."""

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.weights = weights
        self._cumulative = np.cumsum(weights)

    def pick(self, u: NDArray[np.float64]) -> NDArray[np.int32]:
        """The index for each uniform number in [0, 1), int32 of the same length."""
        index = np.searchsorted(self._cumulative, u * self._cumulative[-1], side="right")
        within: NDArray[np.int32] = np.minimum(index, len(self.weights) - 1).astype(np.int32)
        return within


@dataclass(frozen=True, eq=False)
class Activity:
    """Relative rates of each user, each a `Weighted` over users."""

    posting: Weighted
    """How often the account posts: (followers + 1)^activity_exponent x lognormal."""
    reading: Weighted
    """How often the account reads or reacts: (followees + 1)^0.5 x lognormal, correlated with the posting's."""
    popularity: Weighted
    """How often the account and each of its posts are asked for: (followers + 1)^popularity_exponent."""


def activity_of(workload: Workload, graph: FollowerGraph, seed: int) -> Activity:
    """The activity of each of the graph's users under a root seed."""
    rng = generator(seed, "activity")
    posting_z = rng.standard_normal(graph.users)
    own_z = rng.standard_normal(graph.users)
    reading_z = SHARED_CORRELATION * posting_z + np.sqrt(1 - SHARED_CORRELATION**2) * own_z
    posting = _power(graph.follower_counts, workload.activity_exponent) * np.exp(POSTING_SIGMA * posting_z)
    reading = _power(graph.followee_counts, READING_EXPONENT) * np.exp(READING_SIGMA * reading_z)
    popularity = _power(graph.follower_counts, workload.popularity_exponent)
    return Activity(Weighted(posting), Weighted(reading), Weighted(popularity))


def _power(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    power: NDArray[np.float64] = np.exp(exponent * np.log(counts + 1.0))
    return power
