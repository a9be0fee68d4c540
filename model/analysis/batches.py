"""A confidence interval from one long run: batch means and batch quantiles, with a check on their correlation.

The rule: batches are joined in pairs until those next to each other are not seen to be correlated (von Neumann's ratio,
as in LBATCH, Fishman and Yarberry 1997, and N-Skart, Tafazzoli, Steiger and Wilson 2011), and then on to at most 20,
since more gain nothing and shorter ones lose their normal shape (Schmeiser 1982), quantiles above all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from model.analysis.intervals import CONFIDENCE, Interval, as_ratios, check_confidence, interval_of
from model.analysis.precision import Figure
from model.runs import Histogram, Run

MOST_BATCHES = 256
LEAST_TESTED = 32
"""With fewer batches the test sees nothing."""
LEAST_TAIL = 10
"""Observations beyond the quantile that a batch has on average; with fewer the share below it is hardly normal."""
KEPT_BATCHES = 20
TEST_LEVEL = 0.2
"""Of the one-sided test for correlation; as N-Skart's, generous towards seeing one."""


@dataclass(frozen=True, slots=True)
class BatchInterval:
    """An interval from the batches of one run, and whether they were long enough."""

    interval: Interval
    correlation: float
    """Between neighbouring batches at the last test; NaN where there were too few batches for one."""
    independent: bool
    """False where the run is too short to have batches that are not seen to be correlated: the interval is then too
    narrow, by how much is not known."""


def batch_interval(parts: Sequence[Histogram], q: float | None = None, confidence: float = CONFIDENCE) -> BatchInterval:
    """The interval of the mean, or of the q-quantile, in s, from consecutive `parts` of one run, equally long.

    Parts without an observation join their neighbours. Raises InputError unless 0 < confidence < 1.
    """
    check_confidence(confidence)
    used = [part for part in parts if part.n]
    whole = sum(used, Histogram())
    if not used:
        return BatchInterval(Interval(math.nan, -math.inf, math.inf, confidence, 0), math.nan, independent=False)
    above, below = as_ratios(used, whole, q)
    least = 1 if q is None else LEAST_TAIL / (1 - q)
    while len(above) > MOST_BATCHES or (len(above) > 1 and whole.n < least * len(above)):
        above, below = _joined(above), _joined(below)
    independent = False
    correlation = math.nan
    while len(above) >= LEAST_TESTED and not independent:
        correlation = _correlation(above / below)
        independent = correlation < _threshold(len(above))
        if not independent:
            above, below = _joined(above), _joined(below)
    while len(above) > KEPT_BATCHES:
        above, below = _joined(above), _joined(below)
    return BatchInterval(interval_of(whole, above, below, q, confidence), correlation, independent)


def run_interval(run: Run, figure: Figure, confidence: float = CONFIDENCE) -> BatchInterval:
    """The interval of a figure of one run, in s, from the windows of its scored part."""
    windows = range(run.first_scored_window, math.ceil(run.duration_s / run.window_s - 1e-9))
    return batch_interval(window_histograms(run, figure.subject, windows), figure.q, confidence)


def window_histograms(run: Run, subject: str, windows: range) -> list[Histogram]:
    """The histogram of each of these windows of an endpoint's latencies, or of the delivery lags."""
    if subject == "delivery":
        lags = run.lags.filter(run.lags["kind"] == "delivery")
        by_window = lags.group_by("window").agg("bucket", "count", "sum_ns")
        found = {
            int(window): Histogram.from_buckets(buckets, counts, sum(sums))
            for window, buckets, counts, sums in by_window.iter_rows()
        }
    else:
        table, totals = run.latency_table, run.totals
        rows = table.filter((table["basis"] == "sent") & (table["endpoint"] == subject))
        of_endpoint = totals.filter(totals["endpoint"] == subject)
        sums_ns = dict(of_endpoint.select("window", "sum_sent_ns").iter_rows())
        found = {
            int(window): Histogram.from_buckets(buckets, counts, int(sums_ns[window]))
            for window, buckets, counts in rows.group_by("window").agg("bucket", "count").iter_rows()
        }
    return [found.get(window, Histogram()) for window in windows]


def _joined(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each value and its neighbour added up; an odd one at the beginning joins the first pair."""
    odd = len(values) % 2
    pairs: npt.NDArray[np.float64] = values[odd::2] + values[odd + 1 :: 2]
    if odd:
        pairs[0] += values[0]
    return pairs


def _correlation(values: npt.NDArray[np.float64]) -> float:
    """Of neighbours, by von Neumann's ratio: 1 - sum of squared successive differences / (2 sum of squares)."""
    apart = values - values.mean()
    squares = float(apart @ apart)
    if squares == 0 or len(values) < 3:
        return 0.0
    ends = float(apart[0] ** 2 + apart[-1] ** 2)
    return 1 - (float(np.square(np.diff(values)).sum()) + ends) / (2 * squares)


def _threshold(batches: int) -> float:
    """Above this correlation, independence is rejected; von Neumann's ratio is normal with variance
    (n - 2) / (n^2 - 1)."""
    return NormalDist().inv_cdf(1 - TEST_LEVEL) * math.sqrt((batches - 2) / (batches**2 - 1))
