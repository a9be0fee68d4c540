"""What a request costs as the platform grows: stations, keys and requests in flight, over four decades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.bench.load import poisson
from model.bench.reference_path import APIS, RATE_PER_S, SHARDS, reference_plant, run_engine

SCALES = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Of load, stations and keys, against the reference path with `KEYS` keys."""
KEYS = 10_000
REQUESTS = 200_000
FEWEST_RESIDENCES = 20
"""A run lasts at least so many residence times, so that what is in flight has settled."""


@dataclass(frozen=True)
class Point:
    """One size of the platform."""

    scale: float
    keys: int
    in_flight: float
    """Requests in flight in the mean, by Little's law."""
    ns_per_request: float


def measure(scale: float, repeats: int = 1) -> Point:
    """The quickest of `repeats` runs of one size: what disturbs a run only makes it slower."""
    rate_per_s = RATE_PER_S * scale
    keys = max(100, round(KEYS * scale))
    count = max(REQUESTS, round(FEWEST_RESIDENCES * 3.5e-3 * rate_per_s))
    # Keys alike: with Zipf's law the hottest one would saturate its station long before.
    load = poisson(count, rate_per_s=rate_per_s, keys=keys, zipf=False)
    apis, shards = max(2, round(APIS * scale)), max(2, round(SHARDS * scale))
    runs = [run_engine(reference_plant(apis, shards), load) for _ in range(repeats)]
    best = min(runs, key=lambda run: run.seconds)
    return Point(scale, keys, rate_per_s * best.mean_ms * 1e-3, 1e9 / best.rate_per_s)


def scaling(repeats: int = 3, scales: Sequence[float] = SCALES) -> list[dict[str, Any]]:
    """Every size, as rows of `Point`."""
    return [asdict(measure(scale, repeats)) for scale in scales]
