"""From what was seen beside a load to a Run."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import redis

from loadtests.cores import Interference
from loadtests.faults import FaultEvent
from loadtests.gauges import GaugeSampler
from loadtests.hiccup import Hiccups
from loadtests.records import Outcome, Records
from loadtests.telemetry import Documents, Lags, Reporter, add_counters, add_steps
from loadtests.validity import GeneratorFigures, judge
from model.runs.builder import RunBuilder
from model.runs.provenance import provenance
from model.runs.run import LagKind, Run
from model.spec.scenario import Endpoint, Scenario
from model.spec.steps import Process
from model.workload.schedule import ClosedSchedule, Schedule
from real_backend.audit import AuditResult
from real_backend.stack import Stack

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


def run_of(
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
    _add_lags(builder, stack, seen)
    add_steps(builder, seen.reporters, seen.before, seen.after)
    add_counters(builder, seen.reporters, seen.before, seen.after)
    builder.counters.update({name: float(value) for name, value in dataclasses.asdict(audited).items()})
    builder.counters["deliveries_seen"] = float(audited.deliveries_seen)
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


def _add_lags(builder: RunBuilder, stack: Stack, seen: Observation) -> None:
    """Outbox and delivery lags from the files of relay and workers, of this run's posts only."""
    epoch_of_start_ns = time.time_ns() - time.monotonic_ns() + seen.start_ns
    kinds: dict[Process, LagKind] = {Process.RELAY: "outbox", Process.WORKER: "delivery"}
    for reporter in seen.reporters:
        if reporter.kind in kinds:
            lags = Lags.read(stack.runtime_dir, reporter.name, epoch_of_start_ns)
            builder.add_lags(kinds[reporter.kind], "", lags.time_ns - epoch_of_start_ns, lags.lag_ns, lags.count)
