"""Log-linear histograms of durations: the one form in which the model and the load test keep latencies and lags.

A bucket is named by the highest `MANTISSA_BITS` + 1 bits of a duration in nanoseconds (Tene's HdrHistogram layout):
exact below 256 ns, at most 1/128 wide relative to its lower bound above. The bucket functions are plain integer
arithmetic that numba compiles as it stands; this module itself never imports numba.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

MANTISSA_BITS = 7
EXPONENT_LIMIT = 43
"""Durations of 2^43 ns (2.4 h) and more share the last bucket."""
N_BUCKETS = (EXPONENT_LIMIT - MANTISSA_BITS + 1) << MANTISSA_BITS
MAX_RELATIVE_WIDTH = 1.0 / (1 << MANTISSA_BITS)

_LAST = N_BUCKETS - 1
_FIRST_MANTISSA = 1 << MANTISSA_BITS
_CEILING_NS = 1 << EXPONENT_LIMIT
_NS_PER_S = 1e9


def bucket_index(ns: int) -> int:
    """The bucket of a duration in ns; negative durations count as 0, those beyond the range as the last bucket."""
    if ns < _FIRST_MANTISSA:
        return max(ns, 0)
    if ns >= _CEILING_NS:
        return _LAST
    mantissa = ns
    shift = 0
    for step in (32, 16, 8, 4, 2, 1):
        if mantissa >> step >= _FIRST_MANTISSA:
            mantissa >>= step
            shift += step
    return (shift << MANTISSA_BITS) + mantissa


def bucket_indices(ns: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """`bucket_index` of every element of an integer array (ns)."""
    clipped = np.clip(np.asarray(ns, dtype=np.int64), 0, _CEILING_NS - 1)
    # frexp is exact here: every value is an integer below 2^53.
    _, exponents = np.frexp(clipped.astype(np.float64))
    shift = np.maximum(exponents.astype(np.int64) - 1 - MANTISSA_BITS, 0)
    indices: npt.NDArray[np.int32] = ((shift << MANTISSA_BITS) + (clipped >> shift)).astype(np.int32)
    return indices


def bucket_bounds_ns() -> npt.NDArray[np.int64]:
    """Bounds i64[N_BUCKETS + 1]: bucket i holds the integers in ``[bounds[i], bounds[i + 1])``."""
    i = np.arange(N_BUCKETS + 1, dtype=np.int64)
    shift = np.maximum((i >> MANTISSA_BITS) - 1, 0)
    bounds: npt.NDArray[np.int64] = (i - (shift << MANTISSA_BITS)) << shift
    return bounds


_BOUNDS_NS = bucket_bounds_ns()
_BOUNDS_NS.flags.writeable = False


def _zeros() -> npt.NDArray[np.int64]:
    return np.zeros(N_BUCKETS, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts i64[N_BUCKETS] of durations, and their exact sum in ns."""

    counts: npt.NDArray[np.int64] = field(default_factory=_zeros)
    sum_ns: int = 0

    @classmethod
    def of(cls, ns: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """The histogram of integer durations in ns, each counted `weights` times (1 by default)."""
        values = np.asarray(ns, dtype=np.int64)
        times = np.ones(len(values), dtype=np.int64) if weights is None else np.asarray(weights, dtype=np.int64)
        return cls.from_buckets(bucket_indices(values), times, int(values @ times))

    @classmethod
    def from_buckets(cls, buckets: npt.ArrayLike, counts: npt.ArrayLike, sum_ns: int) -> Self:
        """From sparse (bucket, count) pairs; pairs of the same bucket add up."""
        dense = _zeros()
        np.add.at(dense, np.asarray(buckets, dtype=np.int64), np.asarray(counts, dtype=np.int64))
        return cls(dense, sum_ns)

    @property
    def n(self) -> int:
        """Observations."""
        return int(self.counts.sum())

    @property
    def mean_s(self) -> float:
        """The exact mean in seconds; NaN when empty."""
        n = self.n
        return self.sum_ns / n / _NS_PER_S if n else math.nan

    def quantile(self, q: float) -> float:
        """The q-quantile in seconds: the ceil(q n)-th smallest observation, interpolated within its bucket.

        Off by less than one bucket (1/128) relative to that observation; NaN when empty. Raises ValueError unless
        0 <= q <= 1.
        """
        return self._order_statistic_ns(self._rank(q)) / _NS_PER_S if self.n else math.nan

    def quantiles(self, *qs: float) -> tuple[float, ...]:
        """Several quantiles in seconds."""
        return tuple(self.quantile(q) for q in qs)

    def tail_count(self, q: float) -> int:
        """How many observations lie above the q-quantile."""
        return self.n - self._rank(q) if self.n else 0

    def cdf(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(x_s, share at or below x_s), one point per bucket in use, x_s its largest duration."""
        used = np.flatnonzero(self.counts)
        share = np.cumsum(self.counts[used]) / max(self.n, 1)
        return (_BOUNDS_NS[used + 1] - 1) / _NS_PER_S, share

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both sets of observations."""
        return Histogram(self.counts + other.counts, self.sum_ns + other.sum_ns)

    def __add__(self, other: Histogram) -> Histogram:
        return self.merge(other)

    def __repr__(self) -> str:
        if not self.n:
            return "Histogram(n=0)"
        p50, p99 = self.quantiles(0.5, 0.99)
        return f"Histogram(n={self.n}, mean_s={self.mean_s:.6g}, p50_s={p50:.6g}, p99_s={p99:.6g})"

    def plot(self, ax: Any, *, label: str = "", complementary: bool = True, **style: Any) -> Any:
        """Draw the share above (or, not `complementary`, at or below) a duration into a matplotlib axes; log axes.

        Returns the axes.
        """
        x_s, share = self.cdf()
        y = 1 - share if complementary else share
        if complementary:  # the last point is exactly 0, which a log axis cannot show
            x_s, y = x_s[:-1], y[:-1]
        ax.step(x_s * 1e3, y, where="post", label=label or None, **style)
        ax.set_xscale("log")
        if complementary:
            ax.set_yscale("log")
        ax.set_xlabel("ms")
        ax.set_ylabel("share of requests slower" if complementary else "share of requests at most this slow")
        return ax

    def _rank(self, q: float) -> int:
        if not 0 <= q <= 1:
            raise ValueError(f"q is {q}; it must be between 0 and 1")
        # The tiny slack keeps q * n of a decimal q (0.95 * 100) from rounding up past a whole number.
        return min(max(math.ceil(q * self.n - 1e-9), 1), self.n)

    def _order_statistic_ns(self, rank: int) -> float:
        cumulative = np.cumsum(self.counts)
        bucket = int(np.searchsorted(cumulative, rank))
        within = int(self.counts[bucket])
        before = int(cumulative[bucket]) - within
        low, high = int(_BOUNDS_NS[bucket]), int(_BOUNDS_NS[bucket + 1]) - 1
        return low + (high - low) * (rank - before - 0.5) / within
