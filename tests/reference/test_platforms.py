"""Small platforms that between them use every part, path by path in the engine and in the reference.

Each is loaded twice: at random instants, and on a coarse grid of time, where most of what happens coincides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.engine import layout as c
from model.engine.plant import Background, Discipline, Eviction, Plant
from model.engine.program import (
    Acquire,
    Admit,
    Attempt,
    Coalesce,
    Fail,
    Forever,
    Forget,
    Get,
    Lookup,
    Path,
    Put,
    Release,
    Store,
    Switch,
    Turn,
    While,
    delay,
    flush,
    serve,
    spawn,
    when,
)  # fmt: skip
from model.engine.tables import constant, exponential_from_mean, lognormal_from_mean_cv
from tests.reference.compared import Platform, Request, assert_agree
from tests.reference.drawn import effect, feed_data
from tests.reference.feed import E
from tests.reference.model import TRY_BRANCHES, Reference
from tests.reference.numbers import key_of, uniform

NS = 1e-9
GRID_NS = 100
COUNT = 150
LOADS = ("random", "grid")
KEYS, USERS = 9, 5
Build = Callable[[Plant], None]


def requests(load: str, mean_gap_ns: int, endpoints: int = 1, count: int = COUNT, seed: int = 1) -> list[Request]:
    """Poisson arrivals; on the grid, several to an instant."""
    random = np.random.Generator(np.random.Philox(seed))
    times = np.cumsum(random.exponential(mean_gap_ns, count)).astype(np.int64)
    if load == "grid":
        times = times // GRID_NS * GRID_NS
    keys = random.zipf(1.4, count) % KEYS + 1
    columns = [times, random.integers(0, endpoints, count), random.integers(0, USERS, count), keys]
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()]


def costs(plant: Plant, load: str) -> None:
    """Varying costs, or on the grid fixed ones that are multiples of its mesh."""
    for name, mean_ns in (("short", 100), ("work", 200), ("long", 500)):
        plant.step(name, mean_ns * NS, cv=0.0 if load == "grid" else 0.8)
    plant.step("commit", 0.0)
    plant.wait("ship", constant(200.0) if load == "grid" else exponential_from_mean(230.0))
    plant.wait("flush", constant(400.0) if load == "grid" else lognormal_from_mean_cv(350.0, 0.6))
    plant.wait("stall", constant(700.0) if load == "grid" else lognormal_from_mean_cv(800.0, 1.0))


def agree(
    load: str, build: Callable[[Plant], list[Path]], gap_ns: int, *, count: int = COUNT, **options: Any
) -> Reference:
    """Both models of a platform whose paths `build` returns."""

    def declare(plant: Plant) -> None:
        costs(plant, load)
        plant.endpoints.extend(build(plant))

    probe = Plant()
    declare(probe)
    return assert_agree(Platform(declare, requests=requests(load, gap_ns, len(probe.endpoints), count), **options))


def outcomes(model: Reference) -> set[int]:
    return {row[4] for row in model.log if row[0] == c.LOG_REQUEST}


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("servers", [1, 3])
def test_fifo(load: str, servers: int) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.fifo("station", servers=servers)
        plant.fifo("keyed", count=2, selector=c.SEL_KEY)
        return [(serve("work", on="station"), serve("short", on="keyed"))]

    agree(load, build, 210 // servers)


@pytest.mark.parametrize("load", LOADS)
def test_delays_fixed_and_drawn(load: str) -> None:
    agree(load, lambda _: [(delay("ship"), delay(fixed_s=0.0), delay("ship", fixed_s=100 * NS))], 50)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("discipline", ["fcfs", "sharing"])
@pytest.mark.parametrize("cores", [1, 2])
def test_processes_on_a_host_with_stalls(load: str, discipline: Discipline, cores: int) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.host("machine", cores, discipline)
        plant.loop("api", host="machine", wake_s=100 * NS, poll_s=50 * NS, count=2, selector=c.SEL_LANE)
        plant.loop("store", host="machine", wake_s=50 * NS, poll_s=0.0)
        plant.multi("database", host="machine", wake_s=0.0)
        slow = (serve("long", on="database"), serve("short", on="store"))
        return [(serve("work", on="api"), serve("short", on="store"), serve("short", on="api")), slow]

    settings = {c.SET_LANES: 2}
    agree(load, build, 600 // cores, settings=settings, stalls=(2e5, "stall"), until_ns=1_000_000)
    agree(load, build, 600 // cores, settings=settings)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("evicts", ["lru", "fifo"])
def test_a_cache_that_evicts_and_forgets_and_whose_entries_expire(load: str, evicts: Eviction) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.cache("posts", 4, ttl_s=1000 * NS, evicts=evicts)
        plant.fifo("database", servers=2)
        fetch = (serve("work", on="database"), Store("posts"))
        return [(Lookup("posts"), when(fetch), delay(fixed_s=100 * NS))] * 4 + [(Forget("posts"), delay("ship"))]

    model = agree(load, build, 150, count=400)
    (cache,) = model.caches
    assert min(cache.hits, cache.misses, cache.evicted, cache.expired) > 5


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("workers", [1, 3])
def test_messages_to_workers(load: str, workers: int) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.queue("messages")
        plant.fifo("worker", servers=workers)
        for _ in range(workers):
            plant.backgrounds.append(
                Background((Forever((Get("messages"), serve("long", on="worker"), delay("ship"))),))
            )
        # Two messages of one request: their workers work as one entity, in all things at once on the grid.
        return [(Put("messages"), delay("ship"), Put("messages"), Put("messages"))]

    model = agree(load, build, 900 // workers)
    assert model.steps["long"].visits == 3 * COUNT


@pytest.mark.parametrize("load", LOADS)
def test_spawned_jobs_nobody_waits_for(load: str) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.fifo("station", count=4, selector=c.SEL_SERVER)
        plant.fifo("one")
        copies = (delay("ship"), serve("work", on="station"), serve("short", on="one"))
        return [(spawn((delay(fixed_s=100 * NS), spawn(copies, 2)), 2), serve("short", on="one"))]

    agree(load, build, 700)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("then_wait", ["", "ship"])
@pytest.mark.parametrize("leader", [False, True])
def test_group_commit(load: str, leader: bool, then_wait: str) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.host("machine")
        plant.multi("database", host="machine", wake_s=50 * NS)
        plant.group_commit("log", "flush", leader=leader)
        plant.pool("pool", 3)
        turn = Turn("short", "database", then_wait) if leader else None
        write = (Acquire("pool"), serve("short", on="database"), flush("commit", on="log", turn=turn), Release("pool"))
        return [write, (serve("work", on="database"),)]

    agree(load, build, 500)


@pytest.mark.parametrize("load", LOADS)
def test_refusals(load: str) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.limiter("limit", rate_per_s=1e6, burst=2, keys=3)
        plant.pool("slots", 2)
        plant.fifo("station", servers=2)
        work = (serve("long", on="station"), Release("slots"))
        admitted = (Acquire("slots", most_waiting=1), when((Fail("rejected"),), work))
        return [(Admit("limit"), when((Fail("rejected"),), admitted)), (Acquire("slots"), *work)]

    model = agree(load, build, 200)
    assert outcomes(model) == {0, 5}
    assert model.limiters[0].refused > 5


@pytest.mark.parametrize("load", LOADS)
def test_requests_for_one_key_share_an_answer(load: str) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.coalescer("flights")
        plant.limiter("limit", rate_per_s=4e6, burst=1, key="target", keys=2)
        plant.cache("posts", 3)
        plant.fifo("database", servers=3)
        fetch = (serve("work", on="database"), Admit("limit"), when((Fail("missing"),)), Store("posts"))
        miss = (Coalesce("flights", fetch), delay(fixed_s=100 * NS))
        read = (Lookup("posts"), when(miss), delay(fixed_s=100 * NS))
        return [read, (Coalesce("flights", (delay("ship"),)), serve("short", on="database"))]

    assert outcomes(agree(load, build, 60)) == {0, 1}


@pytest.mark.parametrize("load", LOADS)
def test_what_tries_and_flights_bring_back(load: str) -> None:
    """How often a loop has come round, where a delivery stands, and how many items there are."""

    def build(plant: Plant) -> list[Path]:
        plant.step("batch", 0.0, 50 * NS)
        plant.fifo("station", servers=2)
        plant.coalescer("flights", key="user")
        visit = serve("work", on="station")
        deliver = While(effect(E.NEXT_BATCH, 2), (visit, effect(E.DELIVER)))
        tries = Attempt((deliver,), timeout_s=600 * NS, retries=3, backoff_s=100 * NS)
        fetch = Coalesce("flights", (effect(E.ITEMS, 4), delay("ship")))
        return [(tries, Attempt((visit,)), fetch, serve("batch", on="station"))]

    settings = {c.SET_TIMELINE_CAP: 5, c.SET_PAGE: 3}
    model = agree(load, build, 400, data=feed_data(), settings=settings, shards=3)
    assert outcomes(model) == {0}
    assert model.steps["batch"].items == 4 * COUNT


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("discipline", ["fcfs", "sharing"])
def test_timeouts_retries_and_abandoned_work(load: str, discipline: Discipline) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.host("machine", 2, discipline)
        plant.multi("database", host="machine", wake_s=0.0)
        plant.fifo("station")
        plant.coalescer("flights")
        inner = Attempt((serve("work", on="station"),), timeout_s=300 * NS, retries=1)
        outer = (serve("work", on="database"), inner, when((Fail("timeout"),)), delay("ship"))
        tries = Attempt((Coalesce("flights", outer),), timeout_s=900 * NS, retries=2, backoff_s=200 * NS)
        again = Attempt((serve("work", on="database"),), timeout_s=400 * NS)
        return [(tries, when((again,)), delay(fixed_s=100 * NS)), (serve("long", on="database"),)]

    model = agree(load, build, 150)
    assert outcomes(model) == {0, 3}
    branches = {row[4] // TRY_BRANCHES for row in model.log if row[0] == c.LOG_STEP}
    assert branches >= {0, 1, 2}, "retries within retries"


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("discipline", ["fcfs", "sharing"])
def test_faults_and_scaling_while_it_runs(load: str, discipline: Discipline) -> None:
    def build(plant: Plant) -> list[Path]:
        plant.host("machine", 2, discipline)
        plant.loop("api", host="machine", wake_s=50 * NS, poll_s=50 * NS)
        plant.multi("database", host="machine", wake_s=0.0)
        plant.fifo("cache", servers=2)
        plant.pool("pool", 3)
        plant.switch("open")
        query = (Acquire("pool"), serve("work", on="database"), Release("pool"))
        failed = (Switch("open"), when((Fail("rejected"),), (serve("short", on="cache"), *query)))
        return [(serve("short", on="api"), *failed, serve("short", on="api"))]

    api, database, cache, pool = range(4)
    actions = (
        (2_000, lambda plane: plane.pause(api)), (4_000, lambda plane: plane.resume(api)),
        (6_000, lambda plane: plane.slow_down(database, 4.0)), (6_000, lambda plane: plane.set_servers(pool, 1)),
        (9_000, lambda plane: plane.set_servers(pool, 5)), (9_050, lambda plane: plane.slow_down(database, 1.0)),
        (10_000, lambda plane: plane.pause(cache)), (10_500, lambda plane: plane.set_servers(cache, 4)),
        (11_000, lambda plane: plane.resume(cache)), (11_100, lambda plane: plane.set_servers(cache, 1)),
        (12_000, lambda plane: plane.slow_down_host("machine", 1.7)),
        (14_000, lambda plane: plane.switch("open", on=True)), (15_000, lambda plane: plane.switch("open", on=False)),
        (16_000, lambda plane: plane.slow_down_host("machine", 1.0)),
    )  # fmt: skip
    assert outcomes(agree(load, build, 130, actions=actions)) == {0, 5}


@pytest.mark.parametrize("load", LOADS)
def test_more_tokens_for_those_who_wait(load: str) -> None:
    """Who waits came in another order than that of the requests."""

    def build(plant: Plant) -> list[Path]:
        plant.pool("pool", 1)
        plant.fifo("station")
        section = (Acquire("pool"), serve("work", on="station"), Release("pool"))
        return [(delay(fixed_s=3000 * NS), *section), section]

    actions = tuple((4000 * i, lambda plane, i=i: plane.set_servers(0, 1 + i % 2 * 5)) for i in range(1, 12))
    agree(load, build, 180, actions=actions)


@pytest.mark.parametrize("early_ns", [(-200, -200), (-400, -200, -200, -100), (-100,)])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("discipline", ["fcfs", "sharing"])
def test_what_is_due_at_the_instant_of_a_stall(
    discipline: Discipline, background: bool, early_ns: tuple[int, ...]
) -> None:
    """Services of requests and of background jobs that should end, begin, or both, as a stall begins or ends."""
    rate_per_s, length_ns = 1e4, 1000
    stall_ns = int(-math.log(uniform(key_of(1, "stall gap"), 0, 0, 0)) / (rate_per_s / 1e9))

    def build(plant: Plant) -> None:
        costs(plant, "grid")
        plant.wait("pause", constant(float(length_ns)))
        plant.host("machine", discipline=discipline)
        plant.multi("database", host="machine", wake_s=0.0)
        plant.loop("api", host="machine", wake_s=0.0, poll_s=0.0)
        until_then = delay(fixed_s=(stall_ns - 100) * NS)
        work = (serve("short", on="database"), serve("short", on="api"))
        if background:
            plant.backgrounds.append(Background((until_then, *work)))
        plant.endpoints.append(work)

    times = [stall_ns + offset for offset in (*early_ns, 0, 0, length_ns - 100, length_ns, length_ns)]
    model = assert_agree(
        Platform(
            build, requests=[(time_ns, 0, 0, 0) for time_ns in times], stalls=(rate_per_s, "pause"),
            until_ns=stall_ns + 10_000,
        )
    )  # fmt: skip
    ends = [row[2] + row[3] for row in model.log if row[0] == c.LOG_REQUEST]
    assert len(ends) == len(times)
    assert stall_ns + length_ns < max(ends)


def test_closed_mode() -> None:
    def build(plant: Plant) -> None:
        costs(plant, "grid")
        plant.fifo("station")
        plant.endpoints.extend([(serve("work", on="station"), delay("ship")), (serve("short", on="station"),)])

    random = np.random.Generator(np.random.Philox(2))
    wishes = np.stack(
        [random.integers(0, 2, (8, 20)), *random.integers(0, 5, (2, 8, 20)), 100 * random.integers(0, 20, (8, 20))], -1
    )
    sessions = [[tuple(wish) for wish in session] for session in wishes.tolist()]
    model = assert_agree(Platform(build, sessions=sessions, settings={c.SET_HORIZON_NS: 25_000}))
    assert 80 < sum(row[0] == c.LOG_REQUEST for row in model.log) < 160
