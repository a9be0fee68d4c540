"""Requests for the benchmarks: Poisson arrivals, with keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from model.rng import generator

BLOCK = 1 << 16


@dataclass(frozen=True)
class Requests:
    """Arrivals, int64 [n] each; as blocks they are what a DataPlane reads."""

    ordinal: int
    time_ns: npt.NDArray[np.int64]
    endpoint: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time_ns)

    def part(self, first: int, end: int) -> Requests:
        """Requests `first` to `end` - 1."""
        columns = (self.time_ns, self.endpoint, self.user, self.target)
        return Requests(self.ordinal + first, *(column[first:end] for column in columns))

    def blocks(self) -> Iterator[Requests]:
        """The same in blocks."""
        for first in range(0, len(self), BLOCK):
            yield self.part(first, first + BLOCK)


@lru_cache(maxsize=4)
def poisson(count: int, *, rate_per_s: float, keys: int, zipf: bool = True, seed: int = 1) -> Requests:
    """`count` Poisson arrivals at `rate_per_s`; user and target are one of `keys` keys, of probability ~ 1 / key or,
    without `zipf`, all of the same."""
    random = generator(seed, "benchmark")
    times = np.cumsum(random.exponential(1e9 / rate_per_s, count)).astype(np.int64)
    if zipf:
        weights = np.cumsum(1.0 / np.arange(1, keys + 1))
        drawn = (1 + np.searchsorted(weights, random.random(count) * weights[-1])).astype(np.int64)
    else:
        drawn = random.integers(1, keys + 1, count)
    return Requests(0, times, np.zeros(count, np.int64), drawn, drawn)
