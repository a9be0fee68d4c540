"""Measuring the real backend: one scenario's schedule played to a running stack, and the Run made of it."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from real_backend.audit import AuditResult, audit

from loadtests.arrivals import materialised
from loadtests.cores import Interference, InterferenceMeter, on_core
from loadtests.faults import FaultEvent, FaultInjector
from loadtests.gauges import CpuSource, GaugeSampler, OutboxSource, QueueSource, ReplicaLagSource, Source
from loadtests.hiccup import HiccupMeter, Hiccups
from loadtests.process import GeneratorOptions, GeneratorProcess, Progress
from loadtests.queues import queue_of
from loadtests.records import ClosedSessions, OpenArrivals, Outcome, Records
from loadtests.telemetry import Deliveries, Documents, Reporter, add_counters, add_steps, read_all, visits
from loadtests.validity import GeneratorFigures, judge
from model.runs.builder import RunBuilder
from model.runs.provenance import provenance
from model.runs.run import Run
from model.spec.scenario import Endpoint, Scenario
from model.spec.seed_tables import SeedTables
from model.spec.steps import Process
from model.workload.graph import graph_of
from model.workload.schedule import ClosedSchedule, Schedule, schedule_of
from model.workload.seeding import seed_state
from real_backend.stack import Stack

DRAIN_DEADLINE_S = 60.0
_DRAIN_POLL_S = 0.1
_IN_FLIGHT_INTERVAL_S = 0.25


@dataclass(frozen=True, eq=False)
class Observation:
    """Everything seen in one measured run, before it becomes a Run."""

    records: Records
    start_ns: int
    """The schedule's time zero, on the clock of `time.monotonic_ns`."""
    gauges: GaugeSampler
    faults: list[FaultEvent]
    reporters: list[Reporter]
    before: Documents
    after: Documents
    hiccups: Hiccups | None
    interference: Interference
    drained: bool


def measure(
    stack: Stack,
    scenario: Scenario,
    schedule: Schedule | ClosedSchedule,
    seeds: SeedTables,
    *,
    on_progress: Progress = lambda done, total: None,
    web_port: int | None = None,
    hold: Callable[[], None] = lambda: None,
) -> Run:
    """Play `schedule` to a started and freshly seeded `stack` and return what happened.

    `on_progress` gets (requests finished, requests in all; 0 in closed mode). With `web_port` Locust's own page is
    served there meanwhile, and until `hold` returns. The calling thread moves to the generator's core. An invalid
    run is returned, not raised: see `Run.validity`.
    """
    arrivals = materialised(schedule)
    with on_core(stack.rig.generator_core):
        seen = _observe(stack, scenario, arrivals, on_progress, web_port, hold)
        audited = audit(
            stack.urls.postgres, list(stack.urls.redis), stack.config, since_post_id=int(seeds.post_ids[-1])
        )
    return _run_of(stack, scenario, schedule, seen, audited, offered=_offered(arrivals))


def measure_scenario(
    scenario: Scenario,
    *,
    on_message: Callable[[str], None] = lambda message: None,
    on_progress: Progress = lambda done, total: None,
    web_port: int | None = None,
    hold: Callable[[], None] = lambda: None,
) -> Run:
    """Start a backend for the scenario, seed it, `measure` it and stop it again."""
    on_message("drawing the population and the schedule")
    graph = graph_of(scenario)
    seeds = seed_state(scenario, graph)
    schedule = schedule_of(scenario, graph, seeds)
    with Stack(scenario, on_progress=on_message) as stack:
        stack.seed(seeds)
        on_message("opening connections")
        return measure(stack, scenario, schedule, seeds, on_progress=on_progress, web_port=web_port, hold=hold)


def _observe(
    stack: Stack,
    scenario: Scenario,
    arrivals: OpenArrivals | ClosedSessions,
    on_progress: Progress,
    web_port: int | None,
    hold: Callable[[], None],
) -> Observation:
    options = GeneratorOptions(
        request_timeout_s=scenario.platform.api.request_timeout_s,
        core=stack.rig.generator_core,
        realtime=stack.rig.realtime,
        duration_s=scenario.duration_s,
        web_port=web_port,
    )
    timeout_s = scenario.duration_s + scenario.platform.api.request_timeout_s + 30
    reporters = reporters_of(stack)
    # Inside the runtime folder, so that whatever ends this process leaves nothing behind.
    with tempfile.TemporaryDirectory(prefix="load-", dir=stack.runtime_dir) as folder:
        with (
            GeneratorProcess(arrivals, [stack.urls.api], Path(folder), options) as generator,
            GaugeSampler(sources_of(stack)) as gauges,
            HiccupMeter(stack.rig.generator_core) as hiccups,
            FaultInjector(stack.faults, scenario.faults) as faults,
        ):
            before = read_all(reporters, stack.runtime_dir)
            others = InterferenceMeter(stack.rig.backend_core, [stack.runtime_dir])

            def begin(start_ns: int) -> None:
                gauges.begin(start_ns)
                faults.begin(start_ns)

            start_ns = generator.play(
                last=_offered(arrivals), timeout_s=timeout_s, on_start=begin, on_progress=on_progress
            )
            interference = others.read()
            drained = wait_until_drained(stack, reporters, before)
            records = generator.finish()
            hold()
        after = read_all(reporters, stack.runtime_dir)
    return Observation(
        records=records,
        start_ns=start_ns,
        gauges=gauges,
        faults=faults.events,
        reporters=reporters,
        before=before,
        after=after,
        hiccups=hiccups.hiccups,
        interference=interference,
        drained=drained,
    )


def reporters_of(stack: Stack) -> list[Reporter]:
    """The stack's processes that keep telemetry."""
    urls = dict(zip((f"api{i}" for i in range(len(stack.urls.api))), stack.urls.api, strict=True))
    return [
        Reporter(info.name, info.kind, url=urls.get(info.name, ""), pid=info.pids[0])
        for info in stack.processes
        if info.kind in (Process.API, Process.RELAY, Process.WORKER)
    ]


def sources_of(stack: Stack) -> list[Source]:
    """Readers of all gauges of a stack."""
    kinds = {info.name: info.kind for info in stack.processes}
    on_backend_core = frozenset(kind for kind in Process if stack.rig.core_of(kind) == stack.rig.backend_core)
    return [
        CpuSource(stack.sample, kinds, on_backend_core),
        OutboxSource(stack.urls.postgres),
        QueueSource(stack.config),
        ReplicaLagSource(stack.urls.postgres, stack.urls.standbys),
    ]


def wait_until_drained(
    stack: Stack, reporters: list[Reporter], before: Documents, deadline_s: float = DRAIN_DEADLINE_S
) -> bool:
    """Wait until every committed post was fanned out and every standby has caught up; False at the deadline.

    A message counts as done by the workers' own counters, since a broker need not tell what is being worked on.
    """
    deadline = time.monotonic() + deadline_s
    queue = queue_of(stack.config)
    replicas = ReplicaLagSource(stack.urls.postgres, stack.urls.standbys)
    try:
        with psycopg.connect(stack.urls.postgres, autocommit=True) as primary:
            while True:
                row = primary.execute("SELECT count(*) FROM outbox").fetchone()
                if row is not None and not row[0] and not queue.length() and replicas.caught_up():
                    now = read_all([r for r in reporters if not r.url], stack.runtime_dir)
                    if _unfinished(before, now) <= 0:
                        return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(_DRAIN_POLL_S)
    finally:
        queue.close()
        replicas.close()


def _unfinished(before: Documents, now: Documents) -> int:
    earlier = {name: before[name] for name in now}
    published = visits(now, "relay.publish", "items") - visits(earlier, "relay.publish", "items")
    return published - (visits(now, "worker.done") - visits(earlier, "worker.done"))


def _offered(arrivals: OpenArrivals | ClosedSessions) -> int:
    return len(arrivals.time_ns) if isinstance(arrivals, OpenArrivals) else 0


def _run_of(
    stack: Stack,
    scenario: Scenario,
    schedule: Schedule | ClosedSchedule,
    seen: Observation,
    audited: AuditResult,
    *,
    offered: int,
) -> Run:
    builder = RunBuilder(scenario, "real")
    records = seen.records
    builder.add_requests(
        records.endpoint,
        records.scheduled_ns,
        records.sent_ns,
        records.latency_ns,
        records.outcome,
        ordinal=records.ordinal,
    )
    seen.gauges.add_to(builder)
    _add_in_flight(builder, records, scenario.duration_s)
    _add_deliveries(builder, stack, seen)
    add_steps(builder, seen.reporters, seen.before, seen.after)
    add_counters(builder, seen.reporters, seen.before, seen.after)
    builder.counters.update({name: float(value) for name, value in dataclasses.asdict(audited).items()})
    acknowledged = int(((records.endpoint == Endpoint.CREATE_POST.code) & (records.outcome == Outcome.OK)).sum())
    # A post that was acknowledged and is not in the database is as lost as one that reached nobody.
    builder.counters["posts_lost"] += max(acknowledged - audited.posts_created, 0)
    figures = GeneratorFigures.of(records, offered)
    verdict = judge(figures, seen.interference, drained=seen.drained)
    return builder.build(_provenance(stack, scenario, schedule, seen, figures), verdict)


def _provenance(
    stack: Stack, scenario: Scenario, schedule: Schedule | ClosedSchedule, seen: Observation, figures: GeneratorFigures
) -> dict[str, Any]:
    hiccups = seen.hiccups
    return provenance(
        seed=scenario.seed,
        schedule_digest=schedule.digest,
        rig=dict(stack.rig.provenance()),
        servers=_server_versions(stack),
        generator=dataclasses.asdict(figures),
        steal_share={str(core): share for core, share in seen.interference.steal.items()},
        foreign_share=seen.interference.foreign,
        hiccups_per_s=hiccups.rate_per_s if hiccups else None,
        hiccup_max_s=float(hiccups.late_ns.max(initial=0)) * 1e-9 if hiccups else None,
        faults=[dataclasses.asdict(event) for event in seen.faults],
    )


def _server_versions(stack: Stack) -> dict[str, str]:
    import redis

    with psycopg.connect(stack.urls.postgres) as primary:
        row = primary.execute("SHOW server_version").fetchone()
    with redis.Redis.from_url(stack.urls.redis[0]) as shard:
        info: Any = shard.info("server")
    name = str(info.get("server_name", "redis"))
    version = str(info.get("valkey_version", info.get("redis_version", "unknown")))
    return {"postgresql": str(row[0]) if row else "unknown", name: version}


def _add_in_flight(builder: RunBuilder, records: Records, duration_s: float) -> None:
    """Requests that were sent and not yet answered, at regular instants."""
    instants_s = np.arange(0, duration_s + 1e-9, _IN_FLIGHT_INTERVAL_S)
    instants = (instants_s * 1e9).astype(np.int64)
    sent, ended = np.sort(records.sent_ns), np.sort(records.sent_ns + records.latency_ns)
    in_flight = np.searchsorted(sent, instants, side="right") - np.searchsorted(ended, instants, side="right")
    builder.add_gauge(instants_s, "in_flight", "", in_flight)


def _add_deliveries(builder: RunBuilder, stack: Stack, seen: Observation) -> None:
    """Delivery lags from the workers' files, of this run's posts only."""
    epoch_of_start_ns = time.time_ns() - time.monotonic_ns() + seen.start_ns
    for reporter in seen.reporters:
        if reporter.kind is Process.WORKER:
            batches = Deliveries.read(stack.runtime_dir, reporter.name, epoch_of_start_ns)
            times = batches.time_ns - epoch_of_start_ns
            builder.add_lags("delivery", "", times, batches.lag_ns, batches.timelines)
