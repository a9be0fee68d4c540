"""What is where: an LRU cache under independent requests, and consistent hashing with bounded loads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from model.analysis import queueing
from model.analysis.verification.bench import Bench, Check, IntArray
from model.analysis.verification.quantities import Quantity
from model.analysis.verification.sections import sectioned
from model.engine.plant import Eviction, Plant
from model.engine.program import Lookup, Store, delay, when
from model.policy import KEY_POST, assign_bounded, most_keys, ring_points, ring_positions
from model.rng import generator

CACHED_S, FETCH_S = 1e-6, 1e-6
CHE_IS_OFF = 0.01
"""Che's formula is an approximation: a percentage point is allowed (Fricker, Robert, Roberts 2012 found less)."""


def cache(capacity: int, evicts: Eviction = "lru") -> Plant:
    """A cache in front of something that takes FETCH_S more. Who misses stores at once, so that the requests are
    independent for the cache, as the formula wants."""
    plant = Plant()
    plant.cache("cache", capacity, evicts=evicts)
    plant.endpoints.append((delay(fixed_s=CACHED_S), Lookup("cache"), when((Store("cache"), delay(fixed_s=FETCH_S)))))
    return plant


def hit_ratio(bench: Bench, keys: int, capacity: int, exponent: float, evicts: Eviction = "lru") -> list[Quantity]:
    """The hit ratio under Zipf popularity."""
    popularity = queueing.zipf(keys, exponent)
    purpose = f"cache.{keys}.{capacity}.{exponent}"
    arrivals = bench.poisson(purpose, rate_per_s=1e4, requests=1_000_000, targets=popularity)
    residence_s = bench.measure(cache(capacity, evicts), arrivals).residence_s
    hits = (residence_s < CACHED_S + FETCH_S / 2).astype(np.float64)
    estimate, width = sectioned(hits, lambda part: float(part.mean()), bench.confidence)
    exact = queueing.che_hit_ratio(popularity, capacity)
    return [
        Quantity(
            name="hit ratio", unit="", exact=exact, estimate=estimate, half_width=width, largest_half_width=0.005,
            allowed=CHE_IS_OFF,
        )
    ]  # fmt: skip


SHARDS, KEYS_PER_SHARD, RINGS = 50, 200, 8


def _placed(positions: IntArray, owners: IntArray, most: int) -> tuple[IntArray, IntArray]:
    """The load of each shard, and the shard of each key."""
    loads, shards = [0] * SHARDS, [0] * len(positions)
    assign_bounded(positions.tolist(), owners.tolist(), most, loads, shards)
    return np.array(loads), np.array(shards)


def _bounded_loads(bench: Bench, epsilon: float, most_moved: float) -> list[Quantity]:
    """One point per shard, as in the paper: the loads would be most uneven without a bound."""
    keys = SHARDS * KEYS_PER_SHARD
    whole, fewer = most_keys(keys, SHARDS, epsilon), most_keys(keys, SHARDS - 1, epsilon)
    points, owners = ring_points(SHARDS, 1)
    fullest = 0
    moved = np.zeros((RINGS, SHARDS))
    for ring in range(RINGS):
        # Other keys instead of another ring: the ring's points are fixed.
        idents = generator(bench.seed, "verify.hashing", ring).integers(0, 1 << 40, keys)
        positions = ring_positions(KEY_POST, idents, points)
        loads, before = _placed(positions, owners.astype(np.int64), whole)
        fullest = max(fullest, int(loads.max()) - whole)
        for shard in range(SHARDS):
            left = owners != shard
            loads, after = _placed(ring_positions(KEY_POST, idents, points[left]), owners[left].astype(np.int64), fewer)
            fullest = max(fullest, int(loads.max()) - fewer)
            moved[ring, shard] = (before != after).sum() / KEYS_PER_SHARD
    return [
        Quantity(
            name="keys above the cap, fullest shard", unit="keys", exact=0.0, estimate=float(fullest), half_width=0.0,
            largest_half_width=0.0, relation="at most",
        ),
        Quantity(
            name="mean loads moved when a shard goes", unit="", exact=most_moved, estimate=float(moved.mean()),
            half_width=0.0, largest_half_width=0.0, relation="at most",
        ),
    ]  # fmt: skip


_CACHES: Sequence[tuple[int, int, float]] = ((10_000, 500, 0.8), (10_000, 100, 1.2), (1_000, 300, 1.0))
_EPSILONS = (0.25, 0.5)

STORAGE_CHECKS: tuple[Check, ...] = (
    *(
        Check(
            f"che-zipf{exponent:g}", f"LRU cache of {capacity} out of {keys} keys, Zipf {exponent:g}",
            "Che, Tung, Wang 2002", ("hit ratio",),
            partial(hit_ratio, keys=keys, capacity=capacity, exponent=exponent),
        )
        for keys, capacity, exponent in _CACHES
    ),
    *(
        Check(
            f"bounded-loads-{epsilon:g}", f"consistent hashing with loads bounded to {1 + epsilon:g} times the mean",
            "Mirrokni, Thorup, Zadimoghaddam 2018",
            ("keys above the cap, fullest shard", "mean loads moved when a shard goes"),
            # The paper's bound on the moves is of the order of 1 / epsilon^2; the constant is taken from below.
            partial(_bounded_loads, epsilon=epsilon, most_moved=2 / epsilon**2),
        )
        for epsilon in _EPSILONS
    ),
)  # fmt: skip
