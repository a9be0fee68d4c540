"""One scenario through the model: build, run to the end of the load, drain, collect a Run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from model.engine import layout as c
from model.engine.dataplane import DataPlane, Sessions
from model.engine.environment import NS_PER_S, Environment
from model.engine.plant import Plant
from model.engine.running import Running
from model.platform.cluster_run import simulate_cluster
from model.platform.data import platform_data
from model.platform.faults import inject
from model.platform.feed import feed_plant, is_internal, settings
from model.platform.memory import require_memory
from model.platform.stationarity import LoadWatch, growth
from model.runs import Run, RunBuilder, provenance
from model.runs.run import Validity
from model.spec import Calibration, InputError, Scenario, steps
from model.spec.load import SHIPPED
from model.spec.seed_tables import SeedTables
from model.spec.steps import STEPS, WAITS
from model.workload import ClosedSchedule, FollowerGraph, Schedule, graph_of, schedule_of, seed_state

SAMPLE_INTERVAL_S = 0.25
REPLICA_PATIENCE_NS = 20_000_000
"""How long a reading of the replica lag waits for a commit to show before it reports the standby's age instead."""
SEVERAL = (steps.Process.API, steps.Process.REDIS, steps.Process.WORKER, steps.Process.STANDBY)
"""Kinds of process of which there may be several."""
DRAIN_LIMIT_S = 30.0
"""How long after the last arrival the run waits for requests and messages still under way."""

Process = Callable[[Environment, Any], Generator[simpy.Event, Any, Any]]
"""Called with the environment and the `Platform` (of a cluster the `ClusterPlatform`)."""
IntArray = npt.NDArray[np.int64]


def shipped_calibration() -> Calibration:
    """The calibration that comes with feedtwin, made on the reference machine."""
    return Calibration.load(SHIPPED / "calibrations" / "reference.json")


class Platform(Running):
    """The running feed as a control process sees it: `api`, `redis`, `workers`, `relay` and `replay` are lists of
    stations, `outbox` and `fanout` the names of its queues."""

    def __init__(self, scenario: Scenario, plane: DataPlane) -> None:
        super().__init__(plane)
        self.scenario = scenario
        self.workers = self.stations("worker")
        self.replay = self.stations("replay") if scenario.platform.postgres.standbys else []


def simulate(
    scenario: Scenario,
    calibration: Calibration | None = None,
    *,
    graph: FollowerGraph | None = None,
    schedule: Schedule | ClosedSchedule | None = None,
    processes: tuple[Process, ...] = (),
    change: Callable[[Plant], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Run:
    """Simulate `scenario` with `calibration` (default: the shipped one) and return its Run.

    `processes` are SimPy process functions ``def process(env, platform)`` that read and change the running platform.
    `change` is given the feed's Plant before it runs, to declare steps, caches or stations and to give an endpoint
    another path: ``plant.endpoint("profile", (...))``.
    `schedule` replays given requests (those of a load test) instead of drawing them. Raises InputError for a
    calibration that does not fit, and for a population that needs more memory than there is, before allocating it.
    """
    if scenario.platform.kind == "cluster":
        if calibration is not None:
            raise InputError(
                "platform.kind is 'cluster': its costs are those of the scenario, and it takes no calibration"
            )
        if isinstance(schedule, ClosedSchedule):
            raise InputError("schedule is one of sessions; requests to a cluster are open")
        if change is not None:
            raise InputError("change is for the feed's platform; platform.kind is 'cluster'")
        return simulate_cluster(scenario, graph=graph, schedule=schedule, processes=processes, on_progress=on_progress)
    if graph is None:
        require_memory(scenario)
    calibration = calibration or shipped_calibration()
    graph = graph or graph_of(scenario)
    seeds = seed_state(scenario, graph)
    schedule = schedule or schedule_of(scenario, graph)
    builder = RunBuilder(scenario, "model")
    recorder = _Recorder(builder)
    plant = feed_plant(scenario, calibration)
    if change is not None:
        change(plant)
    plane = _plane(plant, scenario, calibration, schedule, seeds, recorder.take)
    platform = Platform(scenario, plane)
    env = Environment(plane)
    env.process(_sample(env, platform, builder))
    env.process(inject(env, platform))
    watch = LoadWatch(plane, scenario.warmup_s, scenario.duration_s, SAMPLE_INTERVAL_S)
    env.process(watch.process(env))
    for process in processes:
        env.process(process(env, platform))
    steps = np.linspace(0, scenario.duration_s, 41)[1:]
    for until_s in steps:
        env.run(until=float(until_s))
        if on_progress:
            on_progress(float(until_s))
    _drain(env, platform)
    plane.drain()
    recorder.finish(scenario.duration_s)
    recorder.trace(plane.labels)
    _collect(builder, plane, calibration)
    validity = _validity(platform, watch, steady=scenario.is_steady and not processes)
    return builder.build(
        provenance(
            seed=scenario.seed,
            schedule_digest=schedule.digest,
            calibration_digest=calibration.digest,
            events=plane.scalar(c.X_EVENTS),
        ),
        validity,
    )


def _plane(
    plant: Plant,
    scenario: Scenario,
    calibration: Calibration,
    schedule: Schedule | ClosedSchedule,
    seeds: SeedTables,
    on_log: Callable[[IntArray], None],
) -> DataPlane:
    blocks: Iterator[Any] | None = None
    sessions = None
    if isinstance(schedule, ClosedSchedule):
        arrays = schedule.session_arrays()
        sessions = Sessions(*(np.asarray(array, np.int64) for array in arrays))
        highest = max(seeds.posts, int(sessions.target.max(initial=0)))
    else:
        blocks = iter(schedule.blocks())
        highest = schedule.highest_post_id
    return DataPlane(
        plant,
        scenario.seed,
        blocks=blocks,
        sessions=sessions,
        data=platform_data(scenario, seeds, highest),
        settings=settings(scenario),
        stalls=(calibration.stalls.rate_per_s, "stall") if calibration.stalls.duration else None,
        shards=scenario.platform.redis.shards,
        on_log=on_log,
    )


class _Recorder:
    """Turns rows of the data plane's log into the builder's tables."""

    def __init__(self, builder: RunBuilder) -> None:
        self.builder = builder
        self._replayed: list[IntArray] = []
        self._traced: list[IntArray] = []

    def take(self, rows: IntArray) -> None:
        requests = rows[rows[:, c.L_KIND] == c.LOG_REQUEST]
        arrived = requests[:, c.L_TIME]
        self.builder.add_requests(
            requests[:, c.L_LABEL], arrived, arrived, requests[:, c.L_VALUE], requests[:, c.L_WEIGHT],
            ordinal=requests[:, c.L_ORDINAL],
        )  # fmt: skip
        for code, kind in ((c.LOG_DELIVERY, "delivery"), (c.LOG_OUTBOX, "outbox")):
            part = rows[rows[:, c.L_KIND] == code]
            self.builder.add_lags(kind, "", part[:, c.L_TIME], part[:, c.L_VALUE], part[:, c.L_WEIGHT])  # type: ignore[arg-type]
        replica = rows[rows[:, c.L_KIND] == c.LOG_REPLICA]
        self._replayed.append(replica[:, [c.L_LABEL, c.L_TIME, c.L_VALUE]])
        self._traced.append(rows[rows[:, c.L_KIND] == c.LOG_STEP])

    def trace(self, labels: Mapping[int, str]) -> None:
        """The steps of traced requests; `labels` names the operations."""
        rows = np.concatenate([np.zeros((0, c.LOG_COLUMNS), np.int64), *self._traced])
        steps = [labels[row] for row in rows[:, c.L_LABEL].tolist()]
        columns = (rows[:, column] for column in (c.L_WEIGHT, c.L_TIME, c.L_VALUE))
        self.builder.add_traces(rows[:, c.L_ORDINAL], steps, *columns)

    def finish(self, duration_s: float) -> None:
        """Replica lag as the load test reads it: at regular instants, how long until the newest commit is visible."""
        rows = np.concatenate(self._replayed) if self._replayed else np.zeros((0, 3), np.int64)
        instants = (np.arange(0, duration_s, SAMPLE_INTERVAL_S) * NS_PER_S).astype(np.int64)
        for standby in np.unique(rows[:, 0]):
            part = rows[rows[:, 0] == standby]
            lag = replica_lag(instants, committed=part[:, 1] - part[:, 2], replayed=part[:, 1])
            self.builder.add_lags("replica", f"standby{standby}", instants, lag)
            self.builder.add_gauge(instants / NS_PER_S, "replica_lag_s", f"standby{standby}", lag / NS_PER_S)


def replica_lag(instants: IntArray, *, committed: IntArray, replayed: IntArray) -> IntArray:
    """Lag in ns at each instant, from commits in order: 0 where the newest commit has been replayed, the time until it
    will be where that is soon, else the age of the oldest commit that is not visible yet (as `loadtests.gauges`)."""
    order = np.argsort(committed, kind="stable")
    committed, replayed = committed[order], np.maximum.accumulate(replayed[order])
    newest = np.searchsorted(committed, instants, side="right") - 1
    until_visible = np.where(newest >= 0, replayed[newest] - instants, 0)
    oldest_unseen = np.minimum(np.searchsorted(replayed, instants, side="right"), len(committed) - 1)
    age = instants + REPLICA_PATIENCE_NS - committed[oldest_unseen]
    return np.where(until_visible > REPLICA_PATIENCE_NS, age, np.maximum(until_visible, 0)).astype(np.int64)


def _sample(env: Environment, platform: Platform, builder: RunBuilder) -> Generator[simpy.Event, Any, None]:
    """Read the gauges every so often; it changes nothing, so a run with it is the run without it."""
    plane, plant = platform.plane, platform.plane.plant
    kinds = sorted({kind for kind in plant.station_kinds if kind})
    processes = _process_rows(plant)
    before = dict.fromkeys((*kinds, *processes), 0.0)
    woken = dict.fromkeys(kinds, 0.0)
    before_all = 0.0
    for tick in itertools.count():
        now = env.now
        builder.add_gauge(now, "in_flight", "", platform.in_flight)
        builder.add_gauge(now, "outbox_length", "", platform.queue_length("outbox"))
        builder.add_gauge(now, "fanout_queue_length", "", platform.queue_length("fanout"))
        rows = {**{kind: plant.stations_of(kind) for kind in kinds}, **processes}
        busy = {name: float(plane.state.stations[those, c.S_BUSY_NS].sum()) for name, those in rows.items()}
        if tick:
            shares = {name: (busy[name] - before[name]) / (SAMPLE_INTERVAL_S * NS_PER_S) for name in busy}
            for name, share in shares.items():
                builder.add_gauge(now, "utilisation", name, share)
            on_host = plane.state.stations[:, c.S_HOST] == plant.host_rows["backend"]
            total = float(plane.state.stations[on_host, c.S_BUSY_NS].sum())
            builder.add_gauge(now, "utilisation", "backend", (total - before_all) / (SAMPLE_INTERVAL_S * NS_PER_S))
            before_all = total
        wakes = {kind: float(plane.state.stations[plant.stations_of(kind), c.S_WAKES].sum()) for kind in kinds}
        if tick:
            for kind in kinds:
                builder.add_gauge(now, "wakes_per_s", kind, (wakes[kind] - woken[kind]) / SAMPLE_INTERVAL_S)
        before, woken = busy, wakes
        if now >= platform.scenario.duration_s:
            return
        yield env.timeout(SAMPLE_INTERVAL_S)


def _process_rows(plant: Plant) -> dict[str, list[int]]:
    """Stations of each process by its name ("redis0"), of the kinds that have several."""
    found: dict[str, list[int]] = {}
    for kind in SEVERAL:
        names = {row: plant.station_names[row] for row in plant.stations_of(kind.value)}
        for row, name in names.items():
            if ordinal := name.removeprefix(name.rstrip("0123456789")):
                found.setdefault(f"{kind.value}{ordinal}", []).append(row)
    return found


def _drain(env: Environment, platform: Platform) -> None:
    """Let requests and messages under way finish, as the load test does."""
    end = env.now + DRAIN_LIMIT_S
    while env.now < end:
        if not (platform.in_flight or platform.queue_length("outbox") or platform.queue_length("fanout")):
            env.run(until=env.now + 1.0)  # the last message of each worker
            return
        env.run(until=env.now + 0.5)


def _collect(builder: RunBuilder, plane: DataPlane, calibration: Calibration) -> None:
    for row, name in enumerate(plane.plant.step_names):
        visits, items, residence_ns = (int(value) for value in plane.state.visits[row])
        if is_internal(name):
            continue
        if name in STEPS:
            step = STEPS[name]
            process = "database" if len(step.processes) > 1 else step.processes[0].value
            items = items if step.items else 0
        else:
            # The flushes, whose waits are the log's; or a step that `change` has declared.
            process, items = ("primary", 0) if name in WAITS else ("own", items)
        builder.add_step(name, process, visits, items, residence_ns)
    counters = {
        "timeline_hits": c.X_HITS, "timeline_misses": c.X_MISSES, "posts_created": c.X_POSTS,
        "deliveries_expected": c.X_EXPECTED, "deliveries_seen": c.X_EXPECTED,
        "primary_reads": c.X_PRIMARY_READS, "standby_reads": c.X_STANDBY_READS, "stale_reads": c.X_STALE_READS,
        "commits": c.X_COMMITTED,
    }  # fmt: skip
    builder.counters.update({name: float(plane.scalar(column)) for name, column in counters.items()})


def _validity(platform: Platform, watch: LoadWatch, *, steady: bool) -> Validity:
    """A run in which work piled up has no steady state to report; the reasons name what is saturated."""
    reasons = []
    if platform.in_flight:
        reasons.append(
            f"{platform.in_flight} requests were unanswered {DRAIN_LIMIT_S:g} s after the last arrival: "
            "the offered load exceeds what the platform can serve"
        )
    for queue in ("outbox", "fanout"):
        if length := platform.queue_length(queue):
            left = f"{length} messages were left in the {queue} queue"
            reasons.append(f"{left} {DRAIN_LIMIT_S:g} s after the last arrival")
    # Where load or platform change by design (faults, control processes), a backlog may grow in the meantime.
    if steady and (grown := growth(watch.backlog)):
        first, last = grown
        reasons.append(
            f"work piled up: {first:.0f} requests in flight and messages in queues in the first quarter of the scored "
            f"part, {last:.0f} in the last"
        )
    elif steady and not reasons and (overload := watch.overload()):
        reasons.append(overload)
    if not reasons:
        return Validity()
    return Validity(valid=False, reasons=(*reasons, f"what saturates: {watch.bottleneck()}"), stationary=False)
