"""Arrival blocks for engine tests: given instants, or Poisson ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.rng.streams import generator


@dataclass(frozen=True)
class Arrivals:
    """One block of requests of endpoint 0."""

    ordinal: int
    time_ns: npt.NDArray[np.int64]
    endpoint: npt.NDArray[Any]
    user: npt.NDArray[Any]
    target: npt.NDArray[np.int64]


def at(times_ns: npt.ArrayLike, ordinal: int = 0, users: int = 1) -> Arrivals:
    """Requests at the given instants; user i is ordinal modulo `users`."""
    times = np.asarray(times_ns, np.int64)
    zeros = np.zeros(len(times), np.int64)
    return Arrivals(ordinal, times, zeros, (ordinal + np.arange(len(times))) % users, zeros)


def poisson(seed: int, rate_per_s: float, count: int, block: int = 50_000, users: int = 1) -> Iterator[Arrivals]:
    """`count` Poisson arrivals in blocks."""
    random = generator(seed, "test arrivals")
    last = 0
    for ordinal in range(0, count, block):
        gaps = random.exponential(1e9 / rate_per_s, min(block, count - ordinal))
        times = last + np.cumsum(np.maximum(1, gaps)).astype(np.int64)
        last = int(times[-1])
        yield at(times, ordinal, users)
