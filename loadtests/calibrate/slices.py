"""Slices of load for calibration: rotating mixes at several rates, with every counter read before and after each."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.calibrate.roles import RoleMeter, RoleUsage, kind_of
from loadtests.cores import Interference, on_core
from loadtests.drain import wait_until_drained
from loadtests.process import GeneratorOptions, GeneratorProcess
from loadtests.records import OpenArrivals, Records
from loadtests.telemetry import Documents, Reporter, read_all, reporters_of
from loadtests.validity import GeneratorFigures, judge
from model.analysis.fit import Slice, Visits
from model.spec import ENDPOINTS, Endpoint, InvalidRunError, Scenario
from model.spec.scenario import Mix
from model.workload import FollowerGraph, Schedule, schedule_of
from real_backend.stack import Rig, Stack, speedometer

SETTLE_S = 0.2
"""Between two slices, for the relay's and the workers' last work to be counted where it belongs."""
EMPHASIS = 0.6
"""Share that a slice's mix gives to one endpoint; the rest keeps the scenario's proportions."""


@dataclass(frozen=True)
class Plan:
    """One slice to play: its name, the endpoint that its mix emphasises, the variant that draws its requests."""

    name: str
    endpoint: Endpoint
    scenario: Scenario


@dataclass(frozen=True, eq=False)
class Played:
    """A slice's counters and, for the comparison with the model, its requests."""

    plan: Plan
    schedule: Schedule
    slice: Slice
    records: Records
    totals: dict[str, tuple[float, float]]
    """Step -> (sum of its visits' times in s, sum of their squares), by the processes' own clocks."""


@dataclass(frozen=True)
class _Reading:
    time_s: float
    usage: dict[str, RoleUsage]
    documents: Documents
    walks: tuple[int, float] | None


def emphasised(scenario: Scenario, endpoint: str) -> Mix:
    """The scenario's mix with one endpoint raised to `EMPHASIS`."""
    shares = dict(zip((e.value for e in ENDPOINTS), scenario.workload.mix.shares, strict=True))
    rest = sum(share for name, share in shares.items() if name != endpoint)
    if rest <= 0:
        return scenario.workload.mix
    mixed = {name: (1 - EMPHASIS) * share / rest for name, share in shares.items()}
    mixed[endpoint] = EMPHASIS
    return Mix(**mixed)


def plan_slice(scenario: Scenario, endpoint: Endpoint, rate_per_s: float, duration_s: float, seed: int) -> Plan:
    """A slice with an emphasised endpoint at a rate."""
    variant = scenario.with_({
        "workload.mode": "open", "workload.mix": emphasised(scenario, endpoint.value).model_dump(),
        "workload.rate_per_s": rate_per_s, "workload.rate_profile": [], "workload.hot_post_share": 0.0,
        "duration_s": duration_s, "warmup_s": 0.0, "faults": [], "seed": seed,
    })  # fmt: skip
    return Plan(f"{endpoint.value} at {rate_per_s:.0f}/s", endpoint, variant)


def play_slices(
    stack: Stack,
    plans: Sequence[Plan],
    graph: FollowerGraph,
    newest_post: int,
    on_progress: Callable[[str], None] = lambda name: None,
) -> list[Played]:
    """Play the plans one after another with one generator. Posts made in a slice get ids above those made before.

    Raises InvalidRunError where the generator lagged its schedule, used too much CPU or ran out of connections.
    """
    schedules = [schedule_of(plan.scenario, graph) for plan in plans]
    assert all(isinstance(schedule, Schedule) for schedule in schedules)
    blocks, bounds, made = [], [0], 0
    for schedule in schedules:
        block = schedule.materialize()  # type: ignore[union-attr]
        target = np.where(block.target > newest_post, block.target + made, block.target)
        # Profiles and timelines name accounts, whose numbers may be as high as a post's.
        names_post = np.isin(
            block.endpoint, [e.code for e in ENDPOINTS if e.value in ("create_post", "react", "read_post")]
        )
        blocks.append(
            OpenArrivals(block.time_ns, block.endpoint, block.user, np.where(names_post, target, block.target))
        )
        made += int((block.endpoint == Endpoint.CREATE_POST.code).sum())
        bounds.append(bounds[-1] + len(block.time_ns))
    everything = OpenArrivals(*(
        np.concatenate([getattr(block, field.name) for block in blocks]) for field in dataclasses.fields(OpenArrivals)
    ))  # fmt: skip
    with (
        on_core(stack.rig.generator_core),
        tempfile.TemporaryDirectory(prefix="slices-", dir=stack.runtime_dir) as name,
    ):
        options = GeneratorOptions(
            request_timeout_s=plans[0].scenario.platform.api.request_timeout_s,
            core=stack.rig.generator_core,
            realtime=stack.rig.realtime,
        )
        meter, reporters = RoleMeter(stack), reporters_of(stack)
        readings: list[tuple[_Reading, _Reading]] = []
        with GeneratorProcess(everything, [stack.urls.api], Path(name), options) as generator:
            for number, plan in enumerate(plans):
                on_progress(plan.name)
                before = _reading(stack, meter, reporters)
                generator.play(
                    number=number, first=bounds[number], last=bounds[number + 1],
                    timeout_s=plan.scenario.duration_s + plan.scenario.platform.api.request_timeout_s + 30,
                )  # fmt: skip
                wait_until_drained(stack, reporters, before.documents)
                time.sleep(SETTLE_S)
                readings.append((before, _reading(stack, meter, reporters)))
            records = generator.finish()
    verdict = judge(GeneratorFigures.of(records, bounds[-1]), Interference({}, 0.0), drained=True)
    if not verdict.valid:
        raise InvalidRunError("\n".join(["the slices of a calibration are not valid:", *verdict.reasons]))
    return [
        Played(plan, schedule, _slice(plan.name, *pair), _records_of(records, number), _totals(*pair))  # type: ignore[arg-type]
        for number, (plan, schedule, pair) in enumerate(zip(plans, schedules, readings, strict=True))
    ]


def utilisation(rig: Rig, one: Slice) -> float:
    """Share of the backend's core that a slice used; in the layout `split` some kinds of process run beside it."""
    on_core = (cpu for role, cpu in one.cpu_s.items() if rig.core_of(kind_of(role)) == rig.backend_core)
    return sum(on_core) / one.duration_s


def idle_slice(stack: Stack, duration_s: float) -> Slice:
    """No requests at all: what polls, timers and housekeeping use."""
    meter, reporters = RoleMeter(stack), reporters_of(stack)
    before = _reading(stack, meter, reporters)
    time.sleep(duration_s)
    after = _reading(stack, meter, reporters)
    return _slice("idle", before, after)


def _reading(stack: Stack, meter: RoleMeter, reporters: Sequence[Reporter]) -> _Reading:
    counts = stack.speed_counts()
    return _Reading(time.monotonic(), meter.sample(), read_all(reporters, stack.runtime_dir), counts)


def _records_of(records: Records, number: int) -> Records:
    chosen = records.segment == number
    columns = {
        field.name: getattr(records, field.name)[chosen]
        for field in dataclasses.fields(Records)
        if isinstance(getattr(records, field.name), np.ndarray)
    }
    return dataclasses.replace(records, **columns)


def _slice(name: str, before: _Reading, after: _Reading) -> Slice:
    steps: dict[str, Visits] = {}
    for process, document in after.documents.items():
        old = before.documents[process]["steps"]
        for step, totals in document["steps"].items():
            earlier = old.get(step, {})
            known = steps.get(step, Visits())
            steps[step] = Visits(
                known.visits + totals["visits"] - earlier.get("visits", 0),
                known.items + totals["items"] - earlier.get("items", 0),
            )
    return Slice(
        speed=speedometer.speed(before.walks, after.walks),
        name=name,
        duration_s=after.time_s - before.time_s,
        cpu_s={role: after.usage[role].cpu_s - before.usage[role].cpu_s for role in after.usage},
        wakes={role: after.usage[role].wakes - before.usage[role].wakes for role in after.usage},
        steps=steps,
    )


def _totals(before: _Reading, after: _Reading) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for process, document in after.documents.items():
        old = before.documents[process]["steps"]
        for step, totals in document["steps"].items():
            earlier = old.get(step, {})
            sums = [totals[key] - earlier.get(key, 0.0) for key in ("total_s", "squares_s2")]
            known = found.get(step, (0.0, 0.0))
            found[step] = (known[0] + sums[0], known[1] + sums[1])
    return found
