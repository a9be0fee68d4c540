"""Measuring the real backend: one scenario's schedule played to a running stack, and the Run made of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from loadtests.arrivals import materialised
from loadtests.cores import InterferenceMeter, on_core
from loadtests.drain import wait_until_drained
from loadtests.faults import FaultInjector
from loadtests.gauges import CpuSource, GaugeSampler, OutboxSource, QueueSource, ReplicaLagSource, Source, SpeedSource
from loadtests.hiccup import HiccupMeter
from loadtests.process import GeneratorOptions, GeneratorProcess, Progress
from loadtests.records import ClosedSessions, OpenArrivals
from loadtests.results import Observation, run_of
from loadtests.telemetry import read_all, reporters_of
from model.runs.run import Run
from model.spec.scenario import Scenario
from model.spec.seed_tables import SeedTables
from model.spec.steps import Process
from model.workload.graph import graph_of
from model.workload.schedule import ClosedSchedule, Schedule, schedule_of
from model.workload.seeding import seed_state
from real_backend.audit import audit
from real_backend.stack import Stack


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
    return run_of(stack, scenario, schedule, seen, audited, offered=_offered(arrivals))


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


def sources_of(stack: Stack) -> list[Source]:
    """Readers of all gauges of a stack."""
    kinds = {info.name: info.kind for info in stack.processes}
    on_backend_core = frozenset(kind for kind in Process if stack.rig.core_of(kind) == stack.rig.backend_core)
    return [
        CpuSource(stack.sample, kinds, on_backend_core),
        SpeedSource(stack.speed_counts),
        OutboxSource(stack.urls.postgres),
        QueueSource(stack.config),
        ReplicaLagSource(stack.urls.postgres, stack.urls.standbys),
    ]


def _offered(arrivals: OpenArrivals | ClosedSessions) -> int:
    return len(arrivals.time_ns) if isinstance(arrivals, OpenArrivals) else 0
