"""What a request costs as a platform grows: load, servers, keys and requests in flight, over four decades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.bench.load import poisson
from model.bench.reference_path import reference_plant, run_engine

SCALES = (1, 10, 100, 1_000, 10_000)
"""Servers at each station of the reference path; load and keys grow with them."""
RATE_PER_S = 2_000.0
"""Of one server at each: a tenth of the reference path's."""
KEYS = 1_000
REQUESTS = 200_000
FEWEST_RESIDENCES = 20
"""A run lasts at least so many residence times, so that what is in flight has settled."""


@dataclass(frozen=True)
class Point:
    """One size of the platform."""

    servers: int
    keys: int
    in_flight: float
    """Requests in flight in the mean, by Little's law."""
    ns_per_request: float


def measure(servers: int, repeats: int = 1) -> Point:
    """The quickest of `repeats` runs of one size: what disturbs a run only makes it slower."""
    rate_per_s = RATE_PER_S * servers
    keys = KEYS * servers
    count = max(REQUESTS, round(FEWEST_RESIDENCES * 3.5e-3 * rate_per_s))
    # Keys alike: with Zipf's law the hottest one would saturate its station long before.
    load = poisson(count, rate_per_s=rate_per_s, keys=keys, zipf=False)
    runs = [run_engine(reference_plant(servers), load) for _ in range(repeats)]
    best = min(runs, key=lambda run: run.seconds)
    return Point(servers, keys, rate_per_s * best.mean_ms * 1e-3, 1e9 / best.rate_per_s)


def scaling(repeats: int = 3, scales: Sequence[int] = SCALES) -> list[dict[str, Any]]:
    """Every size, as rows of `Point`."""
    return [asdict(measure(servers, repeats)) for servers in scales]
