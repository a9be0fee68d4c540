"""Intervals of steady-state quantities from one long run, by sectioning.

The run is cut into sections, long against the time in which it forgets. The estimate is taken from the whole, so that
quantiles are not biased by short sections, and the spread from the sections about it (Asmussen and Glynn, "Stochastic
Simulation", 2007, section III.5):

    half-width = t * sqrt(sum_i (estimate_i - estimate)^2 / (n (n - 1)))
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
SECTIONS = 40


def half_width(parts: FloatArray, whole: float, confidence: float) -> float:
    """Half of the interval about `whole`, from the same quantity in each section [n]."""
    n = len(parts)
    return student_quantile(confidence, n - 1) * math.sqrt(float(((parts - whole) ** 2).sum()) / (n * (n - 1)))


def sectioned(values: FloatArray, statistic: Callable[[FloatArray], float], confidence: float) -> tuple[float, float]:
    """Estimate and half-width of a statistic of a sequence of observations in order of time."""
    used = values[: len(values) // SECTIONS * SECTIONS]
    whole = statistic(used)
    parts = np.array([statistic(part) for part in used.reshape(SECTIONS, -1)])
    return whole, half_width(parts, whole, confidence)


def ratio(over: FloatArray, under: FloatArray, confidence: float) -> tuple[float, float]:
    """Estimate and half-width of ``sum(over) / sum(under)``, from both sums in each section [n]."""
    whole = float(over.sum() / under.sum())
    return whole, half_width(over / under, whole, confidence)


def student_quantile(confidence: float, freedom: int) -> float:
    """How many standard errors a two-sided interval has on each side: P(|T| <= t) = `confidence` for Student's t.

    The distribution is a finite sum for a whole number of degrees of freedom (Abramowitz and Stegun 26.7.3 and
    26.7.4); it is inverted by bisection.
    """
    low, high = 0.0, math.pi / 2
    while True:
        angle = (low + high) / 2
        if angle in (low, high):
            return math.tan(angle) * math.sqrt(freedom)
        if _inside(angle, freedom) < confidence:
            low = angle
        else:
            high = angle


def _inside(angle: float, freedom: int) -> float:
    """P(|T| <= t) for t = sqrt(freedom) tan(angle)."""
    sine, square = math.sin(angle), math.cos(angle) ** 2
    if freedom % 2:
        term, total = math.cos(angle), 0.0
        for k in range(1, freedom - 1, 2):
            total += term
            term *= square * (k + 1) / (k + 2)
        return 2 / math.pi * (angle + sine * total)
    term, total = 1.0, 0.0
    for k in range(0, freedom - 1, 2):
        total += term
        term *= square * (k + 1) / (k + 2)
    return sine * total
