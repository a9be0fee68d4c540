"""What the steps of a feed do to its data, written again from the declaration of the effects.

The decisions (which shard, which server) are the plain functions of `model.policy`, which the real backend calls too.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from model.engine import layout as c
from model.policy import KEY_POST, choose_server, key_hash, shard_of
from tests.reference.jobs import Job, Message

MISSING = 1


class E(IntEnum):
    """The effects by their numbers in a path."""

    TIMELINE_LOOKUP = 0
    TIMELINE_FILL = 1
    REBUILD_SIZE = 2
    HAS_HOT = 3
    PAGE = 4
    PAGE_MISSING = 5
    PAGE_FILL = 6
    PAGE_ITEMS = 7
    POST_LOOKUP = 8
    POST_FILL = 9
    POST_ABSENT = 10
    ROUTE = 11
    PRIMARY = 12
    COMMIT = 13
    POST_CREATED = 14
    REPLAYED = 15
    LEARN = 16
    TAKE = 17
    MOVE = 18
    FULL = 19
    FOLLOWERS = 20
    NEXT_BATCH = 21
    DELIVER = 22
    HOT_DELIVER = 23
    HOT_SHARD = 24
    ITEMS = 25
    WORKER_SERVER = 26
    WROTE = 27
    SINCE_WROTE = 28


class Spread(IntEnum):
    """What a scatter spreads over the shards."""

    PAGE = 0
    HOT = 1
    BATCH = 2
    MISSING = 3


@dataclass
class Ring:
    """The newest posts of a timeline or an author: `posts` is written round and round, next at `head`."""

    posts: list[int]
    head: int

    def newest_first(self) -> list[int]:
        size = len(self.posts)
        return [self.posts[(self.head - 1 - k) % size] for k in range(size)]

    def push(self, post: int) -> None:
        self.posts[self.head % len(self.posts)] = post
        self.head = (self.head + 1) % len(self.posts)


class Feed:
    """Timelines, posts, followers and standbys. `log` takes rows that no request answers for."""

    def __init__(
        self,
        data: Mapping[str, Any],
        settings: Mapping[int, int],
        queues: list[deque[Message]],
        log: Callable[..., None],
        shards: int,
    ) -> None:
        self.queues, self.log, self.shards = queues, log, shards
        self.page_size = settings.get(c.SET_PAGE, 0)
        self.timeline_cap = settings.get(c.SET_TIMELINE_CAP, 0)
        self.routing = settings.get(c.SET_ROUTING, 0)
        self.standbys = settings.get(c.SET_STANDBYS, 0)
        plain = {name: array.tolist() for name, array in data.items()}
        offsets, followers = plain["follower_offsets"], plain["followers"]
        self.followers: list[list[int]] = [followers[a:b] for a, b in itertools.pairwise(offsets)]
        offsets, authors = plain["hot_offsets"], plain["hot_authors"]
        self.hot_followees = [authors[a:b] for a, b in itertools.pairwise(offsets)]
        self.pulled: list[bool] = plain["pulled"]
        self.timeline_exists: list[bool] = plain["timeline_exists"]
        self.timeline_length: list[int] = plain["timeline_length"]
        self.timeline_shard: list[int] = plain["timeline_shard"]
        self.hot_shard: list[int] = plain["hot_shard"]
        self.timelines = [Ring(*each) for each in zip(plain["pages"], plain["page_head"], strict=False)]
        self.hot_row: list[int] = plain["hot_row"]
        self.hot = [Ring(*each) for each in zip(plain["hot_pages"], plain["hot_head"], strict=False)]
        self.cached = {post for post, there in enumerate(plain["post_cached"]) if there}
        self.exists = {post for post, there in enumerate(plain["post_exists"]) if there}
        self.session_lsn: list[int] = plain["session_lsn"]
        self.replayed: list[int] = plain["replayed"]
        self.known: list[list[int]] = plain["known"]
        self.replay_delay_ns: list[int] = plain["replay_delay"]
        self.ring_points, self.ring_owners = plain["ring_points"], plain["ring_owners"]
        self.commits = 0
        self.counters = dict.fromkeys(
            ("hits", "misses", "expected", "primary_reads", "standby_reads", "stale_reads", "posts"), 0
        )

    def answered(self, job: Job) -> None:
        """A request ends: its user has seen its commit."""
        if job.lsn:
            self.session_lsn[job.user] = max(self.session_lsn[job.user], job.lsn)

    def spread(self, which: int, job: Job) -> list[int]:
        """Items per shard of a scatter."""
        match Spread(which):
            case Spread.PAGE:
                shards = [self._post_shard(post) for post in job.page]
            case Spread.MISSING:
                shards = [self._post_shard(post) for post in job.page if post not in self.cached]
            case Spread.HOT:
                shards = [self.hot_shard[author] for author in self.hot_followees[job.user]]
            case Spread.BATCH:
                shards = [self.timeline_shard[user] for user in self._batch(job)]
        return [shards.count(shard) for shard in range(self.shards)]

    def apply(self, which: int, a: int, b: int, job: Job, now_ns: int) -> None:  # noqa: C901, PLR0912, PLR0915
        """One effect on the data and the job."""
        match E(which):
            case E.TIMELINE_LOOKUP:
                job.shard = self.timeline_shard[job.user]
                job.flag = not self.timeline_exists[job.user]
                job.items = 0 if job.flag else min(self.page_size, self.timeline_length[job.user])
                self.counters["misses" if job.flag else "hits"] += 1
            case E.TIMELINE_FILL:
                self.timeline_exists[job.user] = True
            case E.REBUILD_SIZE:
                job.items = self.timeline_length[job.user]
            case E.HAS_HOT:
                job.flag = bool(self.hot_followees[job.user])
            case E.PAGE:
                job.page = self._page(job.user)
                job.items = len(job.page)
            case E.PAGE_MISSING:
                job.items = sum(post not in self.cached for post in job.page)
                job.flag = job.items > 0
            case E.PAGE_FILL:
                job.items, job.flag = 0, False
                self.cached.update(job.page)
            case E.PAGE_ITEMS:
                job.items = len(job.page)
                job.flag = job.items > 0
            case E.POST_LOOKUP:
                job.shard = self._post_shard(job.target)
                job.flag = job.target not in self.cached
            case E.POST_FILL:
                self.cached.add(job.target)
            case E.POST_ABSENT:
                job.flag = job.target not in self.exists
                job.outcome = MISSING if job.flag else job.outcome
            case E.ROUTE:
                self._route(job, own_writes=bool(a))
            case E.PRIMARY:
                job.server = -1
            case E.COMMIT:
                self.commits += 1
                job.lsn, job.stamp_ns = self.commits, now_ns
            case E.POST_CREATED:
                self.exists.add(job.target)
                self.counters["posts"] += 1
            case E.REPLAYED:
                self.replayed[job.server] = max(self.replayed[job.server], job.lsn)
                self.log(c.LOG_REPLICA, job.server, now_ns, now_ns - job.stamp_ns, 1)
            case E.LEARN:
                self.known[job.lane][job.server] = self.replayed[job.server]
            case E.TAKE:
                job.items = min(len(self.queues[a]), b)
                job.flag = job.items > 0
            case E.MOVE:
                for _ in range(job.items):
                    message = self.queues[a].popleft()
                    self.queues[b].append(message)
                    self.log(c.LOG_OUTBOX, 0, now_ns, now_ns - message.stamp_ns, 1)
            case E.FULL:
                job.flag = job.items >= a
            case E.FOLLOWERS:
                job.flag = not self.pulled[job.user]
                job.items = len(self.followers[job.user]) if job.flag else 0
            case E.NEXT_BATCH:
                left = len(self.followers[job.user]) - job.cursor
                job.items, job.flag = min(left, a), left > 0
            case E.DELIVER:
                self._deliver(job, now_ns)
            case E.HOT_SHARD:
                job.shard = self.hot_shard[job.user]
            case E.HOT_DELIVER:
                self.hot[self.hot_row[job.user]].push(job.target)
            case E.ITEMS:
                job.items = a
            case E.WROTE:
                job.wrote_ns = now_ns
            case E.SINCE_WROTE:
                job.stamp_ns = job.wrote_ns
            case E.WORKER_SERVER:
                job.server = job.entity % self.standbys if self.standbys else -1

    def _post_shard(self, post: int) -> int:
        return int(shard_of(key_hash(KEY_POST, post), self.ring_points, self.ring_owners))

    def _batch(self, job: Job) -> list[int]:
        return self.followers[job.user][job.cursor : job.cursor + job.items]

    def _page(self, user: int) -> list[int]:
        """The newest posts, highest first, of the timeline and of the pulled authors that the user follows."""
        posts = [post for post in self.timelines[user].newest_first()[: self.timeline_length[user]] if post > 0]
        for author in self.hot_followees[user]:
            for post in self.hot[self.hot_row[author]].newest_first():
                if post <= 0:
                    break
                posts.append(post)
        return sorted(posts, reverse=True)[: self.page_size]

    def _route(self, job: Job, *, own_writes: bool) -> None:
        written = self.session_lsn[job.user]
        seen = self.known[job.lane][: self.standbys]
        job.server = choose_server(self.routing, written if own_writes else 0, seen, job.entity)
        self.counters["primary_reads" if job.server < 0 else "standby_reads"] += 1
        if job.server >= 0 and self.replayed[job.server] < written:
            self.counters["stale_reads"] += 1

    def _deliver(self, job: Job, now_ns: int) -> None:
        users = self._batch(job)
        for user in users:
            self.timeline_length[user] = max(
                self.timeline_length[user], min(self.timeline_cap, self.timeline_length[user] + 1)
            )
            self.timelines[user].push(job.target)
        job.cursor += job.items
        delivered = sum(self.timeline_exists[user] for user in users)
        self.counters["expected"] += delivered
        if delivered:
            self.log(c.LOG_DELIVERY, 0, now_ns, now_ns - job.stamp_ns, delivered)
