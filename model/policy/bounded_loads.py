"""Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA'18).

No shard takes more than ``ceil((1 + epsilon) * mean)`` keys: a key whose shard is full goes on along the ring to the
first one that has room. The smaller epsilon is, the more even are the loads, and the more keys move when a shard goes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

_ROUNDING = 1e-9


def most_keys(keys: int, shards: int, epsilon: float) -> int:
    """How many of `keys` keys one of `shards` shards may take: ``ceil((1 + epsilon) * keys / shards)``."""
    # Without the slack 1.1 * 100 / 10 would be 11.000000000000002, and its ceiling 12.
    return math.ceil((1 + epsilon) * keys / shards * (1 - _ROUNDING))


def assign_bounded(
    positions: Sequence[int],
    owners: Sequence[int],
    most: int,
    loads: MutableSequence[int],
    shards: MutableSequence[int],
) -> None:
    """Give each key a shard, in the order of the keys, and count it.

    `positions` holds for each key the index of its point on the ring (see `model.policy.ring_positions`), `owners`
    the shard of each point. `loads` (per shard, changed) are the keys that the shards have; `shards` (per key, written)
    is the answer: the owner of the first point from the key's own on, round the end, with less than `most`; -1 where
    all are full.
    """
    points = len(owners)
    for key in range(len(positions)):
        point = positions[key]
        left = points
        while left > 0 and loads[owners[point]] >= most:
            left -= 1
            point += 1
            if point == points:
                point = 0
        if left > 0:
            loads[owners[point]] += 1
            shards[key] = owners[point]
        else:
            shards[key] = -1
