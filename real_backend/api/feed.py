"""The five endpoints. Each visits the steps of its modelled path, in that order; see `model.spec.steps`.

A step of the API is what its event loop does between two awaits: it ends as the next command leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from model.spec.scenario import ENDPOINTS, Endpoint
from real_backend.api.replicas import Replicas
from real_backend.config import BackendConfig
from real_backend.stores.database import Database, pulled_from
from real_backend.stores.posts import Post, Posts
from real_backend.stores.timelines import RACED, Guard, Page, Timelines
from real_backend.telemetry import STEP_CODES, Telemetry, Trace, continued

REBUILD_ATTEMPTS: Final = 5
"""A rebuild that lost so many races answers from what it read, and leaves storing to the next reader."""

HOME_RECEIVE = STEP_CODES["api.home_timeline.receive"]
HOME_REBUILD = STEP_CODES["api.home_timeline.rebuild"]
HOME_STORE = STEP_CODES["api.home_timeline.store"]
HOME_HOT = STEP_CODES["api.home_timeline.hot"]
HOME_MERGE = STEP_CODES["api.home_timeline.merge"]
HOME_FILL = STEP_CODES["api.home_timeline.fill"]
PROFILE_RECEIVE = STEP_CODES["api.profile.receive"]
CREATE_RECEIVE = STEP_CODES["api.create_post.receive"]
CREATE_STORE = STEP_CODES["api.create_post.store"]
REACT_RECEIVE = STEP_CODES["api.react.receive"]
REACT_COUNT = STEP_CODES["api.react.count"]
READ_RECEIVE = STEP_CODES["api.read_post.receive"]
READ_FILL = STEP_CODES["api.read_post.fill"]
READ_STORE = STEP_CODES["api.read_post.store"]
DB_TIMELINE_REBUILD = STEP_CODES["db.timeline_rebuild"]
DB_PROFILE_READ = STEP_CODES["db.profile_read"]
DB_POST_READ = STEP_CODES["db.post_read"]
DB_POSTS_READ = STEP_CODES["db.posts_read"]
DB_POST_INSERT = STEP_CODES["db.post_insert"]
DB_REACTION_INSERT = STEP_CODES["db.reaction_insert"]

RESPOND: Final = tuple(STEP_CODES[f"api.{endpoint}.respond"] for endpoint in ENDPOINTS)
"""The last step of each endpoint, by its code."""
HOME, PROFILE, CREATE, REACT, READ = (endpoint.code for endpoint in Endpoint)

USER_IDS: Final = range(2**31)
POST_IDS: Final = range(1, 2**53)
"""Up to what a Lua number holds exactly."""

INSERTED, REPEATED = 0, 1
"""Outcomes of create_post and react in procedures.py; the others differ between the two."""


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed request: `ident` is the user, author or post of the path; `session_lsn` 0 means no own write yet."""

    ident: int
    session_lsn: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """`lsn` is the log position of a write's commit, 0 for reads; `items` what the respond step counts."""

    status: int
    document: Any
    items: int = 0
    lsn: int = 0


class RejectedError(Exception):
    """Bad input; the message names the field, the value and what is allowed."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


MISSING: Final = Reply(404, {"missing": True})


class Feed:
    def __init__(
        self,
        config: BackendConfig,
        database: Database,
        timelines: Timelines,
        posts: Posts,
        replicas: Replicas,
        telemetry: Telemetry,
    ) -> None:
        self._database = database
        self._timelines = timelines
        self._posts = posts
        self._replicas = replicas
        self._telemetry = telemetry
        self._page_size = config.page_size
        self._cap = config.timeline_cap
        self._pulled_from = pulled_from(config.fanout_code, config.celebrity_threshold_followers)

    async def home_timeline(self, request: Request, trace: Trace) -> Reply:
        """The newest posts of whom a user follows: the stored list, or a rebuilt one, merged with the hot posts."""
        user = request.ident
        page = await self._timelines.read(trace, HOME_RECEIVE, user, self._page_size)
        if page.exists:
            self._telemetry.timeline_hits += 1
            ids, hot_followees = page.posts, page.hot_followees
        else:
            self._telemetry.timeline_misses += 1
            ids, hot_followees = await self._rebuild(user, request.session_lsn, page, trace)
        unlisted: dict[int, Guard] = {}
        if hot_followees:
            hot, unlisted = await self._timelines.read_hot(trace, HOME_HOT, hot_followees, self._page_size)
            ids = self._newest([*ids, *hot])
        found = await self._posts.read_many(trace, HOME_MERGE, ids, len(ids))
        if unlisted or len(found) < len(ids):
            ids = await self._fill(request.session_lsn, ids, found, unlisted, trace)
        posts = [found[post] for post in ids if post in found]
        return Reply(200, {"user": user, "posts": posts}, items=len(posts))

    async def profile(self, request: Request, trace: Trace) -> Reply:
        """An account and its newest posts."""
        server = self._replicas.choose(request.session_lsn)
        trace.mark(PROFILE_RECEIVE)
        rows = await self._database.profile(server, request.ident, self._page_size)
        trace.mark(DB_PROFILE_READ, 0, self._replicas.names[server])
        if not rows:
            raise _unknown_user("author", request.ident)
        posts = [{"id": post, "body": body, "created_ns": created} for _, _, post, body, created in rows if post]
        handle, followers = rows[0][:2]
        return Reply(200, {"user": request.ident, "handle": handle, "followers": followers, "posts": posts})

    async def create_post(self, request: Request, trace: Trace) -> Reply:
        """Store a post with its outbox row; repeating it is harmless."""
        post = _integer(request.document, "id", POST_IDS)
        author = _integer(request.document, "author", USER_IDS)
        body = _text(request.document, "body")
        trace.mark(CREATE_RECEIVE)
        outcome, created_ns, lsn = await self._database.create_post(post, author, body)
        trace.mark(DB_POST_INSERT, 0, "primary")
        if outcome not in (INSERTED, REPEATED):
            if outcome == 2:
                raise RejectedError(f"id: {post} is not allowed: that post belongs to another author", 409)
            raise _unknown_user("author", author)
        stored = Post(post, author, body, created_ns, 0)
        await self._posts.store(trace, CREATE_STORE, stored)
        return Reply(200, {"id": post, "created_ns": created_ns}, lsn=lsn)

    async def react(self, request: Request, trace: Trace) -> Reply:
        """Store a reaction and count it; a user's second one to the same post counts nothing."""
        post = request.ident
        user = _integer(request.document, "user", USER_IDS)
        trace.mark(REACT_RECEIVE)
        outcome, lsn = await self._database.react(post, user)
        trace.mark(DB_REACTION_INSERT, 0, "primary")
        if outcome not in (INSERTED, REPEATED):
            if outcome == 2:
                return MISSING
            raise _unknown_user("user", user)
        reactions = await self._posts.add_reactions(trace, REACT_COUNT, post, 1 if outcome == INSERTED else 0)
        return Reply(200, {"id": post, "reactions": reactions}, lsn=lsn)

    async def read_post(self, request: Request, trace: Trace) -> Reply:
        """One post with its counter."""
        post = await self._posts.read(trace, READ_RECEIVE, request.ident)
        if post is None:
            server = self._replicas.choose(request.session_lsn)
            trace.mark(READ_FILL)
            row = await self._database.post(server, request.ident)
            trace.mark(DB_POST_READ, 0, self._replicas.names[server])
            if row is None:
                return MISSING
            post = Post(*row)
            await self._posts.store(trace, READ_STORE, post)
        return Reply(200, post)

    def _newest(self, ids: list[int]) -> list[int]:
        return sorted(set(ids), reverse=True)[: self._page_size]

    async def _rebuild(self, user: int, session_lsn: int, page: Page, trace: Trace) -> tuple[list[int], list[int]]:
        """Read a timeline from the database and store it, unless pushes keep racing; its page and pulled followees."""
        guard = page.guard
        for _ in range(REBUILD_ATTEMPTS):
            server = self._replicas.choose_replayed(session_lsn, guard.needed_lsn)
            trace.mark(HOME_REBUILD)
            rebuilt = await self._database.timeline(server, user, self._cap, self._pulled_from)
            trace.mark(DB_TIMELINE_REBUILD, len(rebuilt.posts), self._replicas.names[server])
            if not rebuilt.user_exists:
                raise _unknown_user("user", user)
            outcome, guard = await self._timelines.store(
                trace, HOME_STORE, user, rebuilt.posts, rebuilt.pulled, guard=guard, lsn=rebuilt.lsn
            )
            if outcome != RACED:
                break
            self._telemetry.count("rebuild_races")
        return rebuilt.posts[: self._page_size], rebuilt.pulled

    async def _fill(
        self, session_lsn: int, ids: list[int], found: dict[int, Post], unlisted: dict[int, Guard], trace: Trace
    ) -> list[int]:
        """Read from the database what Redis lacks: posts' metadata, and the lists of pulled authors.

        Adds to `found`; returns the page's ids, which only change where a list was missing.
        """
        missing = [post for post in ids if post not in found]
        if unlisted:
            needed = max(guard.needed_lsn for guard in unlisted.values())
            server = self._replicas.choose_replayed(session_lsn, needed)
        else:
            server = self._replicas.choose(session_lsn)
        trace.mark(HOME_FILL, len(missing))
        rows = await self._database.posts(server, missing, list(unlisted), self._cap)
        trace.mark(DB_POSTS_READ, len(rows), self._replicas.names[server])
        read = {row[0]: Post(*row) for row in rows}
        for author, guard in unlisted.items():
            newest = [post.id for post in read.values() if post.author == author]
            newest.sort(reverse=True)
            await self._timelines.store_hot(trace, continued(HOME_FILL), author, newest, guard=guard, lsn=0)
            ids = self._newest([*ids, *newest])
        fresh = [read[post] for post in ids if post not in found and post in read]
        if fresh:
            await self._posts.store_many(trace, continued(HOME_FILL), fresh, 0)
        found.update((post.id, post) for post in fresh)
        return ids


def _unknown_user(field: str, user: int) -> RejectedError:
    return RejectedError(f"{field}: {user} is not allowed: there is no such user")


def _integer(document: dict[str, Any], field: str, allowed: range) -> int:
    value = document.get(field)
    if type(value) is not int or value not in allowed:
        raise RejectedError(f"{field}: {value!r} is not allowed: {expected(allowed)}")
    return value


def expected(allowed: range) -> str:
    return f"an integer from {allowed.start} to {allowed.stop - 1} is expected"


def _text(document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value or "\0" in value:
        raise RejectedError(f"{field}: {value!r} is not allowed: a non-empty text without NUL is expected")
    return value
