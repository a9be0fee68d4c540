"""Quantile ratios of paired slices, with block-bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.rng import generator

RESAMPLES = 2_000
LEVEL = 0.98
"""Coverage of an interval: its lower bound is too high by chance once in a hundred."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """candidate / base of one quantile, with its bootstrap interval; `n` is the smaller side's observations."""

    ratio: float
    low: float
    high: float
    base: float
    candidate: float
    n: int


def quantile_ratio(
    base: Sequence[Values], candidate: Sequence[Values], q: float, *, seed: int, resamples: int = RESAMPLES
) -> Ratio:
    """The ratio of quantile `q` of all values of `candidate` to that of `base`.

    Both are lists of slices, slice i of either having served the same requests. Requests within a slice depend on each
    other (queues, warm caches), so the bootstrap draws whole slices, the same ones on both sides (a paired block
    bootstrap, Künsch 1989 with the blocks given).
    """
    rng = generator(seed, "regress.bootstrap")
    picks = rng.multinomial(len(base), np.full(len(base), 1 / len(base)), size=resamples)
    resampled = [_quantiles(side, picks, q) for side in (candidate, base)]
    once = np.ones((1, len(base)), np.int64)
    at = [float(_quantiles(side, once, q)[0]) for side in (base, candidate)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = resampled[0] / resampled[1]
    ratios = ratios[np.isfinite(ratios)]
    low, high = np.quantile(ratios, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    n = min(sum(map(len, base)), sum(map(len, candidate)))
    return Ratio(at[1] / at[0], float(low), float(high), at[0], at[1], n)


def _quantiles(slices: Sequence[Values], picks: NDArray[np.int64], q: float) -> Values:
    """The quantile of each resample: the smallest value below which the share `q` of its weight lies.

    `picks` [resamples, slices] says how often each slice was drawn.
    """
    values = np.concatenate(slices)
    owner = np.repeat(np.arange(len(slices)), [len(part) for part in slices])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    found = np.full(len(picks), np.nan)
    for row, pick in enumerate(picks):
        weight = np.cumsum(pick[owner])
        if len(weight) and weight[-1]:
            found[row] = values[np.searchsorted(weight, q * weight[-1])]
    return found
