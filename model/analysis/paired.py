"""Two configurations under common random numbers: the difference, replication by replication.

Replication k of both has the same seed, every draw is keyed by what it is for, and so both see the same people, the
same requests and the same luck. What they share drops out of their difference (Law 2015, 11.2), whose interval is
Student's over the paired differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.analysis.intervals import CONFIDENCE, Interval, mean_interval
from model.analysis.replicate import Replications
from model.spec import InputError


@dataclass(frozen=True, slots=True)
class Difference:
    """Other minus base, in the unit of the figure."""

    interval: Interval
    variance_reduction: float
    """Variance of the difference with independent streams, var(base) + var(other), over that of the paired one; as
    many times fewer replications are needed. Infinite where all differences are equal, NaN where nothing varies."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.interval.covers(0.0)


def paired_difference(base: npt.ArrayLike, other: npt.ArrayLike, confidence: float = CONFIDENCE) -> Difference:
    """From the figure of each replication, float[n] each, in the same order. Raises InputError for unequal lengths."""
    first, second = np.asarray(base, np.float64), np.asarray(other, np.float64)
    if first.shape != second.shape:
        raise InputError(f"paired replications: {len(first)} of one and {len(second)} of the other; they must be equal")
    interval = mean_interval(second - first, confidence)
    if len(first) < 2:
        return Difference(interval, math.nan)
    independent = float(first.var(ddof=1) + second.var(ddof=1))
    paired = float((second - first).var(ddof=1))
    return Difference(interval, independent / paired if paired else math.inf if independent else math.nan)


def difference(
    base: Replications, other: Replications, subject: str, q: float | None = None, confidence: float | None = None
) -> Difference:
    """Of the mean, or of the q-quantile, in s, of an endpoint's latencies or of lags (``delivery``, ``replica``).

    Replicate both with ``warmup="scenario"``: MSER-5 may cut two runs of one seed at different points, and what they
    then no longer share does not drop out. Raises InputError unless the seeds are the same ones.
    """
    if [member.seed for member in base.members] != [member.seed for member in other.members]:
        raise InputError("paired replications: the seeds differ; use one seed and one number of replications for both")
    return paired_difference(base.values(subject, q), other.values(subject, q), confidence or base.confidence)
