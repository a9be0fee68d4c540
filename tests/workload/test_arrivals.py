"""Arrivals: rate, Poisson and burst dispersion, the profile, edges of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec.scenario import Workload
from model.workload.arrivals import arrival_times_ns, blocks_of


def arrivals_s(workload: Workload, duration_s: float, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    blocks = [arrival_times_ns(workload, seed, number, duration_s) for number in range(blocks_of(duration_s))]
    return np.concatenate(blocks) / 1e9


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("burst_cv", [0.0, 0.5, 1.5])
def test_counts_per_slot_have_the_asked_dispersion(burst_cv: float, seed: int) -> None:
    """Counts in 6 000 slots of mean 30: mean 30, variance 30 + (30 cv)^2, within four standard errors or so."""
    workload = Workload(rate_per_s=300, burst_cv=burst_cv)
    times_s = arrivals_s(workload, 600.0, seed)
    counts = np.bincount((times_s * 10).astype(int), minlength=6_000)
    variance = 30 + (30 * burst_cv) ** 2
    assert counts.mean() == pytest.approx(30, abs=4 * np.sqrt(variance / 6_000))
    relative_error = 4 * np.sqrt((2 + 6 * burst_cv**2) / 6_000)
    assert counts.var() == pytest.approx(variance, rel=relative_error)


def test_without_bursts_gaps_are_exponential() -> None:
    """Kolmogorov-Smirnov distance of 60 000 gaps below its 1e-6 quantile."""
    gaps = np.sort(np.diff(arrivals_s(Workload(rate_per_s=1_000), 60.0)))
    law = 1 - np.exp(-gaps * 1_000)
    empirical = np.arange(1, len(gaps) + 1) / len(gaps)
    assert np.abs(law - empirical).max() < 2.7 / np.sqrt(len(gaps))


def test_the_profile_scales_the_rate_from_its_instant_on() -> None:
    profile = ({"at_s": 10.25, "factor": 3}, {"at_s": 20, "factor": 0}, {"at_s": 30.5, "factor": 0.5})
    workload = Workload.model_validate({"rate_per_s": 400, "rate_profile": profile})
    times_s = arrivals_s(workload, 40.0)
    for start_s, end_s, factor in ((0, 10.25, 1), (10.25, 20, 3), (10.25, 10.75, 3), (20, 30.5, 0), (30.5, 40, 0.5)):
        expected = 400 * factor * (end_s - start_s)
        count = ((times_s >= start_s) & (times_s < end_s)).sum()
        assert count == pytest.approx(expected, abs=4.5 * np.sqrt(expected))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    rate_per_s=st.floats(0.1, 3_000),
    burst_cv=st.floats(0, 3),
    duration_s=st.floats(0.05, 3.5),
    changes=st.dictionaries(st.floats(0, 4), st.floats(0, 5), max_size=4),
)
def test_every_block_is_ascending_and_inside_its_second(
    seed: int, rate_per_s: float, burst_cv: float, duration_s: float, changes: dict[float, float]
) -> None:
    profile = [{"at_s": at_s, "factor": changes[at_s]} for at_s in sorted(changes)]
    workload = Workload.model_validate({"rate_per_s": rate_per_s, "burst_cv": burst_cv, "rate_profile": profile})
    for number in range(blocks_of(duration_s)):
        times_ns = arrival_times_ns(workload, seed, number, duration_s)
        assert (np.diff(times_ns) >= 0).all()
        assert (times_ns >= number * 10**9).all()
        assert (times_ns < min((number + 1) * 1e9, duration_s * 1e9)).all()


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    workload = Workload(rate_per_s=200, burst_cv=0.5)
    short, long = arrivals_s(workload, 3.0), arrivals_s(workload, 7.0)
    assert np.array_equal(long[: len(short)], short)
