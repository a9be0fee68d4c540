"""How a check decides: the family's level, intervals by sections, verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.analysis.verification import CHECKS, CONFIDENCE, FAMILY_LEVEL, Quantity, chosen
from model.analysis.verification.networks import ROUTING, routes
from model.analysis.verification.sections import ratio, sectioned
from model.rng import generator
from model.spec import InputError


def test_the_level_is_that_of_the_whole_family() -> None:
    n = sum(len(check.quantities) for check in CHECKS)
    assert n * (1 - CONFIDENCE) == pytest.approx(1 - FAMILY_LEVEL)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_intervals_of_correlated_observations_cover() -> None:
    """An autoregression of mean 3, 300 times: a 90 % interval misses about 30 times, and one that took the
    observations for independent would miss most of the time."""
    misses = 0
    for repeat in range(300):
        noise = generator(1, "test sections", repeat).normal(size=20_000)
        values = np.empty_like(noise)
        state = 0.0
        for i, shock in enumerate(noise.tolist()):
            state = 0.9 * state + shock
            values[i] = state
        estimate, width = sectioned(values + 3, lambda part: float(part.mean()), 0.9)
        naive = 1.645 * values.std() / math.sqrt(len(values))
        assert width > 2 * naive
        misses += abs(estimate - 3) > width
    assert 15 <= misses <= 45


def test_a_ratio_is_of_sums_not_of_sections() -> None:
    estimate, width = ratio(np.array([1.0, 6.0]), np.array([1.0, 3.0]), 0.5)
    assert estimate == 7 / 4
    assert width == pytest.approx(math.sqrt(((1 - 7 / 4) ** 2 + (2 - 7 / 4) ** 2) / 2))  # t is 1 at 50 %, one degree


def quantity(**changes: object) -> Quantity:
    given = {
        "name": "mean", "unit": "s", "exact": 1.0, "estimate": 1.02, "half_width": 0.03, "largest_half_width": 0.05,
        **changes,
    }  # fmt: skip
    return Quantity(**given)  # type: ignore[arg-type]


def test_verdicts() -> None:
    assert quantity().verdict == "agrees"
    assert quantity(half_width=0.01).verdict == "differs"
    assert quantity(half_width=0.01, allowed=0.011).verdict == "agrees"
    assert quantity(estimate=0.98, half_width=0.01).verdict == "differs"
    assert quantity(half_width=0.06).verdict == "too noisy"
    assert quantity(half_width=math.nan).verdict == "differs"
    assert quantity(estimate=math.nan).verdict == "differs"
    assert quantity(relation="at most", estimate=0.5, half_width=0.0).verdict == "agrees"
    assert quantity(relation="at most", estimate=1.5, half_width=0.0).verdict == "differs"


def test_the_routes_are_those_of_the_routing_matrix() -> None:
    """Visits per customer, counted along the routes, are what the traffic equations give."""
    from model.analysis.queueing import traffic_per_s

    counted = np.zeros(3)
    for share, route in routes():
        np.add.at(counted, list(route), share)
    assert sum(share for share, _ in routes()) == pytest.approx(1, abs=1e-12)
    assert counted == pytest.approx(traffic_per_s((1.0, 0.0, 0.0), ROUTING), rel=1e-6)


def test_names() -> None:
    assert [check.name for check in chosen(["mva"])] == ["mva"]
    assert {check.name for check in chosen(["ps"])} == {"ps-constant", "ps-exponential", "ps-cv2", "ps-sizes"}
    assert chosen() == CHECKS
    with pytest.raises(InputError, match="check 'mm' is not defined; defined: mm1-fifo"):
        chosen(["mva", "mm"])
