"""Histograms of durations: bucket arithmetic and quantiles against exact order statistics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from model.runs.histogram import (
    EXPONENT_LIMIT,
    MAX_RELATIVE_WIDTH,
    N_BUCKETS,
    Histogram,
    bucket_bounds_ns,
    bucket_index,
    bucket_indices,
)

durations = st.integers(0, (1 << EXPONENT_LIMIT) - 1)
# Both scales matter: uniform integers alone would hardly ever be small.
latencies = st.one_of(st.integers(0, 5_000), st.integers(0, 10**9), durations)
samples = st.lists(latencies, min_size=1, max_size=300)
shares = st.one_of(st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]), st.floats(0, 1))


@given(durations)
def test_a_bucket_contains_what_it_is_named_for(ns: int) -> None:
    bounds = bucket_bounds_ns()
    index = bucket_index(ns)
    assert bounds[index] <= ns < bounds[index + 1]


def test_buckets_tile_the_range_and_are_narrow() -> None:
    bounds = bucket_bounds_ns()
    widths = np.diff(bounds)
    assert len(bounds) == N_BUCKETS + 1
    assert bounds[0] == 0
    assert bounds[-1] == 1 << EXPONENT_LIMIT
    assert (widths > 0).all()
    assert ((widths - 1) <= MAX_RELATIVE_WIDTH * bounds[:-1]).all()


def test_out_of_range_durations_go_to_the_end_buckets() -> None:
    assert bucket_index(-5) == 0
    assert bucket_index(1 << 60) == N_BUCKETS - 1
    assert bucket_indices([-5, 1 << 60]).tolist() == [0, N_BUCKETS - 1]


@pytest.fixture(scope="module")
def compiled_bucket_index() -> Callable[[int], int]:
    compiled: Callable[[int], int] = njit("int64(int64)")(bucket_index)
    return compiled


@given(values=st.lists(st.one_of(latencies, st.integers(-10, 1 << 62)), min_size=1))
def test_array_and_compiled_forms_agree_with_the_plain_one(
    compiled_bucket_index: Callable[[int], int],
    values: list[int],
) -> None:
    plain = [bucket_index(value) for value in values]
    assert bucket_indices(np.array(values)).tolist() == plain
    assert [compiled_bucket_index(value) for value in values] == plain


@given(samples, shares)
def test_quantile_is_within_one_bucket_of_the_exact_order_statistic(values: list[int], q: float) -> None:
    exact = np.sort(values)[max(math.ceil(q * len(values) - 1e-9), 1) - 1]
    found = Histogram.of(values).quantile(q) * 1e9
    assert abs(found - exact) <= MAX_RELATIVE_WIDTH * exact + 1e-6


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_quantile_agrees_with_numpy_on_a_large_sample(q: float) -> None:
    values = np.random.Generator(np.random.Philox(3)).lognormal(np.log(4e6), 0.8, 50_000).astype(np.int64)
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    assert Histogram.of(values).quantile(q) * 1e9 == pytest.approx(exact, rel=MAX_RELATIVE_WIDTH)


@given(samples, shares, shares)
def test_quantiles_do_not_cross(values: list[int], q: float, r: float) -> None:
    histogram = Histogram.of(values)
    assert histogram.quantile(min(q, r)) <= histogram.quantile(max(q, r))


@given(samples)
def test_mean_is_exact(values: list[int]) -> None:
    assert Histogram.of(values).mean_s == pytest.approx(sum(values) / len(values) / 1e9)


@given(samples, samples)
def test_merging_is_the_histogram_of_both(left: list[int], right: list[int]) -> None:
    merged = Histogram.of(left) + Histogram.of(right)
    both = Histogram.of(left + right)
    assert (merged.counts == both.counts).all()
    assert merged.sum_ns == both.sum_ns


@given(samples, st.integers(1, 50))
def test_weights_repeat_observations(values: list[int], weight: int) -> None:
    weighted = Histogram.of(values, np.full(len(values), weight))
    repeated = Histogram.of(values * weight)
    assert (weighted.counts == repeated.counts).all()
    assert weighted.sum_ns == repeated.sum_ns


def test_tail_count_is_what_lies_above_the_quantile() -> None:
    histogram = Histogram.of(np.arange(1, 10_001) * 100_000)
    assert histogram.tail_count(0.99) == 100
    assert histogram.tail_count(0.95) == 500
    assert histogram.tail_count(1.0) == 0


def test_an_empty_histogram_has_no_quantiles() -> None:
    empty = Histogram()
    assert (empty.n, empty.tail_count(0.5)) == (0, 0)
    assert math.isnan(empty.mean_s)
    assert math.isnan(empty.quantile(0.5))


def test_a_quantile_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"q is 99; it must be between 0 and 1"):
        Histogram.of([1]).quantile(99)


@given(samples)
def test_cdf_rises_to_one(values: list[int]) -> None:
    x_s, share = Histogram.of(values).cdf()
    assert (np.diff(x_s) > 0).all()
    assert (np.diff(share) > 0).all()
    assert share[-1] == pytest.approx(1)
    for x, s in zip(x_s, share, strict=True):
        assert np.mean(np.array(values) <= round(x * 1e9)) == pytest.approx(s)
