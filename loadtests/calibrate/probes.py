"""Probes for calibration: single operations on the idle stores, timed by the CPU their servers use.

Each operation runs alone, at two sizes where its cost depends on a size, through the very code that API and workers
use. What it costs a server under load is for the regression to say (see model.analysis.fit); the probes say how the
cost divides between operations, and between a visit and its items.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from loadtests.calibrate.roles import RoleMeter
from model.analysis.fit import Prior
from model.spec.seed_tables import SeedTables
from model.spec.steps import Process
from real_backend.stack import Stack
from real_backend.stores import posts as post_store
from real_backend.stores import timelines as timeline_store
from real_backend.stores.database import Database, pulled_from
from real_backend.stores.posts import Post, Posts
from real_backend.stores.shards import Shards
from real_backend.stores.timelines import Timelines
from real_backend.telemetry import STEP_CODES, Telemetry, Trace

CALLS = 150
_ENDING = STEP_CODES["api.read_post.receive"]

Operation = Callable[[Trace, int], Awaitable[object]]


@dataclass(frozen=True)
class Probe:
    """One operation on one kind of server; `call(trace, k)` is its k-th run."""

    step: str
    role: str
    call: Operation


@dataclass(frozen=True)
class Reading:
    """What `CALLS` runs of a probe used: CPU, visits and items of the step, and how much single calls varied."""

    cpu_s: float
    visits: int
    items: int
    cv: float


def probe_stores(stack: Stack, seeds: SeedTables) -> dict[str, Prior]:
    """Base and per-item CPU of every store operation. The stores hold other data afterwards: reset them."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_probe_stores(stack, seeds))
    # A notebook runs its cells inside an event loop, which cannot run another one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _probe_stores(stack, seeds)).result()


async def _probe_stores(stack: Stack, seeds: SeedTables) -> dict[str, Prior]:
    config = stack.config
    shards = Shards(config.redis_urls, config.virtual_nodes)
    await shards.open(1, (*timeline_store.SCRIPTS, *post_store.SCRIPTS))
    database = Database(config.postgres_url, config.standby_urls, connections=1, timeout_s=10.0)
    await database.open()
    await database.warm(config.page_size, config.timeline_cap)
    relays = [info.pids[0] for info in stack.processes if info.kind is Process.RELAY]
    # The relay would answer the probes' posts with work of its own.
    for pid in relays:
        os.kill(pid, signal.SIGSTOP)
    try:
        meter = RoleMeter(stack)
        telemetry = Telemetry("probe", len(config.standby_urls))
        small = await _readings(_probes(stack, seeds, shards, database, large=False), meter, telemetry)
        large = await _readings(_probes(stack, seeds, shards, database, large=True), meter, telemetry)
    finally:
        for pid in relays:
            os.kill(pid, signal.SIGCONT)
        await shards.close()
        await database.close()
    return {step: _prior(small[step], large[step]) for step in small}


def _prior(small: Reading, large: Reading) -> Prior:
    """Two sizes give base and slope; where the sizes do not differ, all is base."""
    per_visit = [reading.cpu_s / max(reading.visits, 1) for reading in (small, large)]
    items = [reading.items / max(reading.visits, 1) for reading in (small, large)]
    if items[1] - items[0] < 0.5:
        return Prior(statistics.fmean(per_visit), 0.0, min(small.cv, large.cv))
    slope = max(0.0, (per_visit[1] - per_visit[0]) / (items[1] - items[0]))
    slope = min(slope, per_visit[1] / items[1])
    return Prior(max(0.0, per_visit[1] - slope * items[1]), slope, small.cv)


async def _readings(probes: Iterable[Probe], meter: RoleMeter, telemetry: Telemetry) -> dict[str, Reading]:
    return {probe.step: await _run(probe, meter, telemetry) for probe in probes}


async def _run(probe: Probe, meter: RoleMeter, telemetry: Telemetry) -> Reading:
    trace = Trace(telemetry)
    for k in range(10):  # plans, caches and connections
        await probe.call(trace, CALLS + k)
    counter = telemetry.steps[STEP_CODES[probe.step]]
    visits, items = counter.visits, counter.items
    before = meter.sample()[probe.role].cpu_s
    walls = []
    for k in range(CALLS):
        trace.resume()
        began = time.perf_counter()
        result = await probe.call(trace, k)
        walls.append(time.perf_counter() - began)
        if probe.step.startswith("db."):
            trace.mark(STEP_CODES[probe.step], result if isinstance(result, int) else 0)
    cpu_s = meter.sample()[probe.role].cpu_s - before
    trimmed = np.sort(walls)[: int(0.97 * CALLS)]
    cv = float(trimmed.std() / trimmed.mean())
    return Reading(cpu_s, counter.visits - visits, counter.items - items, cv)


def _probes(stack: Stack, seeds: SeedTables, shards: Shards, database: Database, *, large: bool) -> list[Probe]:
    config = stack.config
    timelines, posts = Timelines(shards, config.timeline_cap), Posts(shards)
    users, newest = seeds.users, int(seeds.post_ids[-1])
    pulled = pulled_from(config.fanout_code, config.celebrity_threshold_followers)
    counts = np.diff(seeds.follower_offsets)
    by_followers = np.argsort(counts, kind="stable")
    few, many = by_followers[users // 4 : users // 2], by_followers[-users // 10 :]
    many = many[counts[many] < pulled] if (counts[many] < pulled).any() else few
    hot = [int(author) for author in (np.flatnonzero(seeds.hot) if seeds.hot.any() else by_followers[-3:])]
    followed = hot[: 12 if large else 1]
    shift = 1_000_000 if large else 0
    page = config.page_size if large else 1
    ids = (3 * config.page_size) // 2 if large else 2

    def recent(k: int, n: int) -> list[int]:
        return [newest - (k * 7 + i * 3) % min(newest - 1, 2_000) for i in range(n)]

    def made(k: int) -> Post:
        return Post(newest + 10_000_000 + shift + k, k % users, "x" * 200, 1, 0)

    async def timeline_store_call(trace: Trace, k: int) -> object:
        user = users + shift + k
        page_read = await timelines.read(trace, _ENDING, user, 1)
        entries = list(range(newest, newest - (120 if large else 5), -1))
        return await timelines.store(trace, _ENDING, user, entries, (), guard=page_read.guard, lsn=1)

    async def followers(trace: Trace, k: int) -> int:
        authors = many if large else few
        return (await database.followers(server, int(authors[k % len(authors)]), pulled))[0]

    async def posts_read(trace: Trace, k: int) -> int:
        return len(await database.posts(server, recent(k, ids), [], config.timeline_cap))

    async def rebuild(trace: Trace, k: int) -> int:
        return len((await database.timeline(server, k % users, config.timeline_cap, pulled)).posts)

    def batch_of(k: int) -> list[int]:
        return [(k * 37 + i) % users for i in range(90 if large else 6)]

    server = 0 if config.standby_urls else -1
    reads = "standby.backends" if config.standby_urls else "primary.backends"
    writes = "primary.backends"
    pushed, inserted = newest + 20_000_000 + shift, newest + 30_000_000 + shift
    operations: list[tuple[str, str, Operation]] = [
        ("redis.timeline_read", "redis", lambda t, k: timelines.read(t, _ENDING, k % users, page)),
        ("redis.timeline_store", "redis", timeline_store_call),
        ("redis.timeline_push", "redis", lambda t, k: timelines.push(t, _ENDING, pushed + k, 1, batch_of(k))),
        ("redis.hot_posts_read", "redis", lambda t, k: timelines.read_hot(t, _ENDING, followed, config.page_size)),
        ("redis.hot_post_push", "redis", lambda t, k: timelines.push_hot(t, _ENDING, pushed + k, 1, hot[k % len(hot)])),
        ("redis.posts_multiget", "redis", lambda t, k: posts.read_many(t, _ENDING, recent(k, ids), 0)),
        (
            "redis.posts_store",
            "redis",
            lambda t, k: posts.store_many(t, _ENDING, [made(1000 * k + i) for i in range(ids)], 0),
        ),
        ("redis.post_read", "redis", lambda t, k: posts.read(t, _ENDING, recent(k, 1)[0])),
        ("redis.post_store", "redis", lambda t, k: posts.store(t, _ENDING, made(k))),
        ("redis.counter_increment", "redis", lambda t, k: posts.add_reactions(t, _ENDING, recent(k, 1)[0], 1)),
        ("db.profile_read", reads, lambda t, k: database.profile(server, k % users, config.page_size)),
        ("db.post_read", reads, lambda t, k: database.post(server, recent(k, 1)[0])),
        ("db.posts_read", reads, posts_read),
        ("db.timeline_rebuild", reads, rebuild),
        ("db.followers_read", reads, followers),
        ("db.post_insert", writes, lambda t, k: database.create_post(inserted + k, k % users, "x" * 200)),
        ("db.reaction_insert", writes, lambda t, k: database.react(recent(k, 1)[0], (shift // 1000 + k) % users)),
    ]
    return [Probe(*operation) for operation in operations]
