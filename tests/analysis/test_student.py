"""Student's t without scipy, against scipy."""

from __future__ import annotations

import pytest
from scipy import stats

from model.analysis.student import t_cdf, t_quantile

LEVELS = (0.001, 0.025, 0.3, 0.5, 0.6, 0.9, 0.95, 0.975, 0.995, 0.9995, 0.99995)


@pytest.mark.parametrize("degrees", [1, 1.5, 2, 3, 4, 9, 19, 29, 100, 1_000, 100_000])
def test_quantiles_and_probabilities_are_those_of_scipy(degrees: float) -> None:
    for p in LEVELS:
        exact = float(stats.t.ppf(p, degrees))
        assert t_quantile(p, degrees) == pytest.approx(exact, rel=1e-9, abs=1e-12)
        assert t_cdf(exact, degrees) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize(("p", "degrees"), [(0.0, 5), (1.0, 5), (-0.1, 5), (float("nan"), 5), (0.5, 0.9)])
def test_what_is_no_probability_is_refused(p: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="it must be"):
        t_quantile(p, degrees)
