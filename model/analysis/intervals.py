"""Confidence intervals of means and quantiles from independent sections: replications of a simulation, or long batches.

Both are ratios: a mean is the sum of the sections' durations over their number, and the share of observations at or
below a given duration is a count over that number. A quantile's interval is that of the share at the estimate, read
back through the distribution of all observations (Woodruff 1952). It is longer above than below, as the estimate's own
distribution is; on queues it covers as often as it should with less data than intervals made from the sections' own
quantiles do (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.analysis.compare import MIN_TAIL
from model.analysis.student import t_quantile
from model.runs import Histogram
from model.runs.histogram import bucket_bounds_ns, bucket_index
from model.spec import InputError

CONFIDENCE = 0.95
"""The level of an interval where none is stated."""

_BOUNDS_NS = bucket_bounds_ns()
_FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval from `low` to `high` at a level of `confidence`, in the unit of the figure."""

    value: float
    low: float
    high: float
    confidence: float
    sections: int
    """Replications or batches that it rests on; with fewer than two the interval has no bounds."""

    @property
    def half_width(self) -> float:
        """The longer of the two sides, so that ``value +- half_width`` contains the interval."""
        return max(self.high - self.value, self.value - self.low)

    @property
    def relative_half_width(self) -> float:
        """Half-width over the size of the value; infinite for a value of 0 that is not exact."""
        if self.half_width == 0:
            return 0.0
        return self.half_width / abs(self.value) if self.value else math.inf

    def covers(self, value: float) -> bool:
        """Whether `value` lies inside, bounds included."""
        return self.low <= value <= self.high


def mean_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean of independent `values` float[n], one per replication."""
    given = np.asarray(values, np.float64)
    return _ratio_interval(given, np.ones(len(given)), confidence)


class Sections:
    """Independent sections of one figure, added one by one: the mean, or the q-quantile, of durations."""

    def __init__(self, q: float | None = None) -> None:
        self.q = q
        self._pooled = Histogram()
        self._sections: list[Histogram] = []

    def add(self, section: Histogram) -> None:
        """The next section; one without an observation says nothing and counts for nothing."""
        if section.n:
            self._pooled = self._pooled + section
            self._sections.append(section)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._sections)

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """In s; None with fewer than `MIN_TAIL` observations beyond the quantile, or none at all."""
        if not self._pooled.n or (self.q is not None and self._pooled.tail_count(self.q) < MIN_TAIL):
            return None
        return interval_of(self._pooled, *as_ratios(self._sections, self._pooled, self.q), self.q, confidence)


def as_ratios(sections: Sequence[Histogram], pooled: Histogram, q: float | None) -> tuple[_FloatArray, _FloatArray]:
    """Numerator and denominator float[sections] each: sums in s, or the counts at or below the q-quantile of all, which
    are split within a bucket as `Histogram.quantile` does; and the numbers of observations."""
    denominators = np.array([section.n for section in sections], np.float64)
    if q is None:
        return np.array([section.sum_ns / 1e9 for section in sections]), denominators
    at_ns = pooled.quantile(q) * 1e9
    bucket = bucket_index(int(at_ns))
    low, high = int(_BOUNDS_NS[bucket]), int(_BOUNDS_NS[bucket + 1]) - 1
    share = (at_ns - low) / (high - low) if high > low else 0.5
    below = [int(section.counts[:bucket].sum()) + share * int(section.counts[bucket]) for section in sections]
    return np.array(below), denominators


def interval_of(
    pooled: Histogram, numerators: _FloatArray, denominators: _FloatArray, q: float | None, confidence: float
) -> Interval:
    """The interval of the mean, or of the q-quantile, in s, from what `as_ratios` made of its sections."""
    ratio = _ratio_interval(numerators, denominators, confidence)
    if q is None:
        return ratio
    below, above = q - (ratio.value - ratio.low), q + (ratio.high - ratio.value)
    low = pooled.quantile(below) if below > 0 else 0.0
    high = pooled.quantile(above) if above < 1 else math.inf
    return Interval(pooled.quantile(q), low, high, confidence, ratio.sections)


def check_confidence(confidence: float) -> None:
    """Raise InputError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must be between 0 and 1, both excluded")


def _ratio_interval(numerators: _FloatArray, denominators: _FloatArray, confidence: float) -> Interval:
    """The interval of sum(numerators) / sum(denominators) for independent pairs, by the spread of what each section's
    numerator differs from its part (Cochran 1977, 6.4), with Student's t; the plain one of a mean where all
    denominators are equal."""
    check_confidence(confidence)
    n = len(numerators)
    total = float(denominators.sum())
    value = float(numerators.sum()) / total if total else math.nan
    if n < 2:
        return Interval(value, -math.inf, math.inf, confidence, n)
    apart = (numerators - value * denominators) / (total / n)
    error = math.sqrt(float(apart @ apart) / (n - 1) / n)
    half_width = t_quantile((1 + confidence) / 2, n - 1) * error
    return Interval(value, value - half_width, value + half_width, confidence, n)
