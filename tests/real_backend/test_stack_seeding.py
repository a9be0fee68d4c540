"""What is in the stores after seeding, read back and compared with the tables it came from."""

from __future__ import annotations

import datetime
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from model.policy.sharding import KEY_HOT, KEY_POST, KEY_TIMELINE, key_hash, ring_points, shard_of
from model.spec.seed_tables import SeedTables
from real_backend import keys
from real_backend.config import POST_CHANNEL
from real_backend.stack import Stack
from real_backend.stack.seeding import seed_bodies
from tests.real_backend.polling import eventually


@pytest.fixture(scope="module")
def shards(stores: Stack, small_seed: SeedTables) -> Iterator[list[redis.Redis]]:
    stores.seed(small_seed)
    clients = [redis.Redis.from_url(url, decode_responses=True) for url in stores.urls.redis]
    yield clients
    for client in clients:
        client.close()


def _query(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def _shard(stores: Stack, shards: list[redis.Redis], kind: int, ident: int) -> redis.Redis:
    points, owners = ring_points(len(shards), stores.config.virtual_nodes)
    return shards[shard_of(key_hash(kind, ident), points.tolist(), owners.tolist())]


def _timelines_by_definition(seed: SeedTables) -> dict[int, list[int]]:
    """The newest posts of all followed accounts that are pushed, by the plainest way."""
    timelines: dict[int, list[int]] = defaultdict(list)
    for post, author in reversed(list(zip(seed.post_ids.tolist(), seed.post_authors.tolist(), strict=True))):
        for follower in seed.followers[seed.follower_offsets[author] : seed.follower_offsets[author + 1]].tolist():
            if not seed.hot[author] and seed.materialized[follower] and len(timelines[follower]) < seed.timeline_cap:
                timelines[follower].append(post)
    return timelines


def test_the_seed_has_every_kind_of_account(small_seed: SeedTables) -> None:
    lengths = {len(timeline) for timeline in _timelines_by_definition(small_seed).values()}
    assert 0 < small_seed.hot.sum() < small_seed.users
    assert 0 < small_seed.materialized.sum() < small_seed.users
    assert max(lengths) == small_seed.timeline_cap > min(lengths)


def test_every_table_equals_the_seed_on_every_server(stores: Stack, small_seed: SeedTables) -> None:
    counts = np.diff(small_seed.follower_offsets).tolist()
    authors = np.repeat(np.arange(small_seed.users), counts).tolist()
    relation = sorted(zip(small_seed.followers.tolist(), authors, strict=True))
    bodies = seed_bodies(small_seed.post_ids, small_seed.post_authors).tolist()
    posts = list(zip(small_seed.post_ids.tolist(), small_seed.post_authors.tolist(), bodies, strict=True))
    stores.seed(small_seed)
    for url in (stores.urls.postgres, *stores.urls.standbys):
        assert _query(url, "SELECT follower_count FROM users ORDER BY id") == [(count,) for count in counts]
        assert _query(url, "SELECT * FROM follows ORDER BY 1, 2") == relation
        rows = _query(url, "SELECT id, author_id, body FROM posts ORDER BY id")
        assert [(post, author, body.encode()) for post, author, body in rows] == posts
        assert _query(url, "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM reactions)") == [(0, 0)]


def test_posts_are_as_old_as_the_seed_says_in_both_stores(
    stores: Stack, shards: list[redis.Redis], small_seed: SeedTables
) -> None:
    rows = _query(stores.urls.postgres, "SELECT id, created_at FROM posts ORDER BY id")
    now = datetime.datetime.now(datetime.UTC)
    ages_s = np.array([(now - created).total_seconds() for _, created in rows])
    assert np.allclose(ages_s - ages_s[-1], small_seed.post_ages_s - small_seed.post_ages_s[-1], atol=1e-5)
    assert 0 <= ages_s[-1] - small_seed.post_ages_s[-1] < 60
    for post, created in rows[:: len(rows) // 20]:
        created_ns = int(_shard(stores, shards, KEY_POST, post).hget(keys.post_key(post), "created_ns") or 0)
        assert created_ns == round(created.timestamp() * 1e6) * 1_000


def test_a_post_is_a_hash_on_its_shard(stores: Stack, shards: list[redis.Redis], small_seed: SeedTables) -> None:
    post, author = int(small_seed.post_ids[-1]), int(small_seed.post_authors[-1])
    found = _shard(stores, shards, KEY_POST, post).hgetall(keys.post_key(post))
    body = found.pop("body")
    assert found.keys() == {"author", "created_ns", "reactions"}
    assert (found["author"], found["reactions"]) == (str(author), "0")
    assert str(body).startswith(f"Post {post:012d} by user {author:012d}: ")
    assert len(body) == 200


def test_only_the_newest_posts_are_cached(stores: Stack, small_seed: SeedTables) -> None:
    half = SeedTables(**{**vars(small_seed), "cached_from": small_seed.posts // 2})
    stores.seed(half)
    cached = set()
    for url in stores.urls.redis:
        with redis.Redis.from_url(url, decode_responses=True) as client:
            cached |= {int(key.removeprefix("post:")) for key in client.scan_iter("post:*", count=1_000)}
    stores.seed(small_seed)
    assert cached == set(small_seed.post_ids[half.cached_from :].tolist())


def test_timelines_are_what_the_policy_pushed(stores: Stack, shards: list[redis.Redis], small_seed: SeedTables) -> None:
    expected = _timelines_by_definition(small_seed)
    for user in range(small_seed.users):
        held = _shard(stores, shards, KEY_TIMELINE, user).lrange(keys.timeline_key(user), 0, -1)
        wanted = [str(post) for post in expected[user]]
        if len(wanted) < small_seed.timeline_cap:
            wanted.append(keys.TIMELINE_END)
        assert held == (wanted if small_seed.materialized[user] else []), f"user {user}"


def test_pulled_authors_are_followed_and_listed(
    stores: Stack, shards: list[redis.Redis], small_seed: SeedTables
) -> None:
    followed: dict[int, set[str]] = defaultdict(set)
    for author in np.flatnonzero(small_seed.hot).tolist():
        for follower in small_seed.followers[
            small_seed.follower_offsets[author] : small_seed.follower_offsets[author + 1]
        ].tolist():
            if small_seed.materialized[follower]:
                followed[follower].add(str(author))
        posts = small_seed.post_ids[small_seed.post_authors == author][::-1][: small_seed.timeline_cap]
        end = [keys.TIMELINE_END] if len(posts) < small_seed.timeline_cap else []
        held = _shard(stores, shards, KEY_HOT, author).lrange(keys.hot_posts_key(author), 0, -1)
        assert held == [str(post) for post in posts] + end
    for user in range(small_seed.users):
        assert _shard(stores, shards, KEY_TIMELINE, user).smembers(keys.hot_followees_key(user)) == followed[user]


def test_reset_returns_to_the_seeded_state(stores: Stack, shards: list[redis.Redis], small_seed: SeedTables) -> None:
    with psycopg.connect(stores.urls.postgres, autocommit=True) as connection:
        connection.execute("INSERT INTO posts (id, author_id, body) VALUES (1000000, 1, 'new')")
        connection.execute("INSERT INTO outbox (post_id, author_id) VALUES (1000000, 1)")
        connection.execute("INSERT INTO reactions (post_id, user_id) VALUES (1, 1)")
        connection.execute("DELETE FROM follows WHERE followee_id = 3")
    shards[0].set("stray", "1")
    shards[1].flushdb()
    with redis.Redis.from_url(stores.urls.broker) as broker:
        broker.delete(POST_CHANNEL)  # whoever used these servers before may have left it
        broker.xgroup_create(POST_CHANNEL, "fanout", mkstream=True)
        stores.faults.delay_standby(0, 3600)
        broker.xadd(POST_CHANNEL, {"post": 1})
        broker.xreadgroup("fanout", "worker0", {POST_CHANNEL: ">"})
        broker.xadd(POST_CHANNEL, {"post": 2})
        stores.reset(small_seed)
        assert broker.xlen(POST_CHANNEL) == 0
        group = broker.xinfo_groups(POST_CHANNEL)[0]
        assert (group["name"], group["pending"]) == (b"fanout", 0)
        broker.delete(POST_CHANNEL)
    test_every_table_equals_the_seed_on_every_server(stores, small_seed)
    test_timelines_are_what_the_policy_pushed(stores, shards, small_seed)
    assert not shards[0].exists("stray")


def test_the_seeded_state_needs_no_housekeeping(stores: Stack, small_seed: SeedTables) -> None:
    stores.seed(small_seed)
    most_followed = int(np.diff(small_seed.follower_offsets).argmax())
    for url in (stores.urls.postgres, *stores.urls.standbys):
        with psycopg.connect(url) as connection:
            connection.execute("SET enable_seqscan = off")
            connection.execute("SET enable_bitmapscan = off")
            plan = connection.execute(
                "EXPLAIN (ANALYZE, COSTS off) SELECT follower_id FROM follows WHERE followee_id = %s", (most_followed,)
            ).fetchall()
        assert any("Index Only Scan using follows_by_followee" in line for (line,) in plan)
        assert any("Heap Fetches: 0" in line for (line,) in plan), "rows are visible without a look at the table"
    rows = _query(stores.urls.postgres, "SELECT relname, reltuples FROM pg_class WHERE relname IN ('follows', 'posts')")
    assert dict(rows) == {"follows": len(small_seed.followers), "posts": small_seed.posts}


def test_the_seed_sets_the_floor_of_the_guards(
    stores: Stack, shards: list[redis.Redis], small_seed: SeedTables
) -> None:
    stores.seed(small_seed)
    floors = {int(shard.get(keys.GUARD_FLOOR_KEY) or 0) for shard in shards}
    [(replayed,)] = _query(stores.urls.standbys[0], "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint")
    assert len(floors) == 1
    assert 0 < floors.pop() <= replayed


def test_bodies_depend_on_post_and_author_alone() -> None:
    posts, authors = np.array([7, 123_456_789_012]), np.array([42, 5_000_000])
    first, second = seed_bodies(posts, authors).tolist()
    assert first.startswith(b"Post 000000000007 by user 000000000042: ")
    assert second.startswith(b"Post 123456789012 by user 000005000000: ")
    assert {len(first), len(second)} == {200}
    assert seed_bodies(posts[:1], authors[:1]).tolist() == [first]


def test_seeding_is_fast(stores: Stack, small_seed: SeedTables) -> None:
    began = time.monotonic()
    stores.seed(small_seed)
    assert time.monotonic() - began < 4


def test_standbys_are_level_after_seeding(stores: Stack, small_seed: SeedTables) -> None:
    stores.seed(small_seed)
    eventually(
        lambda: (
            _query(stores.urls.postgres, "SELECT bool_and(replay_lsn = sent_lsn) FROM pg_stat_replication") == [(True,)]
        ),
        "the primary has heard that its standby is level",
    )
