"""What became of every new post, by reading the stores: nobody's word is taken for it.

An *expected delivery* is a (post, follower) pair whose author the policy pushes and whose follower's timeline is
materialized. It is *present* when the timeline holds the post; *trimmed* when the timeline is full and the post is
older than all of it (timelines are sorted, so it cannot have been dropped for another reason); both are *seen*, else it
is missing.
A timeline that was materialized after the push is expected to hold the post as well: its rebuild must have found it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from model.policy.fanout import is_pulled
from model.policy.sharding import KEY_HOT, KEY_TIMELINE, key_hash, ring_points, shard_of
from real_backend.config import BackendConfig
from real_backend.keys import hot_posts_key, timeline_key

LISTS_PER_PIPELINE = 500


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Counts over all posts created since a given one."""

    posts_created: int
    posts_lost: int
    """Committed posts that none of their expected readers has: no timeline, or for a pulled author not his list."""
    deliveries_expected: int
    deliveries_present: int
    deliveries_trimmed: int
    deliveries_duplicate: int
    """Further occurrences of a new post in one timeline."""

    @property
    def deliveries_seen(self) -> int:
        """Present in their timeline, or provably trimmed by its cap."""
        return self.deliveries_present + self.deliveries_trimmed

    @property
    def deliveries_missing(self) -> int:
        return self.deliveries_expected - self.deliveries_seen

    @property
    def complete(self) -> bool:
        """Nothing lost, nothing missing, nothing twice."""
        return self.posts_lost == self.deliveries_missing == self.deliveries_duplicate == 0


def audit(postgres_url: str, redis_urls: Sequence[str], config: BackendConfig, *, since_post_id: int) -> AuditResult:
    """Account for every post with an id above `since_post_id`. Call it when outbox and broker are empty."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        posts: dict[int, int] = dict(
            connection.execute("SELECT id, author_id FROM posts WHERE id > %s", (since_post_id,)).fetchall()
        )
        authors = sorted(set(posts.values()))
        counts: dict[int, int] = dict(
            connection.execute("SELECT id, follower_count FROM users WHERE id = ANY(%s)", (authors,)).fetchall()
        )
        pulled = {
            author
            for author in authors
            if is_pulled(config.fanout_code, counts[author], config.celebrity_threshold_followers)
        }
        follows = connection.execute(
            "SELECT followee_id, follower_id FROM follows WHERE followee_id = ANY(%s)",
            ([author for author in authors if author not in pulled],),
        ).fetchall()
    by_author: dict[int, list[int]] = {}
    for post, author in posts.items():
        by_author.setdefault(author, []).append(post)
    expected_by_user: dict[int, list[int]] = {}
    for author, follower in follows:
        expected_by_user.setdefault(follower, []).extend(by_author[author])

    expected: Counter[int] = Counter()
    arrived: Counter[int] = Counter()
    present = trimmed = duplicate = 0
    keys = {user: timeline_key(user) for user in expected_by_user}
    for user, entries in _lists(redis_urls, config, KEY_TIMELINE, keys):
        held = Counter(entry for entry in entries if entry > since_post_id)
        duplicate += sum(count - 1 for count in held.values())
        oldest = _oldest_of_full(entries, config.timeline_cap)
        for post in expected_by_user[user]:
            expected[post] += 1
            if post in held:
                present += 1
            elif post < oldest:
                trimmed += 1
            else:
                continue
            arrived[post] += 1
    lost = sum(1 for post in expected if not arrived[post])
    for author, entries in _lists(redis_urls, config, KEY_HOT, {author: hot_posts_key(author) for author in pulled}):
        held_hot = set(entries)
        oldest = _oldest_of_full(entries, config.timeline_cap)
        lost += sum(1 for post in by_author[author] if post not in held_hot and post >= oldest)
    return AuditResult(
        posts_created=len(posts),
        posts_lost=lost,
        deliveries_expected=expected.total(),
        deliveries_present=present,
        deliveries_trimmed=trimmed,
        deliveries_duplicate=duplicate,
    )


def _oldest_of_full(entries: Sequence[int], cap: int) -> int:
    """What is older than this may have been trimmed; 0 for a list that is not full."""
    return min(entries) if len(entries) >= cap else 0


def _lists(
    urls: Sequence[str], config: BackendConfig, kind: int, keys: Mapping[int, str]
) -> Iterator[tuple[int, list[int]]]:
    """The lists that exist, whole, by the ident of their key."""
    points, owners = ring_points(len(urls), config.virtual_nodes)
    ring = points.tolist(), owners.tolist()
    by_shard: dict[int, list[int]] = {}
    for ident in keys:
        by_shard.setdefault(shard_of(key_hash(kind, ident), *ring), []).append(ident)
    for shard, idents in by_shard.items():
        with redis.Redis.from_url(urls[shard]) as client:
            for start in range(0, len(idents), LISTS_PER_PIPELINE):
                chunk = idents[start : start + LISTS_PER_PIPELINE]
                pipeline = client.pipeline(transaction=False)
                for ident in chunk:
                    pipeline.lrange(keys[ident], 0, -1)
                replies: list[list[Any]] = pipeline.execute()
                for ident, entries in zip(chunk, replies, strict=True):
                    if entries:
                        yield ident, [int(entry) for entry in entries]
