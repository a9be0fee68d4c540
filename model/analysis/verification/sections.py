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

from model.analysis.student import t_quantile

FloatArray = npt.NDArray[np.float64]
SECTIONS = 40


def half_width(parts: FloatArray, whole: float, confidence: float) -> float:
    """Half of the interval about `whole`, from the same quantity in each section [n]."""
    n = len(parts)
    return t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(float(((parts - whole) ** 2).sum()) / (n * (n - 1)))


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
