"""Batch means and batch quantiles of one run: correlation is seen, and said where there is too much of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from model.analysis.batches import KEPT_BATCHES, batch_interval, run_interval, window_histograms
from model.analysis.precision import Figure
from model.rng import generator
from model.runs import Histogram
from tests.synthetic import latencies_ns, make_run

MEAN_NS = 1e7


def correlated(seed: int, n: int, phi: float) -> npt.NDArray[np.int64]:
    """An autoregressive series of the first order with mean 10 ms and standard deviation 1 ms, in steady state."""
    random = generator(seed, "test batches")
    shocks = random.normal(0.0, np.sqrt(1 - phi**2), n)
    values, _ = lfilter([1], [1, -phi], shocks, zi=[phi * random.normal()])
    return (MEAN_NS + 1e6 * values).astype(np.int64)


def parts(values: npt.NDArray[np.int64], count: int = 200) -> list[Histogram]:
    return [Histogram.of(part) for part in np.array_split(values, count)]


def test_intervals_of_a_correlated_series_cover() -> None:
    covered, naive = 0, 0
    for seed in range(100):
        values = correlated(seed, 20_000, 0.9)
        found = batch_interval(parts(values))
        covered += found.interval.covers(MEAN_NS / 1e9)
        assert 10 <= found.interval.sections <= KEPT_BATCHES
        naive += abs(values.mean() - MEAN_NS) < 1.96 * values.std() / np.sqrt(len(values))
    assert 88 <= covered <= 99, "95 % within the 99 % limits of 100 trials"
    assert naive < 50, "without regard to the correlation it would be far off"


def test_a_run_that_is_too_short_for_its_correlation_says_so() -> None:
    assert batch_interval(parts(correlated(1, 20_000, 0.5))).independent
    short = batch_interval(parts(correlated(1, 20_000, 0.9995)))
    assert not short.independent
    assert short.correlation > 0.3


def test_a_quantile_is_that_of_all_observations() -> None:
    values = correlated(3, 50_000, 0.5)
    found = batch_interval(parts(values), 0.99)
    assert found.interval.value == pytest.approx(np.quantile(values, 0.99) / 1e9, rel=0.01)
    assert found.interval.relative_half_width < 0.02
    assert found.interval.covers((MEAN_NS + 2.3263e6) / 1e9)


def test_the_windows_of_a_run_are_its_parts() -> None:
    run = make_run()
    windows = window_histograms(run, "home_timeline", range(5, 20))
    assert [histogram.n for histogram in windows] == [200] * 15
    assert sum(histogram.sum_ns for histogram in windows) == latencies_ns(20_000)[5_000::5].sum()
    lags = window_histograms(run, "delivery", range(5, 20))
    assert sum((histogram for histogram in lags), Histogram()).mean_s == pytest.approx(run.lag("delivery").mean_s)
    found = run_interval(run, Figure("mean", "home_timeline"))
    assert found.interval.value == run.latency("home_timeline").mean_s
    assert not found.independent, "15 windows are too few to see a correlation by"


def test_parts_without_observations_are_left_out() -> None:
    given = [histogram for part in parts(correlated(1, 4_000, 0.0), 40) for histogram in (part, Histogram())]
    assert batch_interval(given).interval == batch_interval(given[::2]).interval
    assert batch_interval([Histogram()]).interval.sections == 0
