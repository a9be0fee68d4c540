"""Lists of post ids in Redis: home timelines and the hot posts of pulled authors. Pushing, reading, rebuilding.

Both kinds are lists of ids, newest (largest) first, at most `cap` long, the mark `TIMELINE_END` last while shorter.
Being sorted makes a push idempotent and commutative, and a trim provable: what a full list lacks is older than its end.

The race of a rebuild with a push. A push to a list that is not there leaves a *guard*: the log position behind which
the post is visible. A rebuild reads the guard together with the miss, asks a server that has replayed at least that
position, and stores only if the guard is unchanged, else it begins again; so a push during the rebuild is not lost, nor
one before it that a lagging standby has not seen. A shard that lost its keys lost the guards too: therefore it has
a *floor*, below which nothing is known, and without a floor the primary is asked and sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.policy.sharding import KEY_HOT, KEY_TIMELINE
from real_backend.keys import (
    GUARD_FLOOR_KEY,
    HOT_POSTS_PREFIX,
    HOT_POSTS_VERSION_PREFIX,
    TIMELINE_END,
    TIMELINE_PREFIX,
    TIMELINE_VERSION_PREFIX,
    hot_followees_key,
    hot_posts_key,
    hot_posts_version_key,
    timeline_key,
    timeline_version_key,
)
from real_backend.stores.shards import Pipeline, Script, Shards, pack
from real_backend.telemetry import STEP_CODES, Trace

PUSH = Script("push")
STORE = Script("store")
SCRIPTS = (PUSH, STORE)

TIMELINE_READ = STEP_CODES["redis.timeline_read"]
TIMELINE_STORE = STEP_CODES["redis.timeline_store"]
TIMELINE_PUSH = STEP_CODES["redis.timeline_push"]
HOT_POSTS_READ = STEP_CODES["redis.hot_posts_read"]
HOT_POST_PUSH = STEP_CODES["redis.hot_post_push"]
POSTS_STORE = STEP_CODES["redis.posts_store"]

UNKNOWN_LSN = 2**62
"""No standby has replayed this: where there is no floor, the primary must answer."""

STORED, PRESENT, RACED = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Guard:
    """What a rebuild must respect: the guard and the floor as read, empty for none."""

    version: str
    floor: str

    @property
    def needed_lsn(self) -> int:
        """The log position that a server must have replayed to rebuild the list."""
        return max(int(self.version or 0), int(self.floor)) if self.floor else UNKNOWN_LSN


@dataclass(frozen=True, slots=True)
class Page:
    """The newest entries of a home timeline; `exists` says whether there is a list at all."""

    exists: bool
    posts: list[int]
    hot_followees: list[int]
    guard: Guard


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a push to a number of lists."""

    pushed: int
    present: int
    absent: int


class Timelines:
    """Every method takes a trace, and the caller's step that ends as the commands leave."""

    def __init__(self, shards: Shards, cap: int) -> None:
        self._shards = shards
        self._cap = cap

    async def read(self, trace: Trace, ending: int, user: int, page_size: int) -> Page:
        """First page of a home timeline, the pulled authors its user follows, and the guard of a rebuild."""
        shard = self._shards.shard(KEY_TIMELINE, user)
        commands = (
            pack(("LRANGE", timeline_key(user), 0, page_size - 1))
            + pack(("SMEMBERS", hot_followees_key(user)))
            + pack(("MGET", timeline_version_key(user), GUARD_FLOOR_KEY))
        )
        entries, hot, (version, floor) = await self._shards.call(shard, commands, 3, trace, ending)
        posts_read = len(entries) - (entries[-1:] == [TIMELINE_END])
        trace.mark(TIMELINE_READ, posts_read, self._shards.names[shard])
        return Page(bool(entries), _ids(entries), [int(author) for author in hot], _guard(version, floor))

    async def store(
        self,
        trace: Trace,
        ending: int,
        user: int,
        posts: Sequence[int],
        hot_followees: Iterable[int],
        *,
        guard: Guard,
        lsn: int,
    ) -> tuple[int, Guard]:
        """Store a rebuilt timeline: STORED, PRESENT (somebody else did) or RACED (a push passed by: begin again).

        `lsn` is the log position up to which the primary was read, 0 when a standby was.
        """
        shard = self._shards.shard(KEY_TIMELINE, user)
        keys = (timeline_key(user), timeline_version_key(user), GUARD_FLOOR_KEY, hot_followees_key(user))
        arguments = self._list_arguments(posts, hot_followees, guard, lsn)
        outcome, *known = await self._shards.run(shard, STORE, keys, arguments, trace, ending, len(posts))
        trace.mark(TIMELINE_STORE, len(posts), self._shards.names[shard])
        return outcome, Guard(*known)

    async def push(self, trace: Trace, ending: int, post: int, lsn: int, users: Sequence[int]) -> Pushed:
        """Push a post into the home timelines of `users`, one call per shard; `lsn` lies behind the post's commit."""
        arguments = (TIMELINE_PREFIX, TIMELINE_VERSION_PREFIX, post, lsn, self._cap)
        pipelines = {
            shard: Pipeline(pack(("EVALSHA", PUSH.sha, 0, *arguments, *members)), 1, len(members))
            for shard, members in self._shards.group(KEY_TIMELINE, users).items()
        }
        replies = await self._shards.scatter(pipelines, trace, ending, len(users), TIMELINE_PUSH)
        columns = zip((0, 0, 0), *(reply[0] for reply in replies.values()), strict=True)
        return Pushed(*(sum(column) for column in columns))

    async def read_hot(
        self, trace: Trace, ending: int, authors: Sequence[int], page_size: int
    ) -> tuple[list[int], dict[int, Guard]]:
        """The newest posts of pulled authors, unordered; and the guards of those authors that have no list."""
        groups = self._shards.group(KEY_HOT, authors)
        pipelines = {}
        for shard, members in groups.items():
            commands = [pack(("LRANGE", hot_posts_key(author), 0, page_size - 1)) for author in members]
            commands.append(pack(("MGET", GUARD_FLOOR_KEY, *(hot_posts_version_key(author) for author in members))))
            pipelines[shard] = Pipeline(b"".join(commands), len(commands), len(members))
        posts: list[int] = []
        missing: dict[int, Guard] = {}
        for shard, replies in (await self._shards.scatter(pipelines, trace, ending, 0, HOT_POSTS_READ)).items():
            *lists, (floor, *versions) = replies
            for author, entries, version in zip(groups[shard], lists, versions, strict=True):
                posts.extend(_ids(entries))
                if not entries:
                    missing[author] = _guard(version, floor)
        return posts, missing

    async def store_hot(
        self, trace: Trace, ending: int, author: int, posts: Sequence[int], *, guard: Guard, lsn: int
    ) -> int:
        """Store a pulled author's list that was read from the database: STORED, PRESENT or RACED."""
        shard = self._shards.shard(KEY_HOT, author)
        keys = (hot_posts_key(author), hot_posts_version_key(author), GUARD_FLOOR_KEY, "")
        outcome, *_ = await self._shards.run(
            shard, STORE, keys, self._list_arguments(posts, (), guard, lsn), trace, ending, len(posts)
        )
        trace.mark(POSTS_STORE, len(posts), self._shards.names[shard])
        return int(outcome)

    async def push_hot(self, trace: Trace, ending: int, post: int, lsn: int, author: int) -> Pushed:
        """Push a post into its pulled author's list."""
        shard = self._shards.shard(KEY_HOT, author)
        arguments = (HOT_POSTS_PREFIX, HOT_POSTS_VERSION_PREFIX, post, lsn, self._cap, author)
        pushed = Pushed(*await self._shards.run(shard, PUSH, (), arguments, trace, ending))
        trace.mark(HOT_POST_PUSH, 0, self._shards.names[shard])
        return pushed

    def _list_arguments(self, posts: Sequence[int], members: Iterable[int], guard: Guard, lsn: int) -> list[int | str]:
        entries: list[int | str] = list(posts[: self._cap])
        if len(entries) < self._cap:
            entries.append(TIMELINE_END)
        new_floor = "" if guard.floor or not lsn else str(lsn)
        return [guard.version, guard.floor, new_floor, len(entries), *entries, *members]


def _ids(entries: Iterable[str]) -> list[int]:
    return [int(entry) for entry in entries if entry != TIMELINE_END]


def _guard(version: str | None, floor: str | None) -> Guard:
    return Guard(version or "", floor or "")
