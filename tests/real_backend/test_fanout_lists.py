"""Lists of post ids: pushes against a plain model, and every race between pushes, rebuilds and lost caches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.policy.sharding import KEY_TIMELINE
from model.rng.streams import generator
from model.spec.seed_tables import SeedTables
from real_backend.api.feed import Request
from real_backend.api.service import Service
from real_backend.audit import audit
from real_backend.keys import TIMELINE_END, timeline_key
from real_backend.lag_log import LagLog
from real_backend.messages import NewPost
from real_backend.stack import Stack
from real_backend.stores import timelines as lists
from real_backend.stores.shards import Shards
from real_backend.stores.timelines import PRESENT, RACED, STORED, Timelines
from real_backend.telemetry import Telemetry, Trace
from real_backend.workers.fanout import FanOut

CAP = 5
USER = 1_000_001
STEP = 0


@asynccontextmanager
async def _timelines(stores: Stack) -> AsyncIterator[tuple[Timelines, Shards, Trace]]:
    shards = Shards(stores.urls.redis, stores.config.virtual_nodes)
    await shards.open(1, lists.SCRIPTS)
    yield Timelines(shards, CAP), shards, Trace(Telemetry("test", 0))
    await shards.close()


def _with_timelines(stores: Stack, body: Callable[[Timelines, Trace], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _timelines(stores) as (timelines, _, trace):
            await body(timelines, trace)

    asyncio.run(run())


@pytest.fixture
def raw(stores: Stack) -> Iterator[redis.Redis]:
    """The shard of `USER`, with nothing of that user's on it before and after."""
    shards = Shards(stores.urls.redis, stores.config.virtual_nodes)
    with redis.Redis.from_url(stores.urls.redis[shards.shard(KEY_TIMELINE, USER)], decode_responses=True) as client:
        mine = (timeline_key(USER), f"tlv:{USER}", f"hf:{USER}")
        client.delete(*mine)
        yield client
        client.delete(*mine)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.sets(st.integers(1, 30), max_size=CAP), pushes=st.lists(st.integers(1, 30), max_size=20))
def test_pushes_in_any_order_and_number_leave_the_newest(
    stores: Stack, raw: redis.Redis, stored: set[int], pushes: list[int]
) -> None:
    raw.delete(timeline_key(USER))
    entries = sorted(stored, reverse=True)
    raw.rpush(timeline_key(USER), *entries, *([TIMELINE_END] if len(entries) < CAP else []))

    async def push(timelines: Timelines, trace: Trace) -> None:
        newly = 0
        for post in pushes:
            newly += (await timelines.push(trace, STEP, post, 1, [USER])).pushed
        assert newly >= len(set(expected) - stored)

    expected = sorted(stored | set(pushes), reverse=True)[:CAP]
    _with_timelines(stores, push)
    held = [int(entry) for entry in raw.lrange(timeline_key(USER), 0, -1)]
    assert held == expected + [int(TIMELINE_END)] * (len(expected) < CAP)


def test_a_push_past_a_missing_list_leaves_the_highest_position(stores: Stack, raw: redis.Redis) -> None:
    async def push(timelines: Timelines, trace: Trace) -> None:
        for lsn in (70, 90, 80):
            pushed = await timelines.push(trace, STEP, 7, lsn, [USER])
            assert (pushed.pushed, pushed.present, pushed.absent) == (0, 0, 1)

    _with_timelines(stores, push)
    assert not raw.exists(timeline_key(USER))
    assert raw.get(f"tlv:{USER}") == "90"


def test_a_rebuild_stores_unless_a_push_raced_or_somebody_was_first(stores: Stack, raw: redis.Redis) -> None:
    async def race(timelines: Timelines, trace: Trace) -> None:
        page = await timelines.read(trace, STEP, USER, 3)
        assert not page.exists
        await timelines.push(trace, STEP, 9, 90, [USER])
        outcome, guard = await timelines.store(trace, STEP, USER, [4, 2], [8], guard=page.guard, lsn=0)
        assert (outcome, guard.version) == (RACED, "90")
        assert guard.needed_lsn >= 90
        assert (await timelines.store(trace, STEP, USER, [9, 4, 2], [8], guard=guard, lsn=0))[0] == STORED
        assert (await timelines.store(trace, STEP, USER, [4, 2], [], guard=guard, lsn=0))[0] == PRESENT
        stored = await timelines.read(trace, STEP, USER, 3)
        assert (stored.exists, stored.posts, stored.hot_followees) == (True, [9, 4, 2], [8])

    _with_timelines(stores, race)


def test_a_rebuild_that_a_flush_overtook_begins_again(stores: Stack, raw: redis.Redis) -> None:
    """The flush may have taken a guard with it that the rebuild should have seen."""
    floor = raw.get("tlv:floor")

    async def race(timelines: Timelines, trace: Trace) -> None:
        page = await timelines.read(trace, STEP, USER, 3)
        raw.set("tlv:floor", page.guard.needed_lsn + 10)
        outcome, guard = await timelines.store(trace, STEP, USER, [4, 2], [], guard=page.guard, lsn=0)
        assert outcome == RACED
        assert guard.needed_lsn == page.guard.needed_lsn + 10

    _with_timelines(stores, race)
    raw.set("tlv:floor", floor or "0")


def test_a_shard_without_a_floor_is_rebuilt_from_the_primary_which_sets_it(stores: Stack, raw: redis.Redis) -> None:
    floor = raw.get("tlv:floor")
    raw.delete("tlv:floor")

    async def rebuild(timelines: Timelines, trace: Trace) -> None:
        page = await timelines.read(trace, STEP, USER, 3)
        assert page.guard.needed_lsn == lists.UNKNOWN_LSN
        assert (await timelines.store(trace, STEP, USER, [], [], guard=page.guard, lsn=55))[0] == STORED

    _with_timelines(stores, rebuild)
    assert raw.get("tlv:floor") == "55"
    assert raw.lrange(timeline_key(USER), 0, -1) == [TIMELINE_END]
    raw.set("tlv:floor", floor or "0")


POSTS, WORKERS, READERS, FLUSHES = 400, 4, 6, 16
DEADLINE_S = 60.0


@pytest.mark.parametrize("standby", ["healthy", "delayed"])
def test_racing_pushes_rebuilds_and_flushes_deliver_everything_once(
    stores: Stack, small_seed: SeedTables, standby: str
) -> None:
    """Posts are committed and pushed, some twice, while all timelines are read, rebuilt and lost again."""
    stores.reset(small_seed)
    if standby == "delayed":
        stores.faults.delay_standby(0, 0.3)
    try:
        asyncio.run(_race(stores, small_seed))
    finally:
        stores.faults.delay_standby(0, 0.0)
    config = stores.config
    result = audit(config.postgres_url, config.redis_urls, config, since_post_id=small_seed.posts)
    assert result.posts_created == POSTS
    assert result.deliveries_expected > POSTS
    assert result.complete, result


async def _race(stores: Stack, seed: SeedTables) -> None:
    config = stores.config
    rng = generator(7, "test.fanout.race")
    authors = rng.integers(0, seed.users, POSTS).tolist()
    readers = rng.integers(0, seed.users, (READERS, 100_000))
    messages: asyncio.Queue[NewPost] = asyncio.Queue()
    written = asyncio.Event()
    async with Service(config, "test") as service:
        worker_lists = Timelines(service.shards, config.timeline_cap)

        async def write() -> None:
            for i, author in enumerate(authors):
                post = seed.posts + 1 + i
                outcome, created_ns, lsn = await service.database.create_post(post, author, "x")
                assert outcome == 0
                for _ in range(1 + i % 2):
                    messages.put_nowait(NewPost(post=post, author=author, created_ns=created_ns, lsn=lsn))
                if i % (POSTS // FLUSHES) == POSTS // FLUSHES // 2:
                    await asyncio.to_thread(stores.faults.flush_shard, i % len(config.redis_urls))
            written.set()

        async def deliver(index: int) -> None:
            with LagLog(config.runtime_path, f"race{index}") as log:
                fan_out = FanOut(config, service.database, worker_lists, log, service.telemetry)
                while not (written.is_set() and messages.empty()):
                    try:
                        message = messages.get_nowait()
                    except asyncio.QueueEmpty:
                        await asyncio.sleep(0)
                        continue
                    await fan_out.deliver(message)

        async def read(users: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
            for user in users.tolist():
                if written.is_set() and messages.empty():
                    return
                reply = await service.feed.home_timeline(Request(user, 0, {}), Trace(service.telemetry))
                assert reply.status == 200
                await asyncio.sleep(0)

        async with asyncio.timeout(DEADLINE_S):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(write())
                for index in range(WORKERS):
                    tasks.create_task(deliver(index))
                for row in readers:
                    tasks.create_task(read(row))
            for user in range(seed.users):
                await service.feed.home_timeline(Request(user, 0, {}), Trace(service.telemetry))
        assert service.telemetry.timeline_misses > seed.users
        assert service.telemetry.counters["rebuild_races"] > 0
