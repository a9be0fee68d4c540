"""Student's t distribution without scipy, which the core install does not bring."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_CONVERGED = 1e-15
_MOST_TERMS = 10_000


@lru_cache(maxsize=4096)
def t_quantile(p: float, degrees: float) -> float:
    """The p-quantile of Student's t with so many `degrees` of freedom (at least 1), to about ten digits.

    Newton's method on the distribution function from the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5),
    kept inside a bracket. Raises ValueError unless 0 < p < 1 and degrees >= 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p is {p}; it must be between 0 and 1, both excluded")
    if not degrees >= 1:
        raise ValueError(f"degrees is {degrees}; it must be at least 1")
    if p == 0.5:
        return 0.0
    if p < 0.5:
        return -t_quantile(1 - p, degrees)
    z = NormalDist().inv_cdf(p)
    x = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    low, high = 0.0, max(2 * x, 1.0)
    while t_cdf(high, degrees) < p:
        high *= 2
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    for _ in range(200):
        error = t_cdf(x, degrees) - p
        low, high = (low, x) if error > 0 else (x, high)
        density = math.exp(log_scale - (degrees + 1) / 2 * math.log1p(x * x / degrees))
        following = x - error / density
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - x) <= 1e-13 * max(1.0, x):
            return following
        x = following
    return x


def t_cdf(x: float, degrees: float) -> float:
    """P(T <= x) for Student's t, by the incomplete beta function."""
    tail = 0.5 * _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + x * x))
    return 1 - tail if x > 0 else tail


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by the continued fraction of Abramowitz and Stegun 26.5.8,
    evaluated as Lentz does."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, its mirror image converges quickly
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = denominator
    for m in range(1, _MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            denominator = 1 / _not_zero(1 + term * denominator)
            numerator = _not_zero(1 + term / numerator)
            change = numerator * denominator
            fraction *= change
        if abs(change - 1) < _CONVERGED:
            break
    return front * fraction / a


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
