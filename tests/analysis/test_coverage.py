"""Nominal 95 % intervals cover the truth: a quick look always, the whole study where slow tests run."""

from __future__ import annotations

import math

import pytest

from tests.analysis.coverage import (
    BAND,
    HELD,
    LOADS,
    MACROS,
    SERVICE_S,
    WARMED_LOAD,
    one_macro,
    residence_ns,
    study,
    warmed_up,
)


def test_the_queue_starts_in_steady_state() -> None:
    """The first ten arrivals of many short runs wait as long as any others."""
    load, runs = 0.8, 4_000
    means = [residence_ns(load, 10, seed).mean() / 1e9 for seed in range(runs)]
    exact = SERVICE_S / (1 - load)
    error = math.sqrt(sum((mean - exact) ** 2 for mean in means)) / runs
    assert abs(sum(means) / runs - exact) < 3.3 * error
    assert error < 0.03 * exact


def test_macro_replications_are_independent_of_each_other_and_repeatable() -> None:
    assert one_macro(0.5, 3) == one_macro(0.5, 3)
    assert one_macro(0.5, 3) != one_macro(0.5, 4)


def test_intervals_cover_at_load_one_half() -> None:
    """40 uses of each method: at 95 %, fewer than 33 hits have a chance of 0.1 %."""
    for row in study(0.5, 40):
        if row.method in HELD:
            assert 33 / 40 <= row.coverage <= 1, row
            assert row.relative_half_width < 0.06, row


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("load", LOADS)
def test_coverage(load: float) -> None:
    """Every method, for the mean and the p99, over 1 000 macro-replications."""
    rows = [row for row in study(load, MACROS, threads=2) if row.method in HELD]
    assert len(rows) == 6
    assert [row.line() for row in rows if not BAND[0] <= row.coverage <= BAND[1]] == []


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_coverage_where_the_warm_up_has_to_be_found() -> None:
    """Replications that begin with a crowd, all cut at the longest warm-up of the first ten."""
    rows = study(WARMED_LOAD, MACROS, threads=2, use=warmed_up)
    assert len(rows) == 2
    assert [row.line() for row in rows if not BAND[0] <= row.coverage <= BAND[1]] == []
