"""What knows keys: caches, rate limiters, and who is fetching what."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import simpy

from tests.reference.jobs import Job


class Cache:
    """Entries of one size, from the oldest to the newest."""

    def __init__(self, capacity: int, ttl_ns: int, *, use_counts: bool) -> None:
        self.capacity, self.ttl_ns, self.use_counts = capacity, ttl_ns, use_counts
        self.expires_ns: OrderedDict[int, float] = OrderedDict()
        self.hits = self.misses = self.evicted = self.expired = 0

    def holds(self, key: int, now_ns: int) -> bool:
        """Whether it holds `key`; that is a use."""
        if self.expires_ns.get(key, float("inf")) <= now_ns:
            del self.expires_ns[key]
            self.expired += 1
        if key not in self.expires_ns:
            self.misses += 1
            return False
        self.hits += 1
        if self.use_counts:
            self.expires_ns.move_to_end(key)
        return True

    def store(self, key: int, now_ns: int) -> None:
        """Hold `key` as the newest, at the cost of the oldest."""
        if key not in self.expires_ns and len(self.expires_ns) == self.capacity:
            self.expires_ns.popitem(last=False)
            self.evicted += 1
        self.expires_ns[key] = now_ns + self.ttl_ns if self.ttl_ns else float("inf")
        self.expires_ns.move_to_end(key)

    def forget(self, key: int) -> None:
        self.expires_ns.pop(key, None)


class Limiter:
    """Token buckets, filled continuously: credit counts in ns, and a token costs one period."""

    def __init__(self, period_ns: int, tolerance_ns: int, keys: int) -> None:
        self.period_ns, self.keys = period_ns, keys
        self.full_ns = tolerance_ns + period_ns
        self.credit_ns = [self.full_ns] * keys
        self.looked_ns = [0] * keys
        self.refused = 0

    def admits(self, key: int, now_ns: int) -> bool:
        """Take a token, if there is one."""
        bucket = key % self.keys
        credit_ns = min(self.full_ns, self.credit_ns[bucket] + now_ns - self.looked_ns[bucket])
        admitted = credit_ns >= self.period_ns
        self.credit_ns[bucket] = credit_ns - self.period_ns if admitted else credit_ns
        self.looked_ns[bucket] = now_ns
        self.refused += not admitted
        return admitted


@dataclass(eq=False)
class Passenger:
    """Who waits for an answer that another is fetching."""

    job: Job
    place: int
    since_ns: int
    landed: simpy.Event
