"""The demands of a Calibration: which operations each kind of process is regressed on, and the costs that come out.

`ROLES` says which steps come together, what they are thought to cost before the load is looked at, and how far that is
trusted; `model.analysis.fit` does the regression.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from loadtests.calibrate.slices import Played
from model.analysis.fit import Fitted, Group, Prior, Role, Slice, Visits, fit_role, scaled
from model.spec import ENDPOINTS
from model.spec.calibration import Estimate, ProcessCost, StepCost
from model.spec.steps import STEPS, Process
from real_backend.stack import Stack

POLL_SHARE = 0.1
"""A further batch costs this share of a wake-up: 2 us against 26 us when polls were counted with a preloaded shim."""
DEFAULT_CV = 0.3
COMMITS = ("db.post_insert", "db.reaction_insert", "db.outbox_delete")
HTTP, DATABASE, MESSAGE, ROUND = "api.http", "api.database", "worker.overhead", "relay.overhead"
GUESSES = {
    "db.outbox_read": Prior(60e-6, 2e-6, DEFAULT_CV), "db.outbox_delete": Prior(120e-6, 4e-6, DEFAULT_CV),
    "db.replay_poll": Prior(30e-6, 0.0, DEFAULT_CV), "db.wal_send": Prior(25e-6, 0.0, DEFAULT_CV),
    "db.wal_apply": Prior(60e-6, 0.0, DEFAULT_CV),
    "broker.publish": Prior(20e-6, 4e-6, DEFAULT_CV), "broker.consume": Prior(25e-6, 0.0, DEFAULT_CV),
    "broker.ack": Prior(15e-6, 0.0, DEFAULT_CV),
    HTTP: Prior(20e-6), DATABASE: Prior(110e-6), MESSAGE: Prior(800e-6), ROUND: Prior(300e-6),
    # Nearly all of a poll of a standby by the API is the database client's, outside of the timed segment.
    "api.replay_poll": Prior(300e-6, 0.0, DEFAULT_CV),
}  # fmt: skip
"""First guesses where no probe runs the operation alone; the regression is given more freedom there."""
DATABASE_CALLS = (
    "db.profile_read", "db.post_read", "db.posts_read", "db.timeline_rebuild", "db.post_insert", "db.reaction_insert",
)  # fmt: skip
OVERHEAD_OF = {
    HTTP: {f"api.{endpoint.value}.{part}": 0.5 for endpoint in ENDPOINTS for part in ("receive", "respond")},
    DATABASE: {
        "api.home_timeline.rebuild": 0.5, "api.home_timeline.store": 0.5, "api.home_timeline.fill": 1.0,
        "api.profile.receive": 0.5, "api.profile.respond": 0.5, "api.create_post.receive": 0.5,
        "api.create_post.store": 0.5, "api.react.receive": 0.5, "api.react.count": 0.5, "api.read_post.fill": 0.5,
        "api.read_post.store": 0.5,
    },
    MESSAGE: {"worker.receive": 0.5, "worker.done": 0.5},
    ROUND: {"relay.poll": 1.0},
}  # fmt: skip
"""What a process does outside of every timed segment (parsing HTTP, the clients of database and broker, the event
loop): fitted as a cost per request, call, message or round, then shared out in these parts among the steps around."""
TIMED_SD = 0.1
"""Segments timed inside a process that is not pre-empted are CPU times already, cold caches included."""


def _alike(*steps: str, scale_sd: float = 1.0) -> Group:
    return Group(steps, scale_sd)


def _timed(endpoint: str, *segments: str) -> Group:
    return Group(tuple(f"api.{endpoint}.{segment}" for segment in segments), TIMED_SD)


# Polls come at a fixed rate, as time passes, so where a role polls its background cannot be told from them: it is left
# out there, and the polls carry it.
ROLES = (
    Role(
        "api",
        {
            "home_timeline": _timed("home_timeline", "receive", "hot", "merge", "respond"),
            "rebuild": _timed("home_timeline", "rebuild", "store", "fill"),
            "profile": _timed("profile", "receive", "respond"),
            "create_post": _timed("create_post", "receive", "store", "respond"),
            "react": _timed("react", "receive", "count", "respond"),
            "read_post": _timed("read_post", "receive", "fill", "store", "respond"),
            "http": _alike(HTTP),
            "database": _alike(DATABASE, scale_sd=0.5),
            "replay_poll": _alike("api.replay_poll"),
        },
        wake_s=40e-6,
        wake_sd_s=20e-6,
        background=False,
    ),
    Role(
        "redis",
        {
            "home": _alike("redis.timeline_read", "redis.hot_posts_read", "redis.posts_multiget", scale_sd=0.5),
            "push": _alike("redis.timeline_push", "redis.hot_post_push", scale_sd=0.5),
            "post": _alike("redis.post_read", "redis.post_store", "redis.counter_increment", scale_sd=0.5),
            "fill": _alike("redis.timeline_store", "redis.posts_store", scale_sd=0.5),
        },
        wake_s=10e-6,
        wake_sd_s=10e-6,
    ),
    Role(
        "primary.backends",
        {
            "create_post": _alike("db.post_insert"),
            "react": _alike("db.reaction_insert"),
            "outbox_poll": _alike("db.outbox_read"),
            "outbox_delete": _alike("db.outbox_delete"),
        },
        background=False,
    ),
    Role("primary.wal_sender", {"wal_send": _alike("db.wal_send")}),
    Role(
        "standby.backends",
        {
            "profile": _alike("db.profile_read"),
            "post": _alike("db.post_read", "db.posts_read"),
            "rebuild": _alike("db.timeline_rebuild"),
            "followers": _alike("db.followers_read"),
            "poll": _alike("db.replay_poll"),
        },
        background=False,
    ),
    Role("standby.replay", {"wal_apply": _alike("db.wal_apply")}),
    Role(
        "relay",
        {
            "poll": _alike("relay.poll", scale_sd=TIMED_SD),
            "publish": _alike("relay.publish"),
            "overhead": _alike(ROUND),
        },
        background=False,
    ),
    Role(
        "worker",
        {
            "message": _alike("worker.receive", "worker.done", scale_sd=TIMED_SD),
            "batch": _alike("worker.batch", scale_sd=TIMED_SD),
            "hot": _alike("worker.hot"),
            "overhead": _alike(MESSAGE, scale_sd=0.5),
        },
    ),
    Role("broker", {"all": _alike("broker.publish", "broker.consume", "broker.ack")}),
)


def fit_demands(stack: Stack, priors: Mapping[str, Prior], slices: Sequence[Slice]) -> dict[str, Fitted]:
    """Every role of this stack fitted, by name. `priors` are those of the probes and of `timed_segments`."""
    known = {**priors, **GUESSES}
    return {role.name: fit_role(role, known, _prepared(slices, role, stack)) for role in _roles(stack)}


def _roles(stack: Stack) -> list[Role]:
    """The roles that this stack has; without standbys the primary's backends serve the reads."""
    if stack.config.standby_urls:
        return list(ROLES)
    by_name = {role.name: role for role in ROLES}
    reads = {name: group for name, group in by_name["standby.backends"].groups.items() if name != "poll"}
    primary = Role("primary.backends", {**by_name["primary.backends"].groups, **reads}, background=False)
    gone = ("primary.wal_sender", "standby.backends", "standby.replay")
    return [primary if name == "primary.backends" else role for name, role in by_name.items() if name not in gone]


def timed_segments(played: Sequence[Played]) -> dict[str, Prior]:
    """API, relay and worker segments from their own clocks: mean synchronous time per visit, and its variation."""
    priors: dict[str, Prior] = {}
    for step, description in STEPS.items():
        if step.partition(".")[0] not in ("api", "relay", "worker"):
            continue
        visits = sum(one.slice.steps.get(step, Visits()).visits for one in played)
        items = sum(one.slice.steps.get(step, Visits()).items for one in played)
        total_s = sum(one.totals.get(step, (0.0, 0.0))[0] for one in played)
        squares = sum(one.totals.get(step, (0.0, 0.0))[1] for one in played)
        if visits < 20:
            priors[step] = Prior(50e-6, 0.0, DEFAULT_CV)
            continue
        mean_s = total_s / visits
        cv = float(np.sqrt(max(0.0, squares / visits / mean_s**2 - 1)))
        per_visit = items / visits
        # Without a size sweep inside the process, half of a sized segment is taken to grow with its items.
        if description.items and per_visit >= 1:
            priors[step] = Prior(mean_s / 2, mean_s / 2 / per_visit, min(cv, 1.0))
        else:
            priors[step] = Prior(mean_s, 0.0, min(cv, 1.0))
    return priors


def _prepared(slices: Sequence[Slice], role: Role, stack: Stack) -> list[Slice]:
    """Add what no process counts itself: the replication of each commit, and which server a read went to."""
    standbys = len(stack.config.standby_urls)
    prepared = []
    for one in slices:
        commits = sum(one.steps.get(step, Visits()).visits for step in COMMITS) * standbys
        rounds = {
            HTTP: sum(one.steps.get(f"api.{endpoint.value}.receive", Visits()).visits for endpoint in ENDPOINTS),
            DATABASE: sum(one.steps.get(call, Visits()).visits for call in DATABASE_CALLS),
            MESSAGE: one.steps.get("worker.done", Visits()).visits,
            ROUND: one.steps.get("relay.poll", Visits()).visits,
        }
        own = {"db.wal_send": commits, "db.wal_apply": commits, **rounds}
        steps = {**one.steps, **{name: Visits(count) for name, count in own.items()}}
        prepared.append(dataclasses.replace(one, steps=steps))
    return prepared


def step_costs(stack: Stack, fitted: Mapping[str, Fitted], priors: Mapping[str, Prior]) -> dict[str, StepCost]:
    """Every step's prior times the factor of its group, and its share of its process's overhead."""
    known = {**priors, **GUESSES}
    scales: dict[str, Estimate] = {}
    for role in _roles(stack):
        for name, group in role.groups.items():
            scales.update(dict.fromkeys(group.steps, fitted[role.name].scales[name]))
    unit = Estimate(value=1.0, low=0.5, high=2.0)
    costs = {}
    for step in STEPS:
        base, per_item = scaled(known[step], scales.get(step, unit))
        for overhead, carriers in OVERHEAD_OF.items():
            if step in carriers:
                cost, _ = scaled(known[overhead], scales[overhead])
                base = _sum(base, cost, carriers[step])
        costs[step] = StepCost(base_s=base, per_item_s=per_item, cv=round(known[step].cv, 3))
    return costs


def process_costs(
    fitted: Mapping[str, Fitted], slices: Sequence[Slice]
) -> tuple[dict[Process, ProcessCost], dict[Process, float]]:
    """What each kind of process pays besides its steps: wake-ups and polls, and its share of a core when idle."""
    role_of = {
        Process.API: "api", Process.REDIS: "redis", Process.BROKER: "broker", Process.RELAY: "relay",
        Process.WORKER: "worker", Process.PRIMARY: "primary.backends", Process.STANDBY: "standby.backends",
    }  # fmt: skip
    nothing = Estimate(value=0, low=0, high=0)
    processes = {}
    background = {}
    for process, name in role_of.items():
        found = fitted.get(name)
        wake = found.wake_s if found else nothing
        processes[process] = ProcessCost(wake_s=wake, poll_s=wake.times(POLL_SHARE))
        background[process] = found.background_share.value if found else 0.0
    for process, name in ((Process.PRIMARY, "primary.other"), (Process.STANDBY, "standby.other")):
        background[process] += sum(s.cpu_s.get(name, 0.0) for s in slices) / sum(s.duration_s for s in slices)
    return processes, background


def _sum(base: Estimate, extra: Estimate, part: float) -> Estimate:
    """The base cost with a part of another one added; intervals add as if they were certain together."""
    low, high = base.low + part * extra.low, base.high + part * extra.high
    return Estimate(value=base.value + part * extra.value, low=low, high=high)
