"""Which post is asked for: the author's popularity, fading with the post's age."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.spec.seed_tables import SeedTables

MIN_AGE_S = 1.0
"""Posts are asked for from this age on, when a client can have heard of them."""

_NS_PER_S = 1_000_000_000
_MAX_EXPONENT = 256.0


class PostPopularity:
    """Draws posts in proportion to ``weight(author) x 2^(-age / half-life)`` in O(log posts) each.

    With an exponential decay the ratio of two posts' weights never changes, so one cumulative sum of
    ``weight x 2^(created / half-life)`` serves all instants; posts are only appended to it. It is rescaled before it
    could overflow, whereby the oldest weights may vanish.
    """

    def __init__(self, seeds: SeedTables, author_weights: NDArray[np.float64], half_life_s: float) -> None:
        self._author_weights = author_weights
        self._half_life_s = half_life_s
        self._reference_s = -float(seeds.post_ages_s[-1]) if seeds.posts else 0.0
        self._cumulative = np.cumsum(self._weights(seeds.post_authors, -seeds.post_ages_s))
        self._posts = seeds.posts
        self._young_ns = np.empty(0, np.int64)

    def pick(self, time_ns: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.int64]:
        """A post id for each request, from its instant (ascending) and a uniform number in [0, 1).

        Where no post is old enough the answer is 1, the first post that there will ever be.
        """
        young = np.searchsorted(self._young_ns, time_ns - round(MIN_AGE_S * _NS_PER_S), side="right")
        eligible = self._posts - len(self._young_ns) + young
        total = np.where(eligible > 0, self._cumulative[np.maximum(eligible, 1) - 1] if self._posts else 0.0, 0.0)
        index = np.searchsorted(self._cumulative[: self._posts], u * total, side="right")
        ids: NDArray[np.int64] = np.maximum(np.minimum(index, eligible - 1), 0) + 1
        return ids

    def append(self, time_ns: NDArray[np.int64], authors: NDArray[np.int32]) -> None:
        """Add created posts, in the order of their ids, all later than those before."""
        if len(time_ns) == 0:
            return
        now_s = time_ns[-1] / _NS_PER_S
        if (now_s - self._reference_s) / self._half_life_s > _MAX_EXPONENT:
            self._cumulative[: self._posts] *= np.exp2((self._reference_s - now_s) / self._half_life_s)
            self._reference_s = now_s
        before = self._cumulative[self._posts - 1] if self._posts else 0.0
        added = before + np.cumsum(self._weights(authors, time_ns / _NS_PER_S))
        end = self._posts + len(added)
        if end > len(self._cumulative):
            self._cumulative = np.concatenate((self._cumulative[: self._posts], np.empty(end)))
        self._cumulative[self._posts : end] = added
        self._posts = end
        # Only posts of the last MIN_AGE_S need their instant; one block more is kept for requests of this block.
        still_young = self._young_ns > time_ns[0] - 2 * round(MIN_AGE_S * _NS_PER_S)
        self._young_ns = np.concatenate((self._young_ns[still_young], time_ns))

    def _weights(self, authors: NDArray[np.int32], created_s: NDArray[np.float64]) -> NDArray[np.float64]:
        weights: NDArray[np.float64] = self._author_weights[authors] * np.exp2(
            (created_s - self._reference_s) / self._half_life_s
        )
        return weights
