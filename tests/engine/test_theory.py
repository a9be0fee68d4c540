"""The compiled data plane against closed forms: the checks of `feedtwin verify`, and that they find what is wrong."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from model.analysis import queueing
from model.analysis.verification import CHECKS, CONFIDENCE, verify
from model.analysis.verification.bench import Bench
from model.analysis.verification.stations import exponential_is_off
from model.analysis.verification.storage import hit_ratio
from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.plant import Plant
from model.engine.program import delay
from model.engine.tables import CELLS, exponential_from_mean, lognormal_from_mean_cv, table_mean, table_second_moment
from model.spec import InputError

TIMELESS = ("little", "che", "bounded")
"""Checks of what does not depend on how long a service takes."""
NAMES = [check.name for check in CHECKS]


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_agrees_with_theory(name: str) -> None:
    (result,) = verify([name])
    assert result.passed, [quantity.document() for quantity in result.quantities]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(TIMELESS)])
def test_services_that_take_3_percent_longer_are_found(name: str) -> None:
    def slower(plane: DataPlane) -> None:
        for station, kind in enumerate(plane.state.stations[:, c.S_KIND]):
            if kind in (c.K_FIFO, c.K_LOOP, c.K_MULTI):
                plane.slow_down(station, 1.03)

    (result,) = verify([name], disturb=slower)
    assert "differs" in [quantity.verdict for quantity in result.quantities]


def test_a_core_that_is_not_shared_is_found() -> None:
    def first_come(plane: DataPlane) -> None:
        plane.state.hosts[:, c.H_SHARED] = 0
        plane.state.hosts[:, c.H_FREE] = plane.state.hosts[:, c.H_CORES]

    for result in verify(["ps-cv2", "ps-sizes"], disturb=first_come):
        assert all(quantity.estimate > 1.2 * quantity.exact for quantity in result.quantities[:1])
        assert not result.passed


def test_a_cache_that_evicts_first_in_first_out_is_found() -> None:
    bench = Bench(CONFIDENCE)
    shape = {"keys": 10_000, "capacity": 500, "exponent": 0.8}
    (lru,) = hit_ratio(bench, **shape, evicts="lru")  # type: ignore[arg-type]
    (fifo,) = hit_ratio(bench, **shape, evicts="fifo")  # type: ignore[arg-type]
    assert (lru.verdict, fifo.verdict) == ("agrees", "differs")


def test_a_request_that_is_counted_and_not_there_breaks_littles_law() -> None:
    def phantom(plane: DataPlane) -> None:
        plane.state.x[c.X_IN_FLIGHT] += 1

    (result,) = verify(["little"], disturb=phantom)
    verdicts = {quantity.name: quantity.verdict for quantity in result.quantities}
    assert verdicts.pop("number, whole") == "differs"
    assert set(verdicts.values()) == {"agrees"}


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("p", [0.95, 0.99])
def test_what_is_allowed_for_the_table_of_an_exponential_is_enough(load: float, p: float) -> None:
    """The quantiles of M/G/1 with the table's own law, from its transform, differ from those of M/M/1 by less."""
    exact = queueing.mm1_quantile_s(p, rate_per_s=load, service_s=1.0)
    allowed = exponential_is_off(exact)
    assert _mg1_survival(load, exact, _exponential) == pytest.approx(1 - p, rel=1e-7)  # so much for the inversion
    below, above = (_mg1_survival(load, exact + side * allowed, _tabulated) for side in (-1, 1))
    assert above < 1 - p < below


def _exponential(s: complex) -> complex:
    return 1 / (1 + s)


def _tabulated(s: complex) -> complex:
    """Transform of the table of an exponential of mean 1."""
    table = exponential_from_mean(1.0)
    low, high, last, tail = table[: CELLS - 1], table[1:CELLS], table[CELLS - 1], table[-1]
    cells = ((np.exp(-s * low) - np.exp(-s * high)) / (s * (high - low))).sum()
    return complex((cells + cmath.exp(-s * last) / (1 + s * tail)) / CELLS)


def _mg1_survival(load: float, time: float, transform: Callable[[complex], complex]) -> float:
    """P(residence > time) of M/G/1 first come first served, for a service of mean 1 with this transform.

    Pollaczek and Khinchine's transform, inverted by Euler summation (Abate and Whitt 1995).
    """

    def survival(s: complex) -> complex:
        service = transform(s)
        residence = (1 - load) * s * service / (s - load * (1 - service))
        return complex((1 - residence) / s)

    terms, averaged, accuracy = 60, 12, 20.0
    half = accuracy / (2 * time)
    total = survival(complex(half)).real / 2
    partial = []
    for k in range(1, terms + averaged + 1):
        total += (-1) ** k * survival(complex(half, k * math.pi / time)).real
        if k >= terms:
            partial.append(total)
    weights = [math.comb(averaged, k) / 2**averaged for k in range(averaged + 1)]
    averages = sum(w * part for w, part in zip(weights, partial, strict=True))
    return float(math.exp(accuracy / 2) / time * averages)


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_lognormal_table_moments(cv: float) -> None:
    """What is drawn has the table's own moments, whose mean is exact and whose p99 is the lognormal's."""
    table = lognormal_from_mean_cv(1e6, cv)
    plant = Plant()
    plant.wait("wait", table)
    plant.endpoints.append((delay("wait"),))
    bench = Bench(CONFIDENCE)
    values = bench.measure(plant, bench.poisson("moments", rate_per_s=1000.0, requests=1_000_000)).residence_s
    assert table_mean(table) == pytest.approx(1e6, rel=1e-12)
    _within(values, 1e-3)
    _within(values**2, table_second_moment(table) / 1e18)
    law = stats.lognorm(math.sqrt(math.log1p(cv**2)), scale=1e-3 / math.sqrt(1 + cv**2))
    assert np.quantile(values, 0.99) == pytest.approx(law.ppf(0.99), rel=0.03)


def _within(values: npt.NDArray[np.float64], exact: float) -> None:
    """Independent draws: their mean is within five standard errors."""
    assert abs(values.mean() - exact) < 5 * values.std() / math.sqrt(len(values))


def test_an_exponential_step_says_what_its_cv_may_be() -> None:
    plant = Plant()
    plant.step("work", 1.0, law="exponential")
    plant.step("same", 2.0, cv=1.0, law="exponential")
    assert plant.costs[0][2] == plant.costs[1][2]
    with pytest.raises(InputError, match="step odd: cv is 2; that of an exponential is 1"):
        plant.step("odd", 1.0, cv=2.0, law="exponential")
    with pytest.raises(InputError, match="step odd: law is 'gamma'; allowed: lognormal, exponential"):
        plant.step("odd", 1.0, law="gamma")  # type: ignore[arg-type]
