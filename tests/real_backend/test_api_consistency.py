"""Reading your own writes: the log position after a commit, and what the routing makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from psycopg import AsyncConnection

from model.policy.fanout import is_pulled
from model.policy.routing import ROUTING_CODES
from model.spec import Scenario
from model.spec.seed_tables import SeedTables
from real_backend.stack import Stack
from real_backend.stores.database import MAX_FOLLOWERS, REPLAYED, Database, pulled_from
from real_backend.stores.procedures import install_procedures
from tests.real_backend.client import SESSION, Client
from tests.real_backend.polling import eventually

WRITERS, POSTS_PER_WRITER = 8, 40
DEADLINE_S = 20.0


@pytest.fixture
def delayed(stack: Stack, small_seed: SeedTables) -> Iterator[Stack]:
    """The backend with its one standby's replay paused."""
    stack.reset(small_seed)
    stack.faults.pause_standby(0)
    yield stack
    stack.faults.resume_standby(0)


@pytest.fixture
def client(delayed: Stack) -> Iterator[Client]:
    opened = Client(delayed.urls.api[0])
    yield opened
    opened.close()


def test_a_standby_that_replayed_a_commits_position_always_shows_the_commit(
    stores: Stack, small_seed: SeedTables
) -> None:
    """Concurrent commits share flushes; each one's position must still lie behind its own commit record."""
    stores.reset(small_seed)
    assert asyncio.run(_write_and_check(stores, small_seed.posts + 1)) == WRITERS * POSTS_PER_WRITER


async def _write_and_check(stores: Stack, first_post: int) -> int:
    config = stores.config
    await install_procedures(config.postgres_url)
    database = Database(config.postgres_url, (), connections=WRITERS, timeout_s=DEADLINE_S)
    await database.open()
    committed: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    async def write(writer: int) -> None:
        for i in range(POSTS_PER_WRITER):
            post = first_post + writer * POSTS_PER_WRITER + i
            outcome, _, lsn = await database.create_post(post, post % 10, "x")
            assert outcome == 0
            committed.put_nowait((post, lsn))

    async def check() -> int:
        seen = 0
        async with await AsyncConnection.connect(config.standby_urls[0], autocommit=True) as standby:
            while seen < WRITERS * POSTS_PER_WRITER:
                post, lsn = await committed.get()
                while await _one(standby, REPLAYED) < lsn:
                    pass
                assert await _one(standby, "SELECT count(*) FROM posts WHERE id = %s", post) == 1, (post, lsn)
                seen += 1
        return seen

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        for writer in range(WRITERS):
            tasks.create_task(write(writer))
        checking = tasks.create_task(check())
    await database.close()
    return checking.result()


async def _one(connection: AsyncConnection[Any], statement: str, *arguments: object) -> int:
    row = await (await connection.execute(statement.encode(), arguments)).fetchone()
    assert row is not None
    return int(row[0])


def test_a_session_reads_its_own_write_while_others_read_the_standby(
    delayed: Stack, small_seed: SeedTables, client: Client
) -> None:
    post = small_seed.posts + 1
    session = {SESSION: str(client.post("/posts", {"id": post, "author": 7, "body": "mine"}).lsn)}
    own = client.get("/profile/7", session).document["posts"]
    others = client.get("/profile/7").document["posts"]
    assert own[0]["id"] == post
    assert post not in [other["id"] for other in others]
    delayed.faults.resume_standby(0)

    def standby_serves_the_session() -> bool:
        before = client.get("/telemetry").document["reads"]["standby0"]
        assert client.get("/profile/7", session).document["posts"][0]["id"] == post
        return bool(client.get("/telemetry").document["reads"]["standby0"] > before)

    eventually(standby_serves_the_session, "the session reads the standby again")


def test_a_rebuild_finds_a_post_that_was_pushed_past_it_although_the_standby_lags(
    delayed: Stack, small_seed: SeedTables, client: Client
) -> None:
    """The push found no timeline and left its log position; the rebuild may not ask a server that is behind it."""
    author = next(a for a in range(small_seed.users) if _absent_followers(small_seed, a) and not small_seed.hot[a])
    post = small_seed.posts + 1
    client.post("/posts", {"id": post, "author": author, "body": "pushed"})
    config = delayed.config
    with psycopg.connect(config.postgres_url, autocommit=True) as connection:
        eventually(lambda: connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,), "an empty outbox")
    reader = _absent_followers(small_seed, author)[0]
    eventually(lambda: _guarded(delayed, reader), "the push has passed by")
    assert client.get(f"/home/{reader}").document["posts"][0]["id"] == post


def _absent_followers(seed: SeedTables, author: int) -> list[int]:
    followers = seed.followers[seed.follower_offsets[author] : seed.follower_offsets[author + 1]]
    return [int(follower) for follower in followers if not seed.materialized[follower]]


def _guarded(stack: Stack, user: int) -> bool:
    found = False
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            found = found or bool(shard.exists(f"tlv:{user}"))
    return found


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("threshold", [0, 1, 50, 2_000])
def test_statements_pull_from_the_follower_count_at_which_the_policy_does(mode: int, threshold: int) -> None:
    least = pulled_from(mode, threshold)
    counts = (0, 1, least - 1, least, least + 1, threshold, 10**6)
    for count in (count for count in counts if 0 <= count <= MAX_FOLLOWERS):
        assert (count >= least) == is_pulled(mode, count, threshold)


def test_the_configuration_codes_are_the_policys(small_scenario: Scenario, stack: Stack) -> None:
    assert stack.config.routing_code == ROUTING_CODES[small_scenario.policies.replica_routing]
