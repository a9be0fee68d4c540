"""Counting the log of a data plane in compiled code, for runs with too many requests to look at each in Python."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.engine.layout import (
    L_KIND, L_LABEL, L_TIME, L_VALUE, L_WEIGHT, LOG_DELIVERY, LOG_REQUEST, OUTCOME_OK,
)  # fmt: skip
from model.engine.state import IntArray
from model.rng.compiled import inlined, njit
from model.runs import histogram
from model.runs.run import OUTCOMES
from model.spec import ENDPOINTS

T_OFFERED = 0  # columns of `totals`
T_COMPLETED = 1
T_FAILED = 2
T_FINISHED = 3
T_SUM_NS = 4
TOTAL_COLUMNS = 5

bucket_index = inlined(histogram.bucket_index)


class Tally(NamedTuple):
    """What a part of the log comes to, by window from `first_window` on; W windows, E endpoints, B buckets."""

    first_window: int
    latencies: IntArray
    """[W, E, B] answered requests, by the window in which they were sent."""
    totals: IntArray
    """[W, E, TOTAL_COLUMNS], `finished` by the window of the answer."""
    outcomes: IntArray
    """[E, outcomes]"""
    lags: IntArray
    """[W, B] deliveries, by the window in which they happened."""
    lag_sums_ns: IntArray
    """[W, B]"""


def tally(rows: IntArray, window_ns: int) -> Tally:
    """Count rows of the log int64 [n, LOG_COLUMNS]; requests and deliveries, and no others."""
    first, last = _windows(rows, window_ns)
    windows, endpoints, buckets = last - first + 1, len(ENDPOINTS), histogram.N_BUCKETS
    counted = Tally(
        first,
        np.zeros((windows, endpoints, buckets), np.int64),
        np.zeros((windows, endpoints, TOTAL_COLUMNS), np.int64),
        np.zeros((endpoints, len(OUTCOMES)), np.int64),
        np.zeros((windows, buckets), np.int64),
        np.zeros((windows, buckets), np.int64),
    )
    _count(rows, window_ns, *counted)
    return counted


@njit
def _windows(rows, window_ns):  # type: ignore[no-untyped-def]
    """The first and the last window that the rows touch."""
    first = np.int64(1 << 62)
    last = np.int64(0)
    for i in range(rows.shape[0]):
        kind = rows[i, L_KIND]
        if kind == LOG_REQUEST or kind == LOG_DELIVERY:
            first = min(first, rows[i, L_TIME] // window_ns)
            end = rows[i, L_TIME] + (rows[i, L_VALUE] if kind == LOG_REQUEST else 0)
            last = max(last, end // window_ns)
    return min(first, last), last


@njit
def _count(rows, window_ns, first, latencies, totals, outcomes, lags, lag_sums_ns):  # type: ignore[no-untyped-def]
    for i in range(rows.shape[0]):
        kind = rows[i, L_KIND]
        time = rows[i, L_TIME]
        value = rows[i, L_VALUE]
        weight = rows[i, L_WEIGHT]
        window = time // window_ns - first
        if kind == LOG_REQUEST:
            endpoint = rows[i, L_LABEL]
            outcomes[endpoint, weight] += 1
            totals[window, endpoint, T_OFFERED] += 1
            if weight == OUTCOME_OK:
                totals[window, endpoint, T_COMPLETED] += 1
                totals[window, endpoint, T_SUM_NS] += value
                totals[(time + value) // window_ns - first, endpoint, T_FINISHED] += 1
                latencies[window, endpoint, bucket_index(value)] += 1
            else:
                totals[window, endpoint, T_FAILED] += 1
        elif kind == LOG_DELIVERY:
            bucket = bucket_index(value)
            lags[window, bucket] += weight
            lag_sums_ns[window, bucket] += weight * value
