"""Measuring a Calibration: probes, then slices with rotating mixes at several loads, then a fit, then frozen.

What each part identifies:

- probes on the idle stores: how a cost divides between operations and between a visit and its items;
- an idle slice: polls, timers, housekeeping;
- slices with rotating mixes, at low rates and at up to `HIGHEST_UTILISATION`: demands per process and step, and the
  cost of waking up, since the same work wakes a process more often at a low rate;
- the loaded slices once more: what is left of a read's latency when the model has explained the rest is the client's
  and the network's part;
- a flush meter and a hiccup meter beside all of it: the disk, and stalls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from loadtests.calibrate.assembly import assemble
from loadtests.calibrate.demands import fit_demands, timed_segments
from loadtests.calibrate.flush import FlushMeter
from loadtests.calibrate.probes import probe_stores
from loadtests.calibrate.slices import Plan, Played, idle_slice, plan_slice, play_slices, utilisation
from loadtests.calibrate.waits import NO_WAIT, client_wait, commit_to_visible, ship_wait, stalls_of, wait_of, with_wait
from loadtests.hiccup import HiccupMeter
from model.analysis.fit import Slice
from model.spec import ENDPOINTS, Calibration, InvalidRunError, Scenario
from model.spec.seed_tables import SeedTables
from model.workload import FollowerGraph
from real_backend.stack import Rig, Stack

LOW_RATE_PER_S = 60.0
LOW_SLICE_S = 4.0
SLICE_S = 4.5
IDLE_S = 3.0
LOADS = (0.35, 0.5, 0.6)
"""Utilisations aimed at in the loaded slices, one of each with each mix."""
WARMER = 0.65
"""CPU per request under load over that of the low-rate pilot: warm caches, fewer wake-ups."""
LOOSE_NOISE = 0.3
"""Relative noise granted to the idle and the low-rate slices, whose caches are colder than those of any real load."""
HIGHEST_UTILISATION = 0.6
TOLERATED_UTILISATION = HIGHEST_UTILISATION + 0.15
TOLERATED_FAILURES = 0.01
FEWEST_SLICES = 1

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
    """Measure a started and seeded stack; its stores are reset at the end. Takes about 110 s.

    Raises InvalidRunError where the generator or the slices cannot be trusted, MachineError where a server died.
    """
    with stack.blamed_for_errors():
        return _calibrate(stack, scenario, graph, seeds, on_progress)


def _calibrate(
    stack: Stack, scenario: Scenario, graph: FollowerGraph, seeds: SeedTables, on_progress: Report
) -> Calibration:
    on_progress("probing the stores", 0.02)
    priors = probe_stores(stack, seeds)
    visible_s = commit_to_visible(stack, seeds)
    stack.reset(seeds)
    on_progress("idle", 0.1)
    idle = idle_slice(stack, IDLE_S)
    with HiccupMeter(stack.rig.generator_core) as hiccups, FlushMeter(stack.rig, stack.runtime_dir) as flushes:
        low = _low_slices(stack, scenario, graph, seeds, on_progress)
        stack.reset(seeds)
        loaded = _loaded_slices(stack, scenario, graph, seeds, idle, low, on_progress)
    stack.reset(seeds)
    low, loaded = _trusted(stack.rig, low), _trusted(stack.rig, loaded)
    played = [*low, *loaded]
    on_progress("fitting", 0.95)
    slices, speed = _at_one_speed([idle, *(one.slice for one in played)], loose=1 + len(low))
    # Of the loaded slices only: on an idle core everything is colder.
    priors.update(timed_segments(loaded))
    written_s, durable_s = flushes.durations_s.T if scenario.platform.postgres.fsync else ((), ())
    calibration = assemble(
        stack, scenario, fitted=fit_demands(stack, priors, slices), priors=priors,
        waits={
            "net.client": NO_WAIT, "db.wal_ship": NO_WAIT,
            "db.commit_write": wait_of(written_s), "db.commit_sync": wait_of(durable_s),
        },
        stalls=stalls_of(hiccups.hiccups), slices=slices, speed=speed,
    )  # fmt: skip
    calibration = with_wait(calibration, "db.wal_ship", ship_wait(calibration, visible_s))
    return with_wait(calibration, "net.client", client_wait(calibration, loaded, graph))


def _low_slices(
    stack: Stack, scenario: Scenario, graph: FollowerGraph, seeds: SeedTables, on_progress: Report
) -> list[Played]:
    plans = [
        plan_slice(scenario, endpoint, LOW_RATE_PER_S, LOW_SLICE_S, scenario.seed + 1_000 + endpoint.code)
        for endpoint in ENDPOINTS
    ]
    share = iter(np.linspace(0.15, 0.35, len(plans)))
    return play_slices(stack, plans, graph, int(seeds.post_ids[-1]), lambda name: on_progress(name, float(next(share))))


def _loaded_slices(
    stack: Stack,
    scenario: Scenario,
    graph: FollowerGraph,
    seeds: SeedTables,
    idle: Slice,
    low: Sequence[Played],
    on_progress: Report,
) -> list[Played]:
    """Each mix at each of the loads, in a fixed shuffled order, so that drift does not look like a demand."""
    random = np.random.Generator(np.random.Philox(key=scenario.seed))
    plans: list[Plan] = []
    at_rest = utilisation(stack.rig, idle)
    for endpoint, pilot in zip(ENDPOINTS, low, strict=True):
        used = (utilisation(stack.rig, pilot.slice) - at_rest) * pilot.slice.duration_s
        per_request = WARMER * used / len(pilot.records)
        for load in LOADS:
            seed = scenario.seed + 2_000 + len(plans)
            plans.append(plan_slice(scenario, endpoint, (load - at_rest) / per_request, SLICE_S, seed))
    order = [plans[i] for i in random.permutation(len(plans))]
    share = iter(np.linspace(0.4, 0.92, len(order)))
    return play_slices(stack, order, graph, int(seeds.post_ids[-1]), lambda name: on_progress(name, float(next(share))))


def _trusted(rig: Rig, played: Sequence[Played]) -> list[Played]:
    """Without the slices in which the core was too busy, where demands cannot be told apart.

    Raises InvalidRunError where requests failed, or where too few slices of a mix are left.
    """
    for one in played:
        failed = float(np.mean(one.records.outcome > 1)) if len(one.records) else 1.0
        if failed > TOLERATED_FAILURES:
            raise InvalidRunError(f"calibration slice {one.plan.name!r}: {failed:.0%} of its requests failed")
    kept = [one for one in played if utilisation(rig, one.slice) <= TOLERATED_UTILISATION]
    for endpoint in ENDPOINTS:
        left = sum(one.plan.endpoint is endpoint for one in kept)
        if left < FEWEST_SLICES:
            raise InvalidRunError(
                f"calibration: {left} slices of {endpoint.value} kept the backend core at most "
                f"{TOLERATED_UTILISATION:.0%} busy, at least {FEWEST_SLICES} are needed; is another program running?"
            )
    return kept


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
