"""Bringing the stores into the state that a scenario starts from, fast and the same every time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, LiteralString

import numpy as np
import psycopg
import redis
from numpy.typing import NDArray

from model.policy.sharding import KEY_HOT, KEY_POST, KEY_TIMELINE, ring_points, shards_of
from model.spec.errors import MachineError
from model.spec.seed_tables import SeedTables
from real_backend.config import BackendConfig
from real_backend.keys import GUARD_FLOOR_KEY, TIMELINE_END, hot_followees_key, hot_posts_key, post_key, timeline_key
from real_backend.stack.copy_format import copy_arrays
from real_backend.stack.external import flush

TABLES = ("users", "follows", "posts", "reactions", "outbox")
BODY_BYTES = 200
PIPELINE_COMMANDS = 2_000
CATCH_UP_DEADLINE_S = 60.0
_BODY = b"Post 000000000000 by user 000000000000: " + b"the quick brown fox jumps over the lazy dog, and so on; " * 3
_POST_DIGITS, _USER_DIGITS = slice(5, 17), slice(26, 38)
_POSTGRES_EPOCH_S = 946_684_800

Command = tuple[str | bytes | int, ...]


def seed_database(config: BackendConfig, seed: SeedTables, now_ns: int) -> int:
    """Replace the contents of all tables by the seed; returns a log position that every standby has replayed by then.

    `now_ns` is the instant (Unix time, ns) that post ages count from. Statistics are gathered and a checkpoint is made,
    so that the next one is a whole `checkpoint_timeout` away.
    """
    counts = np.diff(seed.follower_offsets)
    users = np.arange(seed.users, dtype=np.int32)
    with psycopg.connect(config.postgres_url) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY".encode())
        handles = _with_digits(b"user00000000", users, slice(4, 12))
        copy_arrays(cursor, "users", {"id": users, "handle": handles, "follower_count": counts.astype(np.int32)})
        followees = np.repeat(users, counts)
        copy_arrays(cursor, "follows", {"follower_id": seed.followers.astype(np.int32), "followee_id": followees})
        columns: dict[str, NDArray[Any]] = {
            "id": seed.post_ids.astype(np.int64),
            "author_id": seed.post_authors.astype(np.int32),
            "created_at": _created_ns(seed, now_ns) // 1_000 - _POSTGRES_EPOCH_S * 1_000_000,
            "body": seed_bodies(seed.post_ids, seed.post_authors),
        }
        copy_arrays(cursor, "posts", columns)
    with psycopg.connect(config.postgres_url, autocommit=True) as connection:
        connection.execute("ANALYZE")
        connection.execute("CHECKPOINT")
    return await_standbys(config)


def await_standbys(config: BackendConfig, deadline_s: float = CATCH_UP_DEADLINE_S) -> int:
    """Wait until every standby has replayed all that the primary has flushed by now; returns that log position.

    Raises MachineError after the deadline.
    """
    with psycopg.connect(config.postgres_url, autocommit=True) as primary:
        flushed = _number(primary, "SELECT pg_current_wal_flush_lsn() - '0/0'")
    deadline = time.monotonic() + deadline_s
    for index, url in enumerate(config.standby_urls):
        with psycopg.connect(url, autocommit=True) as standby:
            while _number(standby, "SELECT pg_last_wal_replay_lsn() - '0/0'") < flushed:
                if time.monotonic() > deadline:
                    raise MachineError(f"standby{index} did not replay the primary's log within {deadline_s:g} s")
                time.sleep(0.005)
    return flushed


def seed_caches(config: BackendConfig, seed: SeedTables, now_ns: int, lsn: int) -> None:
    """Empty all Redis shards and write timelines, hot followees, post hashes and hot posts into them.

    `lsn` is the log position of the seeded database: the floor of the rebuild guards.
    """
    points, owners = ring_points(len(config.redis_urls), config.virtual_nodes)
    queues: list[list[Command]] = [[] for _ in config.redis_urls]
    clients = [redis.Redis.from_url(url) for url in config.redis_urls]
    try:
        for client in clients:
            flush(client)
            client.set(GUARD_FLOOR_KEY, lsn)
        sources = (
            (KEY_TIMELINE, _timelines(seed)),
            (KEY_TIMELINE, _hot_followees(seed)),
            (KEY_POST, _posts(seed, now_ns)),
            (KEY_HOT, _hot_posts(seed)),
        )
        for kind, (idents, commands) in sources:
            for shard, command in zip(shards_of(kind, idents, points, owners).tolist(), commands, strict=True):
                queue = queues[shard]
                queue.append(command)
                if len(queue) >= PIPELINE_COMMANDS:
                    _send(clients[shard], queue)
        for client, queue in zip(clients, queues, strict=True):
            _send(client, queue)
    finally:
        for client in clients:
            client.close()


def seed_bodies(posts: NDArray[np.integer[Any]], authors: NDArray[np.integer[Any]]) -> NDArray[np.bytes_]:
    """The text of seeded posts, bytes of fixed width `BODY_BYTES`, a function of post and author alone."""
    return _with_digits(_with_digits(_BODY[:BODY_BYTES], posts, _POST_DIGITS), authors, _USER_DIGITS)


def _timelines(seed: SeedTables) -> tuple[NDArray[np.int64], Iterator[Command]]:
    offsets, posts = seed.timelines()
    users = np.flatnonzero(seed.materialized)
    lists = zip(users.tolist(), _slices(offsets, posts, users), strict=True)
    return users, (("RPUSH", timeline_key(user), *_list(entries, seed.timeline_cap)) for user, entries in lists)


def _hot_followees(seed: SeedTables) -> tuple[NDArray[np.int64], Iterator[Command]]:
    authors = np.repeat(np.arange(seed.users), np.diff(seed.follower_offsets))
    kept = seed.hot[authors] & seed.materialized[seed.followers]
    order = np.argsort(seed.followers[kept], kind="stable")
    offsets = _offsets(seed.followers[kept], seed.users)
    users = np.flatnonzero(np.diff(offsets))
    sets = zip(users.tolist(), _slices(offsets, authors[kept][order], users), strict=True)
    return users, (("SADD", hot_followees_key(user), *members) for user, members in sets)


def _hot_posts(seed: SeedTables) -> tuple[NDArray[np.int64], Iterator[Command]]:
    newest_first = np.flatnonzero(seed.hot[seed.post_authors])[::-1]
    order = np.argsort(seed.post_authors[newest_first], kind="stable")
    offsets = _offsets(seed.post_authors[newest_first], seed.users)
    authors = np.flatnonzero(seed.hot)
    lists = zip(authors.tolist(), _slices(offsets, seed.post_ids[newest_first][order], authors), strict=True)
    cap = seed.timeline_cap
    return authors, (("RPUSH", hot_posts_key(author), *_list(posts[:cap], cap)) for author, posts in lists)


def _posts(seed: SeedTables, now_ns: int) -> tuple[NDArray[np.int64], Iterator[Command]]:
    cached = slice(seed.cached_from, None)
    posts, authors = seed.post_ids[cached], seed.post_authors[cached]
    columns = (posts, authors, seed_bodies(posts, authors), _created_ns(seed, now_ns)[cached])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return posts, (
        ("HSET", post_key(post), "author", author, "body", body, "created_ns", created_ns, "reactions", 0)
        for post, author, body, created_ns in rows
    )


def _slices(
    offsets: NDArray[np.int64], values: NDArray[np.integer[Any]], owners: NDArray[np.int64]
) -> Iterator[list[int]]:
    """The values of each owner, of all owners' values in compressed rows."""
    bounds, flat = offsets.tolist(), values.tolist()
    return (flat[bounds[owner] : bounds[owner + 1]] for owner in owners.tolist())


def _offsets(owners: NDArray[np.int32], users: int) -> NDArray[np.int64]:
    """Where each user's values begin, [users + 1], once they are sorted by owner."""
    return np.concatenate(([0], np.cumsum(np.bincount(owners, minlength=users))))


def _list(entries: list[int], cap: int) -> list[int | str]:
    """What Redis holds of a capped list."""
    return [*entries, TIMELINE_END] if len(entries) < cap else [*entries]


def _created_ns(seed: SeedTables, now_ns: int) -> NDArray[np.int64]:
    return now_ns - np.round(seed.post_ages_s * 1e6).astype(np.int64) * 1_000


def _with_digits(
    template: bytes | NDArray[np.bytes_], numbers: NDArray[np.integer[Any]], place: slice
) -> NDArray[np.bytes_]:
    """Copies of `template` (one, or one per number) with each number in decimal, zero-padded, at `place`."""
    texts = np.full(len(numbers), template) if isinstance(template, bytes) else template
    characters = texts.view(np.uint8).reshape(len(texts), texts.dtype.itemsize)
    width = place.stop - place.start
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    characters[:, place] = (np.asarray(numbers, np.int64)[:, None] // powers) % 10 + ord("0")
    return texts


def _send(client: redis.Redis, queue: list[Command]) -> None:
    pipeline = client.pipeline(transaction=False)
    for command in queue:
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
    pipeline.execute()
    queue.clear()


def _number(connection: psycopg.Connection[Any], query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
