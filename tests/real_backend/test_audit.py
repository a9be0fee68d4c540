"""The audit against states made by hand: it must see what is missing, trimmed, twice or lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import psycopg
import pytest
import redis

from model.policy.sharding import KEY_HOT, KEY_TIMELINE, key_hash, ring_points, shard_of
from model.spec.seed_tables import SeedTables
from real_backend.audit import AuditResult, audit
from real_backend.keys import hot_posts_key, timeline_key
from real_backend.stack import Stack

NEW = 3
"""Posts that the author writes."""


class State:
    """New posts of one pushed author, and the timelines of his followers as the test wants them."""

    def __init__(self, stores: Stack, seed: SeedTables, *, pulled: bool = False) -> None:
        self._stores = stores
        self._seed = seed
        self.cap = stores.config.timeline_cap
        counts = np.diff(seed.follower_offsets)
        self.author = int(min(np.flatnonzero((seed.hot == pulled) & (counts > 4)), key=lambda a: int(counts[a])))
        followers = seed.followers[seed.follower_offsets[self.author] : seed.follower_offsets[self.author + 1]]
        self.followers = [int(follower) for follower in followers]
        self.posts = [seed.posts + 1 + i for i in range(NEW)]
        with psycopg.connect(stores.urls.postgres) as connection:
            for post in self.posts:
                connection.execute("INSERT INTO posts (id, author_id, body) VALUES (%s, %s, '')", (post, self.author))
        ring = ring_points(len(stores.urls.redis), stores.config.virtual_nodes)
        self._points, self._owners = (array.tolist() for array in ring)
        for user in self.followers:
            self.store(user, [])

    def store(self, user: int, entries: list[int] | None) -> None:
        """Make a follower's timeline these entries, or take it away."""
        self._write(KEY_TIMELINE, user, timeline_key(user), entries)

    def store_hot(self, entries: list[int] | None) -> None:
        self._write(KEY_HOT, self.author, hot_posts_key(self.author), entries)

    def audit(self) -> AuditResult:
        config = self._stores.config
        return audit(config.postgres_url, config.redis_urls, config, since_post_id=self._seed.posts)

    def _write(self, kind: int, ident: int, key: str, entries: list[int] | None) -> None:
        shard = shard_of(key_hash(kind, ident), self._points, self._owners)
        with redis.Redis.from_url(self._stores.urls.redis[shard]) as client:
            client.delete(key)
            if entries is not None:
                client.rpush(key, *entries, *([0] if len(entries) < self.cap else []))


@pytest.fixture
def state(stores: Stack, small_seed: SeedTables) -> Iterator[State]:
    stores.reset(small_seed)
    yield State(stores, small_seed)
    stores.reset(small_seed)


def _counts(result: AuditResult) -> Mapping[str, int]:
    return {
        "expected": result.deliveries_expected,
        "present": result.deliveries_present,
        "trimmed": result.deliveries_trimmed,
        "missing": result.deliveries_missing,
        "duplicate": result.deliveries_duplicate,
        "lost": result.posts_lost,
    }


def test_everything_in_place(state: State) -> None:
    for user in state.followers:
        state.store(user, state.posts[::-1])
    result = state.audit()
    pairs = NEW * len(state.followers)
    assert _counts(result) == {
        "expected": pairs, "present": pairs, "trimmed": 0, "missing": 0, "duplicate": 0, "lost": 0
    }  # fmt: skip
    assert result.complete
    assert result.posts_created == NEW


def test_a_timeline_that_is_not_there_expects_nothing(state: State) -> None:
    for user in state.followers:
        state.store(user, None)
    assert set(_counts(state.audit()).values()) == {0}
    assert state.audit().complete


def test_one_pair_is_missing(state: State) -> None:
    for user in state.followers:
        state.store(user, state.posts[::-1])
    state.store(state.followers[0], [state.posts[2], state.posts[0]])
    result = state.audit()
    assert (result.deliveries_missing, result.posts_lost, result.complete) == (1, 0, False)


def test_a_post_that_nobody_has_is_lost(state: State) -> None:
    for user in state.followers:
        state.store(user, [state.posts[2], state.posts[0]])
    result = state.audit()
    assert (result.deliveries_missing, result.posts_lost, result.complete) == (len(state.followers), 1, False)


def test_a_post_twice_in_a_timeline_is_a_duplicate(state: State) -> None:
    for user in state.followers:
        state.store(user, state.posts[::-1])
    state.store(state.followers[0], [state.posts[2], *state.posts[::-1]])
    result = state.audit()
    assert (result.deliveries_duplicate, result.deliveries_missing, result.complete) == (1, 0, False)


def test_only_a_full_timeline_of_newer_posts_proves_a_trim(state: State) -> None:
    newer = [state.posts[-1] + 1 + i for i in range(state.cap)][::-1]
    for user in state.followers:
        state.store(user, newer)
    result = state.audit()
    assert result.deliveries_trimmed == result.deliveries_expected > 0
    assert result.complete
    state.store(state.followers[0], newer[:-1])
    assert state.audit().deliveries_missing == NEW
    state.store(state.followers[0], [*newer[:-1], 1])
    assert state.audit().deliveries_missing == NEW


def test_a_pulled_authors_posts_must_be_in_his_list_if_there_is_one(stores: Stack, small_seed: SeedTables) -> None:
    stores.reset(small_seed)
    state = State(stores, small_seed, pulled=True)
    state.store_hot(state.posts[::-1])
    assert _counts(state.audit())["expected"] == 0
    assert state.audit().complete
    state.store_hot(state.posts[:1])
    assert state.audit().posts_lost == NEW - 1
    state.store_hot(None)
    assert state.audit().complete
    stores.reset(small_seed)
