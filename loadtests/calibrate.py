"""Measuring a Calibration: probes, then slices with rotating mixes at several loads, then a fit, then frozen.

What each part identifies:

- probes on the idle stores: how a cost divides between operations and between a visit and its items; the WAL flush;
- an idle slice: polls, timers, housekeeping;
- slices with rotating mixes, at low rates and at up to `HIGHEST_UTILISATION`: demands per process and step, and the
  cost of waking up, since the same work wakes a process more often at a low rate;
- the slices once more: what is left of a read's latency when the model has explained the rest is the client's and the
  network's part, what is left of a write's at a low rate is its flush;
- a hiccup meter beside all of it: stalls.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg

from loadtests.gauges import flushed_lsn, replayed_lsn
from loadtests.hiccup import HiccupMeter, Hiccups
from loadtests.probes import probe_flush, probe_stores, wait_of
from loadtests.slices import Plan, Played, idle_slice, plan_slice, play_slices
from model.analysis.fit import Fitted, FloatArray, Group, Prior, Role, Slice, Visits, fit_role, scaled
from model.platform import simulate
from model.runs.provenance import provenance
from model.spec import ENDPOINTS, Calibration, Endpoint, InvalidRunError, Scenario
from model.spec.calibration import Estimate, ProcessCost, Stalls, StepCost, Wait
from model.spec.seed_tables import SeedTables
from model.spec.steps import STEPS, Process
from model.workload import FollowerGraph
from real_backend.stack import Stack
from real_backend.telemetry import Telemetry, Trace

LOW_RATE_PER_S = 60.0
LOW_SLICE_S = 4.0
SLICE_S = 4.5
IDLE_S = 3.0
LOADS = (0.35, 0.5, 0.6)
"""Utilisations aimed at in the loaded slices."""
WARMER = 0.5
"""CPU per request under load over that of the low-rate pilot: warm caches, fewer wake-ups."""
LOOSE_NOISE = 0.3
"""Relative noise granted to the idle and the low-rate slices, whose caches are colder than those of any real load."""
HIGHEST_UTILISATION = 0.6
SHIP_COMMITS = 60
MARKS = 20_000
POLL_SHARE = 0.1
"""A further batch costs this share of a wake-up: 2 us against 26 us when polls were counted with a preloaded shim."""
DEFAULT_CV = 0.3
READS = (Endpoint.HOME_TIMELINE, Endpoint.PROFILE, Endpoint.READ_POST)
WRITES = (Endpoint.CREATE_POST, Endpoint.REACT)
FEWEST_WRITES = 100
SHORTEST_FLUSH_S = 20e-6
FLUSH_ROUNDS = 2
SLOWDOWN_RANGE = (0.5, 4.0)
"""One round's correction of the flush at most; what a longer flush does to a write is not quite linear, hence two."""
RARE_FLUSH = 30.0
FEWEST_RARE = 10
"""Fewer flushes than this that last over `RARE_FLUSH` medians are stalls of the disk too rare to model."""
SAME_FLUSH_S = 5e-3
"""Requests whose commits became durable together are answered within this time of each other."""
COMMITS = ("db.post_insert", "db.reaction_insert", "db.outbox_delete")
POSTGRES_PRIOR = {
    "db.outbox_read": Prior(60e-6, 2e-6, DEFAULT_CV), "db.outbox_delete": Prior(120e-6, 4e-6, DEFAULT_CV),
    "db.replay_poll": Prior(30e-6, 0.0, DEFAULT_CV), "db.wal_send": Prior(25e-6, 0.0, DEFAULT_CV),
    "db.wal_apply": Prior(60e-6, 0.0, DEFAULT_CV),
}  # fmt: skip
BROKER_PRIOR = {
    "broker.publish": Prior(20e-6, 4e-6, DEFAULT_CV), "broker.consume": Prior(25e-6, 0.0, DEFAULT_CV),
    "broker.ack": Prior(15e-6, 0.0, DEFAULT_CV),
}  # fmt: skip
"""First guesses where no probe runs the operation alone; the regression is given more freedom there."""

HTTP, MESSAGE, ROUND = "api.http", "worker.overhead", "relay.overhead"
OVERHEAD_PRIOR = {HTTP: Prior(60e-6), MESSAGE: Prior(300e-6), ROUND: Prior(100e-6)}
POLL_PRIOR = Prior(150e-6, 0.0, DEFAULT_CV)
"""A poll of a standby by the API: nearly all of it is the database client's, outside of the timed segment."""
OVERHEAD_OF = {
    HTTP: tuple(f"api.{endpoint.value}.{part}" for endpoint in ENDPOINTS for part in ("receive", "respond")),
    MESSAGE: ("worker.receive", "worker.done"),
    ROUND: ("relay.poll",),
}
"""What a process does for a request, a message or a round outside of every timed segment (parsing HTTP, the broker
client, the event loop): fitted as a cost per visit, then shared out evenly among these steps."""
TIMED_SD = 0.2
"""Segments timed inside a process that is not pre-empted are CPU times already, but contain some of what waking up
costs: after a switch of processes they run with cold caches and an empty TLB. So theta may correct them, downwards."""


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
            "replay_poll": _alike("api.replay_poll"),
        },
        wake_s=80e-6,
        wake_sd_s=40e-6,
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
            "overhead": _alike(ROUND, scale_sd=3.0),
        },
        background=False,
    ),
    Role(
        "worker",
        {
            "message": _alike("worker.receive", "worker.done", scale_sd=TIMED_SD),
            "batch": _alike("worker.batch", scale_sd=0.5),
            "hot": _alike("worker.hot"),
            "overhead": _alike(MESSAGE, scale_sd=2.0),
        },
    ),
    Role("broker", {"all": _alike("broker.publish", "broker.consume", "broker.ack")}),
)

Report = Callable[[str, float], None]
"""Told what is going on and the share that is done."""


def calibrate(
    stack: Stack,
    scenario: Scenario,
    graph: FollowerGraph,
    seeds: SeedTables,
    *,
    on_progress: Report = lambda what, share: None,
) -> Calibration:
    """Measure a started and seeded stack; its stores are reset at the end. Takes about 80 s.

    Raises InvalidRunError where the generator or the slices cannot be trusted.
    """
    on_progress("probing the stores", 0.02)
    priors = {**probe_stores(stack, seeds), **POSTGRES_PRIOR, **BROKER_PRIOR, **OVERHEAD_PRIOR}
    flush = probe_flush(stack.runtime_dir) if scenario.platform.postgres.fsync else _no_wait()
    visible = _commit_to_visible(stack, seeds)
    stack.reset(seeds)
    on_progress("idle", 0.1)
    slices = [idle_slice(stack, IDLE_S)]
    with HiccupMeter(stack.rig.generator_core) as meter:
        low = _low_slices(stack, scenario, graph, seeds, on_progress)
        stack.reset(seeds)
        loaded = _loaded_slices(stack, scenario, graph, seeds, low, on_progress)
    stack.reset(seeds)
    played = [*low, *loaded]
    _refuse_untrusted(played)
    slices += [one.slice for one in played]
    slices, speed = _at_one_speed(slices, loose=1 + len(low))
    on_progress("fitting", 0.95)
    priors.update({**_timed_segments(played), "api.replay_poll": POLL_PRIOR})
    fitted = {role.name: fit_role(role, priors, _prepared(slices, role, stack)) for role in _roles(stack)}
    calibration = _assemble(stack, scenario, fitted, priors, {
        "net.client": _no_wait(), "db.commit_flush": flush, "db.wal_ship": _no_wait(),
    }, meter.hiccups, slices, speed)  # fmt: skip
    ship = wait_of(np.maximum(0.0, np.array(visible) - _modelled_apply_s(calibration))) if visible else _no_wait()
    calibration = _with_wait(calibration, "db.wal_ship", ship)
    # At a low rate caches are colder than under load, which shows as a longer client's part: the flushes are read off
    # against that one, the model keeps the one seen under load.
    cold = _with_wait(calibration, "net.client", _client_wait(calibration, low, graph))
    if scenario.platform.postgres.fsync:
        calibration = _with_wait(calibration, "db.commit_flush", _flush_wait(cold, low, graph))
    calibration = _with_wait(calibration, "net.client", _client_wait(calibration, loaded, graph))
    if scenario.platform.postgres.fsync:
        for _ in range(FLUSH_ROUNDS):
            slower = _flush_slowdown(calibration, loaded, graph)
            calibration = _with_wait(calibration, "db.commit_flush", calibration.waits["db.commit_flush"].times(slower))
    return calibration


def _with_wait(calibration: Calibration, name: str, wait: Wait) -> Calibration:
    return calibration.model_copy(update={"waits": {**calibration.waits, name: wait}})


def _roles(stack: Stack) -> list[Role]:
    """The roles that this stack has; without standbys the primary's backends serve the reads."""
    if stack.config.standby_urls:
        return list(ROLES)
    by_name = {role.name: role for role in ROLES}
    reads = {name: group for name, group in by_name["standby.backends"].groups.items() if name != "poll"}
    primary = Role("primary.backends", {**by_name["primary.backends"].groups, **reads}, background=False)
    gone = ("primary.wal_sender", "standby.backends", "standby.replay")
    return [primary if name == "primary.backends" else role for name, role in by_name.items() if name not in gone]


def _low_slices(
    stack: Stack, scenario: Scenario, graph: FollowerGraph, seeds: SeedTables, on_progress: Report
) -> list[Played]:
    plans = [
        plan_slice(scenario, endpoint.value, LOW_RATE_PER_S, LOW_SLICE_S, scenario.seed + 1_000 + endpoint.code)
        for endpoint in ENDPOINTS
    ]
    share = iter(np.linspace(0.15, 0.35, len(plans)))
    return play_slices(stack, plans, graph, int(seeds.post_ids[-1]), lambda name: on_progress(name, float(next(share))))


def _loaded_slices(
    stack: Stack,
    scenario: Scenario,
    graph: FollowerGraph,
    seeds: SeedTables,
    low: Sequence[Played],
    on_progress: Report,
) -> list[Played]:
    """Each mix at two of the loads, in a fixed shuffled order, so that drift does not look like a demand."""
    random = np.random.Generator(np.random.Philox(key=scenario.seed))
    plans: list[Plan] = []
    for endpoint, pilot in zip(ENDPOINTS, low, strict=True):
        used = sum(cpu for role, cpu in pilot.slice.cpu_s.items() if not role.endswith("other"))
        per_request = used / len(pilot.records)
        for load in random.permutation(LOADS)[:2]:
            seed = scenario.seed + 2_000 + len(plans)
            plans.append(plan_slice(scenario, endpoint.value, load / (WARMER * per_request), SLICE_S, seed))
    order = [plans[i] for i in random.permutation(len(plans))]
    share = iter(np.linspace(0.4, 0.92, len(order)))
    return play_slices(stack, order, graph, int(seeds.post_ids[-1]), lambda name: on_progress(name, float(next(share))))


def _refuse_untrusted(played: Sequence[Played]) -> None:
    for one in played:
        failed = float(np.mean(one.records.outcome > 1)) if len(one.records) else 1.0
        if failed > 0.01:
            raise InvalidRunError(f"calibration slice {one.plan.name!r}: {failed:.0%} of its requests failed")
        utilisation = sum(one.slice.cpu_s.values()) / one.slice.duration_s
        if utilisation > HIGHEST_UTILISATION + 0.15:
            raise InvalidRunError(
                f"calibration slice {one.plan.name!r}: the backend core was {utilisation:.0%} busy; "
                f"demands are only told apart up to {HIGHEST_UTILISATION:.0%}"
            )


def _timed_segments(played: Sequence[Played]) -> dict[str, Prior]:
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


def _at_one_speed(slices: Sequence[Slice], loose: int) -> tuple[list[Slice], float]:
    """Slices with their speed relative to the median one, and that; the first `loose` ones are granted more noise."""
    speeds = [one.speed for one in slices]
    reference = float(np.median(speeds))
    return [
        dataclasses.replace(
            one,
            speed=one.speed / reference if reference and one.speed else 1.0,
            noise=LOOSE_NOISE if number < loose else one.noise,
        )
        for number, one in enumerate(slices)
    ], reference


def _prepared(slices: Sequence[Slice], role: Role, stack: Stack) -> list[Slice]:
    """Add what no process counts itself: the replication of each commit, and which server a read went to."""
    standbys = len(stack.config.standby_urls)
    prepared = []
    for one in slices:
        commits = sum(one.steps.get(step, Visits()).visits for step in COMMITS) * standbys
        rounds = {
            HTTP: sum(one.steps.get(f"api.{endpoint.value}.receive", Visits()).visits for endpoint in ENDPOINTS),
            MESSAGE: one.steps.get("worker.done", Visits()).visits,
            ROUND: one.steps.get("relay.poll", Visits()).visits,
        }
        own = {"db.wal_send": commits, "db.wal_apply": commits, **rounds}
        steps = {**one.steps, **{name: Visits(count) for name, count in own.items()}}
        prepared.append(dataclasses.replace(one, steps=steps))
    return prepared


def _assemble(
    stack: Stack,
    scenario: Scenario,
    fitted: Mapping[str, Fitted],
    priors: Mapping[str, Prior],
    waits: Mapping[str, Wait],
    hiccups: Hiccups | None,
    slices: Sequence[Slice],
    speed: float,
) -> Calibration:
    scales: dict[str, Estimate] = {}
    for role in _roles(stack):
        for name, group in role.groups.items():
            scales.update(dict.fromkeys(group.steps, fitted[role.name].scales[name]))
    unit = Estimate(value=1.0, low=0.5, high=2.0)
    costs = {}
    for step in STEPS:
        base, per_item = scaled(priors[step], scales.get(step, unit))
        for overhead, carriers in OVERHEAD_OF.items():
            if step in carriers:
                share, _ = scaled(priors[overhead], scales[overhead])
                base = _sum(base, share, 1 / (1 if overhead == ROUND else 2))
        costs[step] = StepCost(base_s=base, per_item_s=per_item, cv=round(priors[step].cv, 3))
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
        poll = Estimate(value=wake.value * POLL_SHARE, low=wake.low * POLL_SHARE, high=wake.high * POLL_SHARE)
        processes[process] = ProcessCost(wake_s=wake, poll_s=poll)
        background[process] = found.background_share.value if found else 0.0
    for process, name in ((Process.PRIMARY, "primary.other"), (Process.STANDBY, "standby.other")):
        background[process] += sum(s.cpu_s.get(name, 0.0) for s in slices) / sum(s.duration_s for s in slices)
    named = provenance(rig=dict(stack.rig.provenance()))
    return Calibration(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine={**named["machine"], "rig": named["rig"], "python": named["python"], "packages": named["packages"]},
        scenario_digest=scenario.digest,
        steps=costs,
        processes=processes,
        waits=dict(waits),
        stalls=_stalls(hiccups),
        core_speed_per_s=speed,
        telemetry_s_per_request=_telemetry_s_per_request(slices),
        background_cpu_share=background,
        unidentified=tuple(name for found in fitted.values() for name in found.unidentified),
        diagnostics=_diagnostics(fitted, slices),
    )


def _sum(base: Estimate, extra: Estimate, part: float) -> Estimate:
    """The base cost with a part of another one added; intervals add as if they were certain together."""
    low, high = base.low + part * extra.low, base.high + part * extra.high
    return Estimate(value=base.value + part * extra.value, low=low, high=high)


def _telemetry_s_per_request(slices: Sequence[Slice]) -> float:
    """What the always-on telemetry costs the API: one mark, timed here, as often as a request made one."""
    api = [step for step in STEPS if step.startswith("api.") and step != "api.replay_poll"]
    requests = marks = 0.0
    for one in slices:
        requests += sum(one.steps.get(f"api.{endpoint.value}.receive", Visits()).visits for endpoint in ENDPOINTS)
        # Each segment ends with a mark; each visit of a store, which follows a segment, with another.
        marks += 2 * sum(one.steps.get(step, Visits()).visits for step in api)
    trace = Trace(Telemetry("cost", 0))
    began = time.thread_time()
    for _ in range(MARKS):
        trace.mark(0)
    return (time.thread_time() - began) / MARKS * marks / max(requests, 1.0)


def _diagnostics(fitted: Mapping[str, Fitted], slices: Sequence[Slice]) -> dict[str, Any]:
    return {
        "slices": [
            {
                "name": s.name,
                "duration_s": round(s.duration_s, 3),
                "utilisation": round(sum(s.cpu_s.values()) / s.duration_s, 4),
                "core_speed": round(s.speed, 4),
            }
            for s in slices
        ],
        "roles": {
            name: {
                "scales": {group: round(scale.value, 3) for group, scale in found.scales.items()},
                "wake_us": round(found.wake_s.value * 1e6, 2),
                "background_share": round(found.background_share.value, 5),
                "median_abs_residual": round(float(np.median(np.abs(found.residuals))), 4),
                "worst_abs_residual": round(found.worst_residual, 4),
            }
            for name, found in fitted.items()
        },
    }


def _stalls(hiccups: Hiccups | None) -> Stalls:
    """Late wake-ups of a real-time sleeper: nothing on the core explains them, so the core was taken away."""
    if hiccups is None or len(hiccups.late_ns) < 5:
        return Stalls()
    return Stalls(rate_per_s=hiccups.rate_per_s, duration=wait_of(hiccups.late_ns * 1e-9))


def _commit_to_visible(stack: Stack, seeds: SeedTables) -> list[float]:
    """Seconds from a commit on the idle primary until a standby has replayed it, by polling."""
    if not stack.config.standby_urls:
        return []
    seen = []
    with (
        psycopg.connect(stack.urls.postgres, autocommit=True) as primary,
        psycopg.connect(stack.urls.standbys[0], autocommit=True) as standby,
    ):
        for k in range(SHIP_COMMITS):
            primary.execute("UPDATE users SET handle = handle WHERE id = %s", (k % seeds.users,))
            flushed, began = flushed_lsn(primary), time.perf_counter()
            while replayed_lsn(standby) < flushed:
                if time.perf_counter() - began > 10:
                    raise InvalidRunError("calibration: standby0 did not replay a commit within 10 s")
            seen.append(time.perf_counter() - began)
    return seen


def _modelled_apply_s(calibration: Calibration) -> float:
    costs, processes = calibration.steps, calibration.processes
    return sum(costs[step].base_s.value for step in ("db.wal_send", "db.wal_apply")) + sum(
        processes[process].wake_s.value for process in (Process.PRIMARY, Process.STANDBY)
    )


def _client_wait(calibration: Calibration, played: Sequence[Played], graph: FollowerGraph) -> Wait:
    """What the model leaves of the reads' latencies: the client's side, the network, and what no step covers."""
    excess = []
    for one in played:
        at_speed = calibration.at_speed(one.slice.speed)
        run = simulate(one.plan.scenario, at_speed, graph=graph, schedule=one.schedule)
        for endpoint in READS:
            real = one.records.latency_ns[(one.records.endpoint == endpoint.code) & (one.records.outcome == 0)]
            modelled = run.latency(endpoint.value, scored=False)
            if len(real) >= 20 and modelled.n >= 20:
                excess.append((len(real), float(np.median(real)) * 1e-9 - modelled.quantile(0.5)))
    weights = np.array([n for n, _ in excess], float)
    mean_s = max(0.0, float(np.average([e for _, e in excess], weights=weights))) if excess else 0.0
    return Wait(probabilities=(0.0, 1.0), quantiles_s=(mean_s, mean_s), tail_mean_s=0.0, samples=int(weights.sum()))


def _flush_wait(calibration: Calibration, low: Sequence[Played], graph: FollowerGraph) -> Wait:
    """What a commit waits for its flush: the write requests' latencies at a low rate, less what the model explains
    without any flush. In place, it contains what a probe of the file system alone does not (the primary's own writes,
    those of its standbys), which is why the probe only serves where there are too few writes."""
    without = calibration.model_copy(update={"waits": {**calibration.waits, "db.commit_flush": _no_wait()}})
    flushes: list[float] = []
    for one in low:
        at_speed = without.at_speed(one.slice.speed)
        run = simulate(one.plan.scenario, at_speed, graph=graph, schedule=one.schedule)
        ended, waited = [], []
        for endpoint in WRITES:
            chosen = (one.records.endpoint == endpoint.code) & (one.records.outcome == 0)
            modelled = run.latency(endpoint.value, scored=False)
            if modelled.n:
                ended.append((one.records.sent_ns + one.records.latency_ns)[chosen] * 1e-9)
                rest_s = one.records.latency_ns[chosen] * 1e-9 - modelled.quantile(0.5)
                waited.append(np.maximum(rest_s, SHORTEST_FLUSH_S))
        if ended:
            flushes += single_flushes(np.concatenate(ended), np.concatenate(waited))
    usual = usual_flushes(flushes)
    return wait_of(usual) if len(usual) >= FEWEST_WRITES else calibration.waits["db.commit_flush"]


def usual_flushes(flushes_s: Sequence[float]) -> list[float]:
    """Without the disk's rare stalls: a few flushes far beyond the rest say that they happen, not how often. Where
    there are many, they are part of the disk and stay."""
    limit = RARE_FLUSH * float(np.median(flushes_s)) if flushes_s else 0.0
    usual = [flush for flush in flushes_s if flush <= limit]
    return usual if len(flushes_s) - len(usual) < FEWEST_RARE else list(flushes_s)


def _flush_slowdown(calibration: Calibration, loaded: Sequence[Played], graph: FollowerGraph) -> float:
    """By what factor flushes last longer under load, where three servers flush to one disk, than at a low rate: that
    which makes up for the difference of the writes' mean latencies (each without its last percent: rare stalls)."""
    flush = calibration.waits["db.commit_flush"]
    excess: list[tuple[int, float]] = []
    for one in loaded:
        run = simulate(one.plan.scenario, calibration.at_speed(one.slice.speed), graph=graph, schedule=one.schedule)
        for endpoint in WRITES:
            real = one.records.latency_ns[(one.records.endpoint == endpoint.code) & (one.records.outcome == 0)] * 1e-9
            rows = run.requests.filter((run.requests["endpoint"] == endpoint.value) & (run.requests["outcome"] == "ok"))
            modelled = rows["latency_s"].to_numpy()
            if len(real) >= FEWEST_WRITES and len(modelled) >= FEWEST_WRITES:
                excess.append((len(real), _trimmed_mean(real) - _trimmed_mean(modelled)))
    if not excess or flush.mean_s <= 0:
        return 1.0
    mean_s = float(np.average([e for _, e in excess], weights=[n for n, _ in excess]))
    return float(np.clip(1 + mean_s / flush.mean_s, *SLOWDOWN_RANGE))


def _trimmed_mean(values: FloatArray) -> float:
    return float(values[values <= np.quantile(values, 0.99)].mean())


def single_flushes(ended_s: FloatArray, waited_s: FloatArray) -> list[float]:
    """Durations of flushes from the waits of those who shared them, each [n] in s.

    A long flush is seen by many requests; counted once per request it would look common. Waits that end together
    belong to one flush, which lasted as long as the longest of them.
    """
    order = np.argsort(ended_s)
    flushes: list[float] = []
    last_end = -np.inf
    for end, wait in zip(ended_s[order], waited_s[order], strict=True):
        if end - last_end < min(SAME_FLUSH_S, wait):
            flushes[-1] = max(flushes[-1], float(wait))
        else:
            flushes.append(float(wait))
        last_end = end
    return flushes


def _no_wait() -> Wait:
    return Wait(probabilities=(0.0, 1.0), quantiles_s=(0.0, 0.0))
