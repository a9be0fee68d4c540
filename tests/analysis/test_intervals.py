"""Intervals from replications, against scipy and against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from model.analysis.intervals import Interval, Sections, mean_interval
from model.rng import generator
from model.runs import Histogram
from model.spec import InputError


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_mean_has_students_interval(confidence: float) -> None:
    values = generator(1, "test intervals").normal(3.0, 0.5, 12)
    low, high = stats.t.interval(confidence, 11, values.mean(), stats.sem(values))
    interval = mean_interval(values, confidence)
    assert [interval.low, interval.high] == pytest.approx([low, high])
    assert interval.sections == 12
    assert interval.covers(float(values.mean()))
    assert not interval.covers(high + 0.01)


def test_sections_of_unequal_size_are_weighted() -> None:
    """The mean of all observations, with the spread of a ratio (Cochran 1977, 6.4)."""
    sections = Sections()
    for values in ([1, 1, 1, 1], [2, 2], [3, 3, 3]):
        sections.add(Histogram.of(np.array(values) * 10**9))
    interval = sections.interval()
    assert interval is not None
    assert interval.value == pytest.approx(17 / 9)
    apart = np.array([4 - 4 * 17 / 9, 4 - 2 * 17 / 9, 9 - 3 * 17 / 9]) / 3
    assert interval.half_width == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt((apart @ apart) / 2 / 3))


def test_a_quantile_is_read_back_from_the_share_below_it() -> None:
    random = generator(3, "test intervals")
    parts = [random.exponential(1e6, 1_000).astype(np.int64) for _ in range(8)]
    sections = Sections(0.95)
    for part in parts:
        sections.add(Histogram.of(part))
    interval = sections.interval(0.99)
    assert interval is not None
    estimate = np.quantile(np.concatenate(parts), 0.95)
    around = stats.t.ppf(0.995, 7) * stats.sem([(part <= estimate).mean() for part in parts])
    low, high = np.quantile(np.concatenate(parts), [0.95 - around, 0.95 + around]) / 1e9
    assert [interval.low, interval.high] == pytest.approx([low, high], rel=1e-2)
    assert interval.high - interval.value > interval.value - interval.low
    assert interval.half_width == interval.high - interval.value


def test_a_bound_that_the_observations_do_not_reach_is_infinite() -> None:
    sections = Sections(0.99)
    for scale in (1, 1, 30):
        sections.add(Histogram.of(generator(scale, "test intervals").exponential(1e6 * scale, 10_000).astype(np.int64)))
    interval = sections.interval()
    assert interval is not None
    assert interval.high == math.inf
    assert math.isinf(interval.half_width)


def test_sections_are_pooled() -> None:
    random = generator(2, "test intervals")
    parts = [random.exponential(1e6, n).astype(np.int64) for n in (4_000, 6_000, 5_000)]
    sections = Sections(0.99)
    sections.add(Histogram.of(parts[0]))
    assert sections.interval() is None, "40 observations beyond the quantile are too few"
    sections.add(Histogram())
    for part in parts[1:]:
        sections.add(Histogram.of(part))
    interval = sections.interval()
    assert interval is not None
    assert interval.sections == 3
    assert interval.value == pytest.approx(np.quantile(np.concatenate(parts), 0.99) / 1e9, rel=0.01)


def test_too_little_is_said_to_be_too_little() -> None:
    assert math.isinf(mean_interval([1.0]).half_width)
    assert math.isinf(mean_interval([1.0]).relative_half_width)
    assert Sections().interval() is None
    assert Interval(0.0, -1.0, 1.0, 0.95, 5).relative_half_width == math.inf
    assert Interval(0.0, 0.0, 0.0, 0.95, 5).relative_half_width == 0
    with pytest.raises(InputError, match="confidence is 95; it must be between 0 and 1"):
        mean_interval([1.0, 2.0], 95)
