"""Platforms drawn by Hypothesis over every kind of part: hosts of both kinds, every station, paths that nest, control.

Names of stations, steps and keyed things are fixed; their sizes, costs and hosts are drawn, and the paths over them.
All times can lie on a grid, so that much happens at one instant.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from model.engine import layout as c
from model.engine.plant import Background, Plant
from model.engine.program import (
    Acquire,
    Admit,
    Attempt,
    Coalesce,
    Delay,
    Effect,
    Fail,
    Flush,
    Forever,
    Forget,
    Get,
    Lookup,
    Part,
    Path,
    Put,
    Release,
    Scatter,
    Serve,
    Spawn,
    Store,
    Switch,
    Turn,
    UntilReplayDelay,
    When,
    While,
)  # fmt: skip
from model.engine.tables import constant, lognormal_from_mean_cv
from model.policy import ring_points
from tests.reference.compared import Action, Controlled, Platform
from tests.reference.feed import E, Spread

NS = 1e-9
UNTIL_NS = 1_000_000
STALL_RATE_PER_S = 3e4
STEPS = ("read", "write", "render", "apply")
FIFOS, LOOPS, MULTIS = ("single", "several", "keyed"), ("loop", "other", "lanes", "shards"), ("process", "servers")
USERS, POSTS, SHARDS, STANDBYS, LANES, PAGE = 6, 12, 3, 2, 2, 3
SETTINGS = {
    c.SET_LANES: LANES, c.SET_SERVERS: 1 + STANDBYS, c.SET_TIMELINE_CAP: 5, c.SET_PAGE: PAGE,
    c.SET_STANDBYS: STANDBYS,
}  # fmt: skip


def served() -> st.SearchStrategy[Path]:
    """One visit."""
    return st.tuples(st.builds(Serve, st.sampled_from(STEPS), st.sampled_from((*FIFOS, *LOOPS, *MULTIS))))


def one(part: Part) -> st.SearchStrategy[Path]:
    return st.just((part,))


def turned(flush_step: str, step: str, on: str, then_wait: str) -> Path:
    return (Flush(flush_step, "led", Turn(step, on, then_wait)),)


def effect(which: E, a: int = 0, b: int = 0) -> Effect:
    return Effect(int(which), a, b)


DELAYS: st.SearchStrategy[Path] = st.tuples(
    st.builds(Delay, st.sampled_from(["", "", "ship"]), st.sampled_from([0, 50, 100, 300]))
)
LEAVES: tuple[st.SearchStrategy[Path], ...] = (
    served(), served(), served(), DELAYS, DELAYS,
    one(Flush("commit", "log")),
    st.builds(turned, st.just("commit"), st.sampled_from(STEPS), st.sampled_from(("process", "loop", "single")),
              st.sampled_from(["", "ship"])),
    one(Store("cache")), one(Forget("cache")),
    one(effect(E.ROUTE, 1)), one(effect(E.PRIMARY)), one(effect(E.ITEMS, 4)),
)  # fmt: skip


def nested(inner: st.SearchStrategy[Path]) -> st.SearchStrategy[Path]:
    """Parts with parts in them."""
    few = st.integers(1, 2)
    flagged = st.sampled_from([Lookup("cache"), Admit("limiter"), Switch("switch"), effect(E.HAS_HOT)])
    return st.one_of(
        st.tuples(flagged, st.builds(When, inner, inner)),
        st.tuples(st.just(Admit("limiter")), st.builds(When, st.just((Fail("rejected"),)), inner)),
        st.tuples(st.just(Switch("switch")), st.builds(When, st.sampled_from([(Fail(),), (Fail("missing"),)]), inner)),
        st.builds(lambda body: (Acquire("pool"), *body, Release("pool")), inner),
        st.builds(
            lambda most, body: (
                Acquire("slots", most), When((Fail(),), (*body, Release("slots"))),
            ),
            st.integers(0, 2), inner,
        ),
        st.tuples(st.builds(Spawn, inner, few)),
        st.tuples(st.builds(Coalesce, st.sampled_from(["flights", "visitors"]), inner)),
        st.builds(
            lambda body, limit, retries, backoff: (Attempt(body, limit * NS, retries, backoff * NS),),
            inner, st.sampled_from([0, 100, 100, 300, 700]), st.integers(0, 3), st.sampled_from([0, 50, 100]),
        ),
        st.builds(
            lambda size, body: (
                While(effect(E.NEXT_BATCH, size), (Scatter(Spread.BATCH, body), effect(E.DELIVER))),
            ),
            few, inner,
        ),
        st.builds(
            lambda page, missing: (
                effect(E.TIMELINE_LOOKUP), effect(E.PAGE), Scatter(Spread.PAGE, page), effect(E.PAGE_MISSING),
                When((Scatter(Spread.MISSING, missing), effect(E.PAGE_FILL)), ()), effect(E.PAGE_ITEMS),
            ),
            inner, inner,
        ),
        st.tuples(st.just(effect(E.HAS_HOT)), st.builds(When, st.tuples(st.builds(Scatter, st.just(1), inner)), inner)),
        st.builds(
            lambda body: (
                effect(E.WROTE), *body, effect(E.COMMIT),
                Spawn((Flush("commit", "standby_logs"), UntilReplayDelay(), *body, effect(E.REPLAYED)), STANDBYS),
            ),
            served(),
        ),
    )  # fmt: skip


def paths(leaves: st.SearchStrategy[Path], size: int) -> st.SearchStrategy[Path]:
    """Sequences of parts, half of which contain sequences, up to three deep."""

    def sequence(parts: st.SearchStrategy[Path], longest: int) -> st.SearchStrategy[Path]:
        lists = st.lists(parts, min_size=1, max_size=longest)
        return lists.map(lambda each: tuple(part for some in each for part in some))

    parts = leaves
    for _ in range(DEEPEST):
        inner = sequence(parts, 2)
        parts = st.one_of(leaves, nested(inner))
    return sequence(parts, size)


DEEPEST = 3
REQUEST_PATHS = paths(st.one_of(*LEAVES, one(Put("messages"))), 4)
WORKER_PATHS = paths(st.one_of(*LEAVES), 3)


@dataclass(frozen=True)
class Drawn:
    """What Hypothesis draws."""

    seed: int
    cores: tuple[int, int]
    disciplines: tuple[Any, Any]
    servers: tuple[int, int, int]
    """Of the station with several servers, the pool, the bounded pool."""
    on_host: tuple[int, ...]
    setup_ns: int
    costs: tuple[tuple[int, int, float], ...]
    """Base and per item in ns, coefficient of variation, of each step."""
    flush_cv: float
    cache: tuple[int, int, Any]
    limit: tuple[float, int, int]
    endpoints: tuple[Path, ...]
    worker: Path
    workers: int
    requests: tuple[tuple[int, int, int, int], ...]
    sessions: bool
    actions: tuple[tuple[int, str, int, int], ...]
    timeout_ns: int
    replay_delay_ns: int
    stalls: bool
    routing: int

    def build(self, plant: Plant) -> None:
        for number, (cores, discipline) in enumerate(zip(self.cores, self.disciplines, strict=True)):
            plant.host(f"host{number}", cores, discipline)
        for name, (base_ns, item_ns, cv) in zip(STEPS, self.costs, strict=True):
            plant.step(name, base_ns * NS, item_ns * NS, cv)
        plant.step("commit", 0.0)
        plant.wait("flush", lognormal_from_mean_cv(300.0, self.flush_cv))
        plant.wait("ship", lognormal_from_mean_cv(200.0, self.flush_cv))
        plant.wait("stall", lognormal_from_mean_cv(500.0, 1.0) if self.flush_cv else constant(400.0))
        plant.fifo("single")
        plant.fifo("several", servers=self.servers[0])
        plant.fifo("keyed", count=2, selector=c.SEL_KEY)
        sizes = {"lanes": (LANES, c.SEL_LANE), "shards": (SHARDS, c.SEL_SHARD), "servers": (1 + STANDBYS, c.SEL_SERVER)}
        for name, row in zip((*LOOPS, *MULTIS), self.on_host, strict=True):
            count, selector = sizes.get(name, (1, c.SEL_FIRST))
            host, wake_s, poll_s = f"host{row}", self.setup_ns * NS, self.setup_ns // 2 * NS
            if name in LOOPS:
                plant.loop(name, host=host, wake_s=wake_s, poll_s=poll_s, count=count, selector=selector)
            else:
                plant.multi(name, host=host, wake_s=wake_s, count=count, selector=selector)
        plant.pool("pool", self.servers[1], LANES * (1 + STANDBYS), c.SEL_LANE_SERVER)
        plant.pool("slots", self.servers[2])
        plant.group_commit("log", "flush")
        plant.group_commit("led", "flush", leader=True)
        for standby in range(1 + STANDBYS):
            plant.group_commit(f"log{standby}", "flush")
        plant.alias("standby_logs", "log0", 0, c.SEL_SERVER)
        plant.queue("messages")
        capacity, ttl_ns, evicts = self.cache
        plant.cache("cache", capacity, ttl_s=ttl_ns * NS, evicts=evicts)
        rate_per_s, burst, keys = self.limit
        plant.limiter("limiter", rate_per_s, burst, keys=keys)
        plant.coalescer("flights")
        plant.coalescer("visitors", key="user")
        plant.switch("switch")
        plant.endpoints.extend((Delay("", 50), *path) for path in self.endpoints)
        for lane in range(self.workers):
            plant.backgrounds.append(Background((Forever((Get("messages"), *self.worker)),), lane=lane))

    def platform(self) -> Platform:
        """What both models are given."""
        settings = {**SETTINGS, c.SET_TIMEOUT_NS: self.timeout_ns, c.SET_ROUTING: self.routing}
        platform = Platform(
            self.build, requests=self.requests, actions=tuple(self._action(*each) for each in self.actions),
            until_ns=UNTIL_NS, seed=self.seed, settings=settings, data=feed_data(self.replay_delay_ns),
            stalls=(STALL_RATE_PER_S, "stall") if self.stalls else None, shards=SHARDS,
        )  # fmt: skip
        if not self.sessions:
            return platform
        third = max(1, len(self.requests) // 3)
        wishes = [(endpoint, user, target, 100 * (user % 4)) for _, endpoint, user, target in self.requests]
        split = [wishes[i : i + third] for i in range(0, third * (len(wishes) // third), third)]
        return replace(platform, requests=(), sessions=split)

    def _action(self, time_ns: int, what: str, which: int, how: int) -> tuple[int, Action]:
        plant = Plant()
        self.build(plant)
        rows = {name: plant.groups[name].first for name in (*FIFOS, *LOOPS, *MULTIS, "pool", "slots")}
        stoppable = [rows[name] for name in (*FIFOS, *LOOPS)]
        serving = [*stoppable, *(rows[name] for name in MULTIS)]
        sized = [rows["single"], rows["several"], rows["slots"], rows["pool"]]

        def resume_all(plane: Controlled) -> None:
            for row in stoppable:
                plane.resume(row)

        act: dict[str, Callable[[Controlled], None]] = {
            "pause": lambda plane: plane.pause(stoppable[which % len(stoppable)]),
            "resume": lambda plane: plane.resume(stoppable[which % len(stoppable)]),
            "resume all": resume_all,
            "slow down": lambda plane: plane.slow_down(serving[which % len(serving)], (0.5, 1, 2, 3.3)[how]),
            "slow host": lambda plane: plane.slow_down_host(f"host{which % 2}", (0.5, 1, 2, 3.3)[how]),
            "resize": lambda plane: plane.set_servers(sized[which % len(sized)], 1 + how),
            "switch": lambda plane: plane.switch("switch", on=how % 2 == 0),
        }
        return time_ns, act[what]


ACTIONS = ("pause", "resume", "resume all", "slow down", "slow host", "resize", "switch")


@st.composite
def drawn_platforms(draw: st.DrawFn) -> Drawn:
    """Small platforms of every part, under up to 40 requests."""
    grid = draw(st.sampled_from([1, 50, 100]))
    on_grid = draw(st.booleans())
    variations = st.just(0.0) if on_grid else st.sampled_from([0.0, 0.5, 2.0])
    bases = st.integers(0, 6).map(lambda n: 50 * n) if on_grid else st.integers(0, 300)
    endpoints = draw(st.lists(REQUEST_PATHS, min_size=1, max_size=3))
    count, longest_gap_ns = draw(st.sampled_from([3, 10, 40])), draw(st.sampled_from([0, 100, 400, 1000]))
    random = np.random.Generator(np.random.Philox(draw(st.integers(0, 2**32))))
    times = np.cumsum(random.integers(0, longest_gap_ns // grid, count, endpoint=True)) * grid
    wishes = np.stack([
        times, random.integers(0, len(endpoints), count), random.integers(0, USERS, count),
        random.integers(1, POSTS, count),
    ])  # fmt: skip
    action = st.tuples(
        st.integers(0, 100).map(lambda n: 50 * n), st.sampled_from(ACTIONS), st.integers(0, 11), st.integers(0, 3)
    )
    return Drawn(
        seed=draw(st.integers(0, 2**32)),
        cores=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        disciplines=draw(st.tuples(*[st.sampled_from(["fcfs", "sharing"])] * 2)),
        servers=draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))),
        on_host=draw(st.tuples(*[st.integers(0, 1)] * 6)),
        setup_ns=draw(st.sampled_from([0, 50, 21])),
        costs=tuple(draw(st.tuples(bases, st.sampled_from([0, 0, 50]), variations)) for _ in STEPS),
        flush_cv=0.0 if on_grid else 0.5,
        cache=draw(st.tuples(st.integers(1, 5), st.sampled_from([0, 0, 500, 2000]), st.sampled_from(["lru", "fifo"]))),
        limit=draw(st.tuples(st.sampled_from([1e7, 3e6]), st.integers(1, 3), st.integers(1, 3))),
        endpoints=tuple(endpoints),
        worker=draw(WORKER_PATHS),
        workers=draw(st.integers(1, 2)),
        requests=tuple(tuple(wish) for wish in wishes.T.tolist()),
        sessions=draw(st.sampled_from([False, False, False, True])),
        actions=tuple(sorted(draw(st.one_of(st.just([]), st.lists(action, max_size=10))))),
        timeout_ns=draw(st.sampled_from([0, 0, 1000])),
        replay_delay_ns=draw(st.sampled_from([0, 250])),
        stalls=draw(st.sampled_from([False, False, True])),
        routing=draw(st.integers(0, 2)),
    )


def feed_data(replay_delay_ns: int = 0) -> dict[str, Any]:
    """Six users: each follows the next few; user 0's posts are pulled, by users 1 to 3."""
    points, owners = ring_points(SHARDS, 4)
    everyone = np.arange(USERS)
    followed = [[(user + step) % USERS for step in range(1, 1 + user)] for user in range(USERS)]
    hot_followers: list[list[int]] = [[], [0], [0], [0], [], []]
    exists = np.arange(POSTS) % 3 != 0
    return {
        "follower_offsets": np.cumsum([0, *map(len, followed)]),
        "followers": np.array([*itertools.chain(*followed)], np.int32),
        "hot_offsets": np.cumsum([0, *map(len, hot_followers)]),
        "hot_authors": np.array([*itertools.chain(*hot_followers)], np.int32),
        "pulled": everyone == 0,
        "timeline_exists": everyone % 2 == 0,
        "timeline_length": (everyone % 5).astype(np.int32),
        "timeline_shard": (everyone % SHARDS).astype(np.uint8),
        "hot_shard": (everyone * 2 % SHARDS).astype(np.uint8),
        "pages": (everyone[:, None] + np.arange(PAGE)) % POSTS,
        "page_head": (everyone % PAGE).astype(np.int32),
        "hot_row": np.where(everyone == 0, 0, -1).astype(np.int32),
        "hot_pages": np.array([[7, 8, 0]]),
        "hot_head": np.array([2], np.int32),
        "post_cached": exists & (np.arange(POSTS) % 2 == 0),
        "post_exists": exists,
        "session_lsn": np.zeros(USERS, np.int64),
        "replayed": np.zeros(STANDBYS, np.int64),
        "known": np.zeros((LANES, STANDBYS), np.int64),
        "replay_delay": np.full(STANDBYS, replay_delay_ns),
        "ring_points": points.astype(np.int64),
        "ring_owners": owners.astype(np.int32),
    }  # fmt: skip
