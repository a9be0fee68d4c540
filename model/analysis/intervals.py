"""Confidence intervals from independent replications of a simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.analysis.compare import MIN_TAIL
from model.analysis.student import t_quantile
from model.runs import Histogram
from model.spec import InputError

CONFIDENCE = 0.95
"""The level of an interval where none is stated."""


@dataclass(frozen=True, slots=True)
class Interval:
    """``value +- half_width`` at a level of `confidence`, in the unit of the figure."""

    value: float
    half_width: float
    """Infinite where fewer than two sections carry the figure."""
    confidence: float
    sections: int
    """Replications or batches that it rests on."""

    @property
    def low(self) -> float:
        return self.value - self.half_width

    @property
    def high(self) -> float:
        return self.value + self.half_width

    @property
    def relative_half_width(self) -> float:
        """Half-width over the size of the value; infinite for a value of 0 that is not exact."""
        if self.half_width == 0:
            return 0.0
        return self.half_width / abs(self.value) if self.value else math.inf

    def covers(self, value: float) -> bool:
        """Whether `value` lies inside, bounds included."""
        return abs(value - self.value) <= self.half_width


def mean_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean of independent `values` float[n], one per replication."""
    given = np.asarray(values, np.float64)
    return section_interval(given, float(given.mean()) if len(given) else math.nan, confidence)


def section_interval(sections: npt.ArrayLike, whole: float, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a figure that is known for each of n independent sections (`sections` float[n]) and for all
    observations together (`whole`): a quantile, or a mean of sections of unequal size.

    Sectioning (Asmussen and Glynn 2007, III.5a; Nakayama 2014): centred at `whole`, whose bias is n times smaller than
    that of a section's quantile, with the spread of the sections around it, and Student's t with n - 1 degrees of
    freedom. Raises InputError unless 0 < confidence < 1.
    """
    check_confidence(confidence)
    given = np.asarray(sections, np.float64)
    n = len(given)
    if n < 2:
        return Interval(whole, math.inf, confidence, n)
    spread = math.sqrt(float(np.square(given - whole).sum()) / (n - 1))
    return Interval(whole, t_quantile((1 + confidence) / 2, n - 1) * spread / math.sqrt(n), confidence, n)


class Sections:
    """Independent sections (replications) of one figure, added one by one: the mean or the q-quantile of durations."""

    def __init__(self, q: float | None = None) -> None:
        self.q = q
        self.pooled = Histogram()
        """All observations so far."""
        self._figures: list[float] = []

    def add(self, section: Histogram) -> None:
        """The next section; one without an observation has no figure and counts for nothing."""
        if section.n:
            self.pooled = self.pooled + section
            self._figures.append(statistic(section, self.q))

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """In s; None with fewer than `MIN_TAIL` observations beyond the quantile, or none at all."""
        if not self.pooled.n or (self.q is not None and self.pooled.tail_count(self.q) < MIN_TAIL):
            return None
        return section_interval(self._figures, statistic(self.pooled, self.q), confidence)


def statistic(histogram: Histogram, q: float | None) -> float:
    """The mean, or the q-quantile, in s; NaN when empty."""
    return histogram.mean_s if q is None else histogram.quantile(q)


def check_confidence(confidence: float) -> None:
    """Raise InputError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must be between 0 and 1, both excluded")
