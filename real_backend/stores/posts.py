"""Post metadata and reaction counters in Redis: one hash per post.

The counter is a cache of the reactions table: it counts on where the hash is present, and is taken from the table where
a hash is loaded. A reaction that commits while its post is being loaded may be counted twice or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from model.policy.sharding import KEY_POST
from real_backend.keys import post_key
from real_backend.stores.shards import Pipeline, Script, Shards, pack
from real_backend.telemetry import STEP_CODES, Trace

COUNT = Script("count")
SCRIPTS = (COUNT,)

POST_READ = STEP_CODES["redis.post_read"]
POST_STORE = STEP_CODES["redis.post_store"]
POSTS_MULTIGET = STEP_CODES["redis.posts_multiget"]
POSTS_STORE = STEP_CODES["redis.posts_store"]
COUNTER_INCREMENT = STEP_CODES["redis.counter_increment"]


@dataclass(slots=True)
class Post:
    """A post as clients see it; its fields are the keys of its JSON."""

    id: int
    author: int
    body: str
    created_ns: int
    reactions: int


class Posts:
    """Every method takes a trace, and the caller's step that ends as the commands leave."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def read(self, trace: Trace, ending: int, post: int) -> Post | None:
        """A post's metadata, where it is cached."""
        shard = self._shards.shard(KEY_POST, post)
        replies = await self._shards.call(shard, _read(post), 1, trace, ending)
        trace.mark(POST_READ, 0, self._shards.names[shard])
        return _post(post, replies[0])

    async def read_many(self, trace: Trace, ending: int, posts: Sequence[int], ending_items: int) -> dict[int, Post]:
        """Those of the posts that are cached; one pipeline per shard."""
        groups = self._shards.group(KEY_POST, posts)
        pipelines = {
            shard: Pipeline(b"".join([_read(post) for post in members]), len(members), len(members))
            for shard, members in groups.items()
        }
        found: dict[int, Post] = {}
        for shard, replies in (
            await self._shards.scatter(pipelines, trace, ending, ending_items, POSTS_MULTIGET)
        ).items():
            for post, fields in zip(groups[shard], replies, strict=True):
                known = _post(post, fields)
                if known is not None:
                    found[post] = known
        return found

    async def store(self, trace: Trace, ending: int, post: Post) -> None:
        """Cache a post; a counter that is there already stays."""
        shard = self._shards.shard(KEY_POST, post.id)
        await self._shards.call(shard, _write(post), 2, trace, ending)
        trace.mark(POST_STORE, 0, self._shards.names[shard])

    async def store_many(self, trace: Trace, ending: int, posts: Iterable[Post], ending_items: int) -> None:
        """Cache posts; one pipeline per shard."""
        by_id = {post.id: post for post in posts}
        pipelines = {
            shard: Pipeline(b"".join([_write(by_id[post]) for post in members]), 2 * len(members), len(members))
            for shard, members in self._shards.group(KEY_POST, by_id).items()
        }
        await self._shards.scatter(pipelines, trace, ending, ending_items, POSTS_STORE)

    async def add_reactions(self, trace: Trace, ending: int, post: int, amount: int) -> int | None:
        """Add to a cached post's counter; the new sum, or None where the post is not cached."""
        shard = self._shards.shard(KEY_POST, post)
        total = await self._shards.run(shard, COUNT, (post_key(post),), (amount,), trace, ending)
        trace.mark(COUNTER_INCREMENT, 0, self._shards.names[shard])
        return total if total >= 0 else None


def _read(post: int) -> bytes:
    return pack(("HMGET", post_key(post), "author", "body", "created_ns", "reactions"))


def _write(post: Post) -> bytes:
    key = post_key(post.id)
    return pack(("HSET", key, "author", post.author, "body", post.body, "created_ns", post.created_ns)) + pack(
        ("HSETNX", key, "reactions", post.reactions)
    )


def _post(post: int, fields: Sequence[Any]) -> Post | None:
    author, body, created_ns, reactions = fields
    if author is None:
        return None
    return Post(post, int(author), body, int(created_ns), int(reactions or 0))
