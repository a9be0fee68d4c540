"""An open load for any platform: Poisson arrivals per endpoint, with users and targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.rng import generator
from model.spec import InputError

BLOCK_S = 1.0
MOST_RATE_PER_S = 1e7
"""All endpoints together: the requests of a block are held at once, some 100 bytes each."""
MOST_TARGETS = 100_000_000
"""A target's popularity takes 8 bytes."""


@dataclass(frozen=True)
class Block:
    """The requests of one second: int64 [n] each."""

    ordinal: int
    time_ns: npt.NDArray[np.int64]
    endpoint: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]


@dataclass(frozen=True)
class OpenLoad:
    """Requests per second by endpoint; users are 0 .. `users` - 1, targets 1 .. `targets`, of which the k-th is asked
    for with probability ~ k^-`zipf`.

    Raises InputError for rates or sizes that make no sense.
    """

    rates_per_s: Mapping[str, float]
    users: int = 1_000
    targets: int = 1_000
    zipf: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in self.rates_per_s.items():
            if not (np.isfinite(rate) and rate >= 0):
                raise InputError(f"rates_per_s[{name!r}] is {rate}; it must be finite and not negative")
        if not any(self.rates_per_s.values()):
            raise InputError("rates_per_s: at least one rate must be positive")
        if sum(self.rates_per_s.values()) > MOST_RATE_PER_S:
            raise InputError(f"rates_per_s: all together must be at most {MOST_RATE_PER_S:g}")
        if self.users < 1 or self.targets < 1 or not 0 <= self.zipf < np.inf:
            raise InputError(f"users is {self.users}, targets {self.targets}, zipf {self.zipf}; at least 1, 1 and 0")
        if self.targets > MOST_TARGETS:
            needed = self.targets * 8 / 2**30
            raise InputError(
                f"targets is {self.targets}, which needs {needed:.1f} GiB; at most {MOST_TARGETS} are possible"
            )

    def blocks(self, endpoints: Sequence[str], seed: int, duration_s: float) -> Iterator[Block]:
        """The requests, second by second; each second draws from a stream of its own.

        Raises InputError for a rate of an endpoint that is not there.
        """
        for name in self.rates_per_s:
            if name not in endpoints:
                raise InputError(f"rates_per_s[{name!r}]: no such endpoint; defined: {', '.join(endpoints)}")
        rates = np.array([self.rates_per_s.get(name, 0.0) for name in endpoints])
        popularity = np.cumsum(np.arange(1, self.targets + 1, dtype=float) ** -self.zipf)
        ordinal = 0
        for second in range(int(np.ceil(duration_s / BLOCK_S))):
            random = generator(seed, "open load", second)
            length_s = min(BLOCK_S, duration_s - second * BLOCK_S)
            count = random.poisson(rates.sum() * length_s)
            times = np.sort(random.random(count)) * length_s + second * BLOCK_S
            kinds = random.choice(len(rates), count, p=rates / rates.sum())
            users = random.integers(0, self.users, count)
            targets = 1 + np.searchsorted(popularity, random.random(count) * popularity[-1])
            yield Block(ordinal, (times * 1e9).astype(np.int64), kinds.astype(np.int64), users, targets)
            ordinal += count
