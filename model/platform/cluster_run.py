"""One scenario through the model of a cluster: build, run to the end of the load, drain, collect a Run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import simpy

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.environment import NS_PER_S, Environment
from model.engine.running import Running
from model.engine.tally import T_COMPLETED, T_FAILED, T_FINISHED, T_OFFERED, T_SUM_NS, tally
from model.platform.cluster import STEP_PROCESSES, cluster_plant, process_counts, settings
from model.platform.data import hot_followees
from model.platform.memory import require_memory
from model.platform.stationarity import LoadWatch
from model.runs import OUTCOMES, Run, RunBuilder, provenance
from model.runs.run import Validity
from model.spec import ENDPOINTS, InputError, Scenario
from model.spec.cluster import ClusterStep
from model.spec.seed_tables import SeedTables
from model.workload import FollowerGraph, Schedule, graph_of, schedule_of, seed_state
from model.workload.implicit.columns import (
    CROWD_COLUMNS,
    SEAT_CACHED,
    SEAT_LENGTH,
    U_REPLICAS,
    U_SHARDS,
    U_USERS,
)  # fmt: skip
from model.workload.implicit.crowd import Crowd, crowd_of
from model.workload.implicit.followers import pulled_runs
from model.workload.implicit.schedule import ImplicitSchedule
from model.workload.implicit.timelines import seats_of

if TYPE_CHECKING:
    from collections.abc import Callable

IntArray = npt.NDArray[np.int64]

MOST_WINDOWS = 600
"""Windows of a Run: beyond as many seconds they are longer than a second, so that a Run's size has a limit."""
MOST_SAMPLES = 2_400
SAMPLE_INTERVAL_S = 0.25
DRAIN_LIMIT_S = 60.0
"""How long after the last arrival the run waits for requests and fan-outs still under way."""
PROGRESS_STEPS = 40


class ClusterPlatform(Running):
    """The running cluster as a control process sees it.

    `api`, `graph`, `posts` and `worker` are lists of one station, which is all of their processes together; `shards`
    are the cache's, replica after replica, each shard by shard.
    """

    def __init__(self, scenario: Scenario, plane: DataPlane) -> None:
        super().__init__(plane)
        self.scenario = scenario
        self.shards = self.stations("cache")
        (self._tasks,) = self.stations("tasks")

    @property
    def tasks_waiting(self) -> int:
        """Fan-out tasks for which no worker is free."""
        return self._tasks.queue_length

    @property
    def tasks_running(self) -> int:
        """Workers that have a task."""
        return self._tasks.busy

    @property
    def deliveries_outstanding(self) -> int:
        """Followers of posts pushed so far whom their post has not reached."""
        return self.plane.scalar(c.X_DUE) - self.plane.scalar(c.X_EXPECTED) - self.plane.scalar(c.X_UNCACHED)


def simulate_cluster(
    scenario: Scenario,
    *,
    graph: FollowerGraph | None = None,
    schedule: Schedule | ImplicitSchedule | None = None,
    processes: Sequence[Callable[[Environment, Any], Generator[simpy.Event, Any, Any]]] = (),
    on_progress: Callable[[float], None] | None = None,
) -> Run:
    """Simulate a scenario whose platform is a cluster; see `simulate`.

    The tables of the simulation do not grow with its duration: requests and deliveries are counted as they are logged.
    Raises InputError for a population that is impossible or does not fit into memory, before allocating it.
    """
    require_memory(scenario)
    window_s = max(1.0, math.ceil(scenario.duration_s / MOST_WINDOWS))
    builder = RunBuilder(scenario, "model", window_s=window_s)
    recorder = ClusterRecorder(builder, round(window_s * NS_PER_S))
    data, requests = _population(scenario, graph, schedule)
    plane = DataPlane(
        cluster_plant(scenario),
        scenario.seed,
        blocks=iter(requests.blocks()),
        data=data,
        settings=settings(scenario),
        shards=scenario.platform.cluster.cache_shards * scenario.platform.cluster.cache_replicas,
        on_log=recorder.take,
    )
    platform = ClusterPlatform(scenario, plane)
    env = Environment(plane)
    env.process(_sample(env, platform, builder))
    watch = LoadWatch(plane, scenario.warmup_s, scenario.duration_s, _interval_s(scenario))
    env.process(watch.process(env))
    for process in processes:
        env.process(process(env, platform))
    for until_s in np.linspace(0, scenario.duration_s, PROGRESS_STEPS + 1)[1:].tolist():
        env.run(until=until_s)
        if on_progress:
            on_progress(until_s)
    _drain(env, platform)
    plane.drain()
    _collect(builder, plane)
    return builder.build(
        provenance(
            seed=scenario.seed,
            schedule_digest=requests.digest,
            calibration_digest="",
            events=plane.scalar(c.X_EVENTS),
        ),
        _validity(platform, watch),
    )


def _population(
    scenario: Scenario, graph: FollowerGraph | None, schedule: Schedule | ImplicitSchedule | None
) -> tuple[dict[str, Any], Schedule | ImplicitSchedule]:
    """The data of the effects, and the requests."""
    cluster = scenario.platform.cluster
    if scenario.population.kind == "implicit":
        crowd = crowd_of(scenario)
        data = implicit_data(crowd, scenario)
        requests: Any = schedule or ImplicitSchedule(scenario, crowd)
    else:
        graph = graph or graph_of(scenario)
        seeds = seed_state(scenario, graph)
        data = explicit_data(scenario, seeds)
        requests = schedule or schedule_of(scenario, graph, seeds)
    data["crowd"][[U_SHARDS, U_REPLICAS]] = cluster.cache_shards, cluster.cache_replicas
    return data, requests


def implicit_data(crowd: Crowd, scenario: Scenario) -> dict[str, Any]:
    """Tables of an implicit population, two bytes an account."""
    return {
        "seats": seats_of(crowd, scenario),
        "crowd": crowd.crowd.copy(),
        "law": crowd.law,
        "class_begins": crowd.class_begins,
        "runs": np.zeros((len(crowd.readiness), 2), np.int64),
        "pulled_runs": pulled_runs(crowd.crowd, crowd.law, crowd.class_begins),
    }


def explicit_data(scenario: Scenario, seeds: SeedTables) -> dict[str, Any]:
    """The same of a population whose followers are listed. Raises InputError for too long timelines."""
    if scenario.policies.timeline_cap > SEAT_LENGTH:
        raise InputError(
            f"policies.timeline_cap is {scenario.policies.timeline_cap}; at most {SEAT_LENGTH} entries can be counted"
        )
    offsets, _ = seeds.timelines(everyone=True)
    hot_offsets, hot_authors = hot_followees(seeds)
    crowd = np.zeros(CROWD_COLUMNS, np.int64)
    crowd[U_USERS] = seeds.users
    return {
        "seats": np.diff(offsets).astype(np.uint16)
        | np.where(seeds.materialized, np.uint16(SEAT_CACHED), np.uint16(0)),
        "crowd": crowd,
        "follower_offsets": seeds.follower_offsets.astype(np.int64),
        "followers": seeds.followers.astype(np.int32),
        "pulled": seeds.hot.astype(np.bool_),
        "hot_offsets": hot_offsets,
        "hot_authors": hot_authors,
    }


class ClusterRecorder:
    """Counts the data plane's log into the builder's tables."""

    def __init__(self, builder: RunBuilder, window_ns: int) -> None:
        self.builder = builder
        self._window_ns = window_ns

    def take(self, rows: IntArray) -> None:
        """Rows of the log, int64 [n, LOG_COLUMNS]."""
        counted = tally(rows, self._window_ns)
        window, endpoint, bucket = np.nonzero(counted.latencies)
        self.builder.add_latency_counts(
            endpoint, window + counted.first_window, bucket, counted.latencies[window, endpoint, bucket]
        )
        window, endpoint = np.nonzero(counted.totals.any(axis=2))
        totals = counted.totals[window, endpoint]
        self.builder.add_totals(
            endpoint, window + counted.first_window, totals[:, T_OFFERED], totals[:, T_COMPLETED],
            totals[:, T_FAILED], totals[:, T_SUM_NS], finished=totals[:, T_FINISHED],
        )  # fmt: skip
        for code, outcome in zip(*np.nonzero(counted.outcomes[:, 1:]), strict=True):
            count = int(counted.outcomes[code, outcome + 1])
            self.builder.add_failures(ENDPOINTS[code].value, OUTCOMES[outcome + 1], count)
        window, bucket = np.nonzero(counted.lags)
        self.builder.add_lag_counts(
            "delivery", "", window + counted.first_window, bucket, counted.lags[window, bucket],
            counted.lag_sums_ns[window, bucket],
        )  # fmt: skip
        requests = rows[rows[:, c.L_KIND] == c.LOG_REQUEST]
        self.builder.add_sample(
            requests[:, c.L_ORDINAL], requests[:, c.L_LABEL], requests[:, c.L_TIME], requests[:, c.L_VALUE],
            requests[:, c.L_WEIGHT],
        )  # fmt: skip


def _sample(env: Environment, platform: ClusterPlatform, builder: RunBuilder) -> Generator[simpy.Event, Any, None]:
    """Read the gauges every so often; it changes nothing, so a run with it is the run without it."""
    duration_s = platform.scenario.duration_s
    interval_s = _interval_s(platform.scenario)
    stations = {kind: platform.stations(kind) for kind in sorted(set(STEP_PROCESSES.values()))}
    count = process_counts(platform.scenario.platform.cluster)
    before: dict[str, float] = {}
    for tick in itertools.count():
        builder.add_gauge(env.now, "in_flight", "", platform.in_flight)
        builder.add_gauge(env.now, "fanout_queue_length", "", platform.tasks_waiting)
        builder.add_gauge(env.now, "deliveries_outstanding", "", platform.deliveries_outstanding)
        busy = {kind: sum(station.busy_s for station in rows) for kind, rows in stations.items()}
        if tick:
            for kind, total_s in busy.items():
                share = (total_s - before[kind]) / interval_s / count[kind]
                builder.add_gauge(env.now, "utilisation", kind, share)
            builder.add_gauge(env.now, "utilisation", "tasks", platform.tasks_running / count["worker"])
        before = busy
        if env.now >= duration_s:
            return
        yield env.timeout(interval_s)


def _interval_s(scenario: Scenario) -> float:
    """Between two samples: so long that their number has a limit."""
    return max(SAMPLE_INTERVAL_S, scenario.duration_s / MOST_SAMPLES)


def _drain(env: Environment, platform: ClusterPlatform) -> None:
    """Let requests and fan-outs under way finish."""
    end = env.now + DRAIN_LIMIT_S
    while env.now < end and (platform.in_flight or platform.deliveries_outstanding):
        env.run(until=env.now + 0.5)


def _collect(builder: RunBuilder, plane: DataPlane) -> None:
    for row, name in enumerate(plane.plant.step_names):
        visits, items, residence_ns = (int(value) for value in plane.state.visits[row])
        builder.add_step(name, STEP_PROCESSES[ClusterStep(name)], visits, items, residence_ns)
    counters = {
        "timeline_hits": c.X_HITS, "timeline_misses": c.X_MISSES, "posts_created": c.X_POSTS,
        "deliveries_expected": c.X_DUE, "deliveries_seen": c.X_EXPECTED, "deliveries_uncached": c.X_UNCACHED,
    }  # fmt: skip
    builder.counters.update({name: float(plane.scalar(column)) for name, column in counters.items()})


def _validity(platform: ClusterPlatform, watch: LoadWatch) -> Validity:
    """A run in which work was still piling up at the end has no steady state to report."""
    reasons = []
    if platform.in_flight:
        reasons.append(
            f"{platform.in_flight} requests were unanswered {DRAIN_LIMIT_S:g} s after the last arrival: "
            "the offered load exceeds what the platform can serve"
        )
    if outstanding := platform.deliveries_outstanding:
        reasons.append(f"{outstanding} deliveries were outstanding {DRAIN_LIMIT_S:g} s after the last arrival")
    # A celebrity's post is a backlog by design, so one that merely grew says nothing here; more work than there is time
    # for does.
    if not reasons and (overload := watch.overload()):
        reasons.append(overload)
    if not reasons:
        return Validity()
    return Validity(valid=False, reasons=(*reasons, f"what saturates: {watch.bottleneck()}"), stationary=False)
