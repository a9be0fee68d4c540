"""When requests arrive in open mode: a Poisson process whose rate follows a profile and bursts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.rng import generator
from model.spec import InputError
from model.spec.scenario import Workload

BLOCK_S = 1.0
"""Requests are generated in blocks of this length."""
SLOT_S = 0.1
"""Bursts change the rate this often."""

MAX_RATE_PER_S = 10_000_000.0
"""A block of arrivals must fit in memory."""

_NO_BURSTS = 1e-3
_NS_PER_S = 1_000_000_000
_SLOTS_PER_BLOCK = round(BLOCK_S / SLOT_S)


def check_rate(workload: Workload) -> None:
    """Raise InputError where the highest rate of an open workload exceeds MAX_RATE_PER_S."""
    factor = max([1.0, *(point.factor for point in workload.rate_profile)])
    if workload.rate_per_s * factor > MAX_RATE_PER_S:
        raise InputError(
            f"workload.rate_per_s is {workload.rate_per_s:g}, times the largest factor of rate_profile, {factor:g}; "
            f"at most {MAX_RATE_PER_S:g} per second are allowed"
        )


def blocks_of(duration_s: float) -> int:
    """Number of blocks that cover the duration; the last one may be shorter."""
    return math.ceil(duration_s / BLOCK_S)


def arrival_times_ns(workload: Workload, seed: int, block: int, duration_s: float) -> NDArray[np.int64]:
    """The arrivals of one block in ns since the start, ascending: a function of seed and block alone.

    The number is Poisson with the block's integrated rate; given it, the instants are independent with density in
    proportion to the rate. The rate in a slot is ``rate_per_s`` x profile x a gamma variate of mean 1.
    """
    edges_s, expected, n, rng = _drawn(workload, seed, block, duration_s)
    u = np.sort(rng.random(n))
    times_ns = (np.interp(u * expected[-1], expected, edges_s) * _NS_PER_S).astype(np.int64)
    latest: NDArray[np.int64] = np.minimum(times_ns, math.ceil(edges_s[-1] * _NS_PER_S) - 1)
    return latest


def arrivals_in(workload: Workload, seed: int, block: int, duration_s: float) -> int:
    """How many arrivals `arrival_times_ns` gives for a block, without making them."""
    return _drawn(workload, seed, block, duration_s)[2]


def _drawn(
    workload: Workload, seed: int, block: int, duration_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int, np.random.Generator]:
    """Edges of the pieces of a block, the integrated rate at each, the number of arrivals, and the stream after it."""
    edges_s, rates_per_s = _rates(workload, seed, block, duration_s)
    expected = np.concatenate(([0.0], np.cumsum(rates_per_s * np.diff(edges_s))))
    rng = generator(seed, "schedule.arrivals", block)
    return edges_s, expected, int(rng.poisson(expected[-1])), rng


def _rates(
    workload: Workload, seed: int, block: int, duration_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges in s of the pieces with a constant rate, and the rate of each, for one block."""
    start_s, end_s = block * BLOCK_S, min((block + 1) * BLOCK_S, duration_s)
    slots_s = start_s + np.arange(_SLOTS_PER_BLOCK + 1) * SLOT_S
    profile_s = np.array([point.at_s for point in workload.rate_profile])
    candidates_s = np.concatenate((slots_s, profile_s, [end_s]))
    edges_s = np.unique(candidates_s[(candidates_s >= start_s) & (candidates_s <= end_s)])
    middles_s = (edges_s[:-1] + edges_s[1:]) / 2
    factors = np.array([1.0, *(point.factor for point in workload.rate_profile)])
    rates_per_s = workload.rate_per_s * factors[np.searchsorted(profile_s, middles_s, side="right")]
    if workload.burst_cv > _NO_BURSTS:
        variance = workload.burst_cv**2
        bursts = generator(seed, "schedule.bursts", block).gamma(1 / variance, variance, _SLOTS_PER_BLOCK)
        slot = np.minimum(((middles_s - start_s) / SLOT_S).astype(np.int64), _SLOTS_PER_BLOCK - 1)
        rates_per_s = rates_per_s * bursts[slot]
    return edges_s, rates_per_s
