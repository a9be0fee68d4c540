"""Service and waiting times as quantile tables: exact mean, explicit atoms, a parametric tail.

A table holds the quantiles at i/1024, read by linear interpolation, and the mean of the exponential tail that
replaces the last cell. Interpolation alone would cut the tail and shift E[S] and E[S^2]; so the tail's mean is the
conditional excess of the true distribution, and the whole is scaled to the exact mean.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from model.engine.layout import TABLE_POINTS, TABLE_STRIDE
from model.rng.compiled import inlined, unsigned
from model.spec.calibration import Wait

CELLS = TABLE_POINTS - 1
ONE = np.uint64(1)
FloatArray = npt.NDArray[np.float64]


@inlined
def table_value(tables, table, u):  # type: ignore[no-untyped-def]
    """The quantile at `u` in (0, 1) of row `table` of `tables` [n, TABLE_STRIDE]."""
    x = u * 1024.0
    i = unsigned(int(x))
    if i >= 1023:
        left = (1.0 - u) * 1024.0
        return tables[table, 1023] - tables[table, 1025] * math.log(left)
    f = x - np.float64(int(x))
    return tables[table, i] * (1.0 - f) + tables[table, i + ONE] * f


def lognormal_from_mean_cv(mean: float, cv: float) -> FloatArray:
    """Table of a lognormal with this mean and coefficient of variation; `cv` 0 is a constant."""
    if not (math.isfinite(mean) and mean >= 0 and math.isfinite(cv) and cv >= 0):
        raise ValueError(f"lognormal_from_mean_cv: mean {mean!r} and cv {cv!r} must be finite and not negative")
    if cv == 0 or mean == 0:
        return constant(mean)
    sigma = math.sqrt(math.log1p(cv * cv))
    mu = math.log(mean) - sigma * sigma / 2
    normal = NormalDist()
    inner = [math.exp(mu + sigma * normal.inv_cdf(i / CELLS)) for i in range(1, CELLS)]
    last = inner[-1]
    # E[X; X > q] of a lognormal in closed form gives the mean excess over the last inner quantile.
    upper_mean = mean * normal.cdf(sigma - normal.inv_cdf(1 - 1 / CELLS)) * CELLS
    return _scaled(np.array([0.0, *inner, last, upper_mean - last]), mean)


def exponential_from_mean(mean: float) -> FloatArray:
    """Table of an exponential with this mean."""
    inner = -mean * np.log1p(-np.arange(CELLS) / CELLS)
    return _scaled(np.array([*inner, inner[-1], mean]), mean)


def constant(value: float) -> FloatArray:
    """Table of one atom."""
    return np.array([*np.full(TABLE_POINTS, value), 0.0])


def from_wait(wait: Wait) -> FloatArray:
    """Table of a calibrated wait, in nanoseconds."""
    grid = np.arange(TABLE_POINTS) / CELLS
    points = np.interp(grid, wait.probabilities, wait.quantiles_s)
    # Within the last cell the exponential stands for the data's own tail.
    tail = wait.tail_mean_s if wait.tail_mean_s > 0 else max(0.0, (points[-1] - points[-2]) / 2)
    return np.array([*points, tail]) * 1e9


def table_mean(table: FloatArray) -> float:
    """Exact mean of the interpolated table with its tail."""
    body = (table[: CELLS - 1] + table[1:CELLS]).sum() / 2
    return float((body + table[CELLS - 1] + table[TABLE_POINTS]) / CELLS)


def table_second_moment(table: FloatArray) -> float:
    """Exact E[X^2] of the interpolated table with its tail: uniform within a cell, exponential behind the last."""
    low, high = table[: CELLS - 1], table[1:CELLS]
    last, tail = table[CELLS - 1], table[TABLE_POINTS]
    body = ((low * low + low * high + high * high) / 3).sum()
    return float((body + last * last + 2 * last * tail + 2 * tail * tail) / CELLS)


def table_cv(table: FloatArray) -> float:
    """Exact coefficient of variation of the table, which is not quite that of the law it stands for."""
    return math.sqrt(max(0.0, table_second_moment(table) / table_mean(table) ** 2 - 1))


def _scaled(table: FloatArray, mean: float) -> FloatArray:
    assert table.size == TABLE_STRIDE
    return table * (mean / table_mean(table))
