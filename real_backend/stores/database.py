"""PostgreSQL: bounded pools to the primary and each standby, and every statement of API and workers.

Servers are numbered as by `model.policy.routing.choose_server`: 0 .. n-1 are the standbys, `PRIMARY_SERVER` (-1) is the
primary. Connections commit by themselves, prepare each statement at its first use and plan it once.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8BinaryDumper
from psycopg_pool import AsyncConnectionPool

from model.policy.fanout import is_pulled
from model.policy.routing import PRIMARY_SERVER
from real_backend.stores.procedures import COMMIT_LSN

MAX_FOLLOWERS = 2**31 - 1

_CREATED_NS = "(extract(epoch FROM created_at) * 1000000)::bigint * 1000"
_REACTIONS = "(SELECT count(*) FROM reactions WHERE reactions.post_id = posts.id)"

CREATE_POST = "CALL create_post(%s, %s::integer, %s, 0, 0, 0)"
REACT = "CALL react(%s, %s::integer, 0, 0)"
PROFILE = f"""
    SELECT users.handle, users.follower_count, newest.id, newest.body, newest.created_ns
    FROM users LEFT JOIN LATERAL (
        SELECT id, body, {_CREATED_NS} AS created_ns
        FROM posts WHERE author_id = users.id ORDER BY id DESC LIMIT %s
    ) AS newest ON true
    WHERE users.id = %s
    ORDER BY newest.id DESC"""
POST = f"SELECT id, author_id, body, {_CREATED_NS}, {_REACTIONS} FROM posts WHERE id = %s"
POSTS = f"SELECT id, author_id, body, {_CREATED_NS}, {_REACTIONS} FROM posts WHERE id = ANY(%s)"
POSTS_AND_AUTHORS = f"""{POSTS}
    UNION ALL
    SELECT newest.* FROM unnest(%s) AS authors (id) CROSS JOIN LATERAL (
        SELECT id, author_id, body, {_CREATED_NS}, {_REACTIONS}
        FROM posts WHERE author_id = authors.id ORDER BY id DESC LIMIT %s
    ) AS newest"""
TIMELINE = (
    """
    WITH followed AS MATERIALIZED (
        SELECT users.id, users.follower_count
        FROM follows JOIN users ON users.id = follows.followee_id WHERE follows.follower_id = %(user)s
    )
    SELECT
        EXISTS (SELECT FROM users WHERE id = %(user)s),
        ARRAY(
            SELECT newest.id FROM followed CROSS JOIN LATERAL (
                SELECT id FROM posts WHERE author_id = followed.id ORDER BY id DESC LIMIT %(cap)s
            ) AS newest
            WHERE followed.follower_count < %(pulled_from)s ORDER BY newest.id DESC LIMIT %(cap)s
        ),
        ARRAY(SELECT id FROM followed WHERE follower_count >= %(pulled_from)s),
        """
    + COMMIT_LSN
)
FOLLOWERS = """
    SELECT follower_count, CASE WHEN follower_count < %s THEN
        ARRAY(SELECT follower_id FROM follows WHERE followee_id = users.id ORDER BY follower_id)
    END
    FROM users WHERE id = %s"""
REPLAYED = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint"

PostRow = tuple[int, int, str, int, int]
"""id, author, body, created_ns, reactions."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A home timeline as one server has it."""

    user_exists: bool
    posts: list[int]
    """Newest first, at most the cap, of the followed authors that are pushed."""
    pulled: list[int]
    """The followed authors that are pulled."""
    lsn: int
    """A log position behind everything that was read; 0 when a standby answered."""


def pulled_from(mode_code: int, threshold: int) -> int:
    """The least follower count at which `model.policy.fanout.is_pulled` says yes, for use inside a statement."""
    return bisect.bisect_left(range(MAX_FOLLOWERS + 1), True, key=lambda count: is_pulled(mode_code, count, threshold))


async def configure(connection: AsyncConnection[Any]) -> None:
    """What every connection needs: one integer type, so that a statement is prepared once, and one plan for each."""
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    await connection.set_autocommit(True)
    connection.prepare_threshold = 0
    await connection.execute("SET plan_cache_mode = force_generic_plan")


class Database:
    """Pools of `connections` to each server; who waits `timeout_s` for a free one gets a psycopg_pool.PoolTimeout."""

    def __init__(self, primary: str, standbys: Sequence[str], *, connections: int, timeout_s: float) -> None:
        self.standbys = len(standbys)
        self._pools: list[AsyncConnectionPool[AsyncConnection[Any]]] = [
            AsyncConnectionPool(
                url, min_size=connections, max_size=connections, timeout=timeout_s, configure=configure, open=False
            )
            for url in (*standbys, primary)
        ]

    async def open(self) -> None:
        for pool in self._pools:
            await pool.open(wait=True)

    async def warm(self, page_size: int, cap: int) -> None:
        """Run every read once on every connection, so that nothing is prepared under load."""
        for server, pool in enumerate(self._pools):
            taken = [await pool.getconn() for _ in range(pool.max_size)]
            for connection in taken:
                await connection.execute(PROFILE, (page_size, -1), binary=True)
                await connection.execute(POST, (-1,), binary=True)
                await connection.execute(POSTS, ([-1],), binary=True)
                await connection.execute(TIMELINE, {"user": -1, "cap": cap, "pulled_from": 1}, binary=True)
                if server == self.standbys:
                    await connection.execute(CREATE_POST, (-1, -1, ""), binary=True)
                    await connection.execute(REACT, (-1, -1), binary=True)
                await pool.putconn(connection)

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()

    def pool_sizes(self) -> list[tuple[int, int, int]]:
        """Per server, the primary last: connections open, of them idle, and requests waiting for one."""
        stats = [pool.get_stats() for pool in self._pools]
        return [(s.get("pool_size", 0), s.get("pool_available", 0), s.get("requests_waiting", 0)) for s in stats]

    async def create_post(self, post: int, author: int, body: str) -> tuple[int, int, int]:
        """Insert a post and its outbox row, commit; (outcome as in procedures.py, created_ns, lsn of the commit)."""
        outcome, created_us, lsn = (await self._rows(PRIMARY_SERVER, CREATE_POST, (post, author, body)))[0]
        return outcome, (created_us or 0) * 1000, lsn

    async def react(self, post: int, user: int) -> tuple[int, int]:
        """Insert a reaction, commit; (outcome as in procedures.py, lsn of the commit)."""
        outcome, lsn = (await self._rows(PRIMARY_SERVER, REACT, (post, user)))[0]
        return outcome, lsn

    async def profile(self, server: int, author: int, page_size: int) -> list[tuple[str, int, int, str, int]]:
        """(handle, follower count, post, body, created_ns) per post, newest first; no row for an unknown author,
        one with nulls for an author without posts."""
        return await self._rows(server, PROFILE, (page_size, author))

    async def post(self, server: int, post: int) -> PostRow | None:
        rows = await self._rows(server, POST, (post,))
        return rows[0] if rows else None

    async def posts(self, server: int, posts: list[int], authors: list[int], cap: int) -> list[PostRow]:
        """The given posts, and the newest `cap` posts of each of the given authors; unknown ones are left out."""
        if authors:
            return await self._rows(server, POSTS_AND_AUTHORS, (posts, authors, cap))
        return await self._rows(server, POSTS, (posts,))

    async def timeline(self, server: int, user: int, cap: int, pulled_from: int) -> Rebuilt:
        rows = await self._rows(server, TIMELINE, {"user": user, "cap": cap, "pulled_from": pulled_from})
        return Rebuilt(*rows[0])

    async def followers(self, server: int, author: int, pulled_from: int) -> tuple[int, list[int]]:
        """Follower count and, for authors with fewer than `pulled_from`, the followers in order."""
        rows = await self._rows(server, FOLLOWERS, (pulled_from, author))
        if not rows:
            return 0, []
        count, followers = rows[0]
        return count, followers or []

    async def _rows(self, server: int, statement: str, arguments: Any) -> list[Any]:
        pool = self._pools[server]
        connection = await pool.getconn()
        try:
            cursor = await connection.execute(statement, arguments, binary=True)
            return await cursor.fetchall()
        finally:
            await pool.putconn(connection)
