"""Caches of keys: a hash table whose entries form a list from the newest to the oldest.

A full cache evicts the oldest entry: the least recently used one, or the first that came where hits do not count as
use. An entry that has expired is removed when somebody asks for it, and evicted in its turn otherwise.
"""

from __future__ import annotations

import numpy as np

from model.engine import layout as c
from model.engine.decisions import hash64
from model.engine.layout import (
    CA_BUCKETS, CA_COUNT, CA_EVICTED, CA_EXPIRED, CA_FREE, CA_HITS, CA_MASK, CA_MISSES, CA_NEWEST, CA_OLDEST,
    CA_TOUCHED, CA_TTL_NS, V_CHAIN, V_EXPIRES_NS, V_KEY, V_NEWER, V_OLDER,
)  # fmt: skip
from model.engine.state import IntArray
from model.rng.compiled import subroutine

NO_SLOT = np.int64(-1)


@subroutine
def look_up(caches, slots, buckets, cache, key, now):  # type: ignore[no-untyped-def]
    """Whether the cache holds `key` at `now`; a hit makes it the newest again where use counts."""
    slot = _find(caches, slots, buckets, cache, key)
    if slot >= 0 and 0 < slots[slot, V_EXPIRES_NS] <= now:
        caches[cache, CA_EXPIRED] += 1
        _remove(caches, slots, buckets, cache, slot)
        slot = NO_SLOT
    if slot < 0:
        caches[cache, CA_MISSES] += 1
        return False
    caches[cache, CA_HITS] += 1
    if caches[cache, CA_TOUCHED] != 0:
        _unlink(caches, slots, cache, slot)
        _link_newest(caches, slots, cache, slot)
    return True


@subroutine
def store(caches, slots, buckets, cache, key, now):  # type: ignore[no-untyped-def]
    """Put `key` into the cache as its newest entry, evicting the oldest from a full one."""
    slot = _find(caches, slots, buckets, cache, key)
    if slot >= 0:
        _unlink(caches, slots, cache, slot)
    else:
        if caches[cache, CA_FREE] < 0:
            caches[cache, CA_EVICTED] += 1
            _remove(caches, slots, buckets, cache, caches[cache, CA_OLDEST])
        slot = caches[cache, CA_FREE]
        caches[cache, CA_FREE] = slots[slot, V_CHAIN]
        caches[cache, CA_COUNT] += 1
        bucket = _bucket(caches, cache, key)
        slots[slot, V_KEY] = key
        slots[slot, V_CHAIN] = buckets[bucket]
        buckets[bucket] = slot
    ttl = caches[cache, CA_TTL_NS]
    slots[slot, V_EXPIRES_NS] = now + ttl if ttl > 0 else 0
    _link_newest(caches, slots, cache, slot)


@subroutine
def forget(caches, slots, buckets, cache, key):  # type: ignore[no-untyped-def]
    """Remove `key`, if it is there: an invalidation."""
    slot = _find(caches, slots, buckets, cache, key)
    if slot >= 0:
        _remove(caches, slots, buckets, cache, slot)


@subroutine
def _bucket(caches, cache, key):  # type: ignore[no-untyped-def]
    return caches[cache, CA_BUCKETS] + (hash64(key) & caches[cache, CA_MASK])


@subroutine
def _find(caches, slots, buckets, cache, key):  # type: ignore[no-untyped-def]
    slot = buckets[_bucket(caches, cache, key)]
    while slot >= 0 and slots[slot, V_KEY] != key:
        slot = slots[slot, V_CHAIN]
    return slot


@subroutine
def _remove(caches, slots, buckets, cache, slot):  # type: ignore[no-untyped-def]
    bucket = _bucket(caches, cache, slots[slot, V_KEY])
    if buckets[bucket] == slot:
        buckets[bucket] = slots[slot, V_CHAIN]
    else:
        before = buckets[bucket]
        while slots[before, V_CHAIN] != slot:
            before = slots[before, V_CHAIN]
        slots[before, V_CHAIN] = slots[slot, V_CHAIN]
    _unlink(caches, slots, cache, slot)
    slots[slot, V_CHAIN] = caches[cache, CA_FREE]
    caches[cache, CA_FREE] = slot
    caches[cache, CA_COUNT] -= 1


@subroutine
def _unlink(caches, slots, cache, slot):  # type: ignore[no-untyped-def]
    newer, older = slots[slot, V_NEWER], slots[slot, V_OLDER]
    if newer >= 0:
        slots[newer, V_OLDER] = older
    else:
        caches[cache, CA_NEWEST] = older
    if older >= 0:
        slots[older, V_NEWER] = newer
    else:
        caches[cache, CA_OLDEST] = newer


@subroutine
def _link_newest(caches, slots, cache, slot):  # type: ignore[no-untyped-def]
    newest = caches[cache, CA_NEWEST]
    slots[slot, V_NEWER] = -1
    slots[slot, V_OLDER] = newest
    if newest >= 0:
        slots[newest, V_NEWER] = slot
    else:
        caches[cache, CA_OLDEST] = slot
    caches[cache, CA_NEWEST] = slot


def cache_tables(specs: list[tuple[int, int, bool]]) -> tuple[IntArray, IntArray, IntArray]:
    """Empty tables (caches, slots, buckets) for caches of (capacity, time to live in ns, use counts)."""
    caches = np.zeros((max(1, len(specs)), c.CACHE_COLUMNS), np.int64)
    slots, buckets = [np.zeros((0, c.SLOT_COLUMNS), np.int64)], 0
    first = 0
    for row, (capacity, ttl_ns, touched) in zip(caches, specs, strict=False):
        size = 1 << max(1, capacity.bit_length())
        row[[c.CA_FIRST, c.CA_CAPACITY, CA_BUCKETS, CA_MASK]] = first, capacity, buckets, size - 1
        row[[CA_NEWEST, CA_OLDEST, CA_FREE]] = -1, -1, first
        row[[CA_TTL_NS, CA_TOUCHED]] = ttl_ns, touched
        part = np.zeros((capacity, c.SLOT_COLUMNS), np.int64)
        part[:, V_CHAIN] = np.arange(first + 1, first + capacity + 1)
        part[-1, V_CHAIN] = -1
        slots.append(part)
        first, buckets = first + capacity, buckets + size
    return caches, np.concatenate(slots), np.full(max(1, buckets), -1, np.int64)
