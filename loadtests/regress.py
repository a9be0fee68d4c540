"""The regression gate: two checkouts of the backend, load-tested in alternating slices of one schedule."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from loadtests.arrivals import materialised
from loadtests.cores import InterferenceMeter, on_core
from loadtests.process import GeneratorOptions, GeneratorProcess
from loadtests.ratios import Ratio, Values, quantile_ratio
from loadtests.records import OpenArrivals, Outcome, Records
from loadtests.validity import GeneratorFigures, judge
from model.rng import generator
from model.runs.run import Validity
from model.spec.errors import InputError
from model.spec.scenario import ENDPOINTS, Scenario
from model.workload.graph import graph_of
from model.workload.schedule import schedule_of
from model.workload.seeding import seed_state
from real_backend.stack import Stack
from real_backend.stack.external import BROKER_VARIABLE, POSTGRES_VARIABLE, RABBITMQ_VARIABLE, REDIS_VARIABLE

THRESHOLD = 1.10
QUANTILES = (0.50, 0.95)
MIN_BEYOND = 20
"""Observations that must lie beyond a quantile on either side for it to be judged."""
MAX_MORE_FAILED = 0.01
"""Share of the requests that may fail in the candidate beyond those that fail in the base."""
SETTLE_SHARE = 0.2
"""The first part of each slice is played, but not scored: the stack has just been woken."""
_PAUSE_S = 0.1

Verdict = Literal["ok", "slower", "faster", "too few"]


@dataclass(frozen=True)
class Line:
    """One endpoint's quantile in both checkouts."""

    endpoint: str
    quantile: float
    ratio: Ratio
    verdict: Verdict


@dataclass(frozen=True)
class Regression:
    """The result of one comparison; `regressed` is what a CI job acts on."""

    lines: tuple[Line, ...]
    requests: int
    """Sent to each checkout."""
    failures: tuple[Mapping[str, int], Mapping[str, int]]
    """Requests that did not end well, by "endpoint: outcome"; base and candidate."""
    threshold: float
    slices: int
    validity: Validity

    @property
    def fails_more(self) -> bool:
        """A request that fails is not slow, so it is judged by itself."""
        base, candidate = (sum(kinds.values()) for kinds in self.failures)
        return candidate - base > MAX_MORE_FAILED * self.requests

    @property
    def regressed(self) -> bool:
        return self.fails_more or any(line.verdict == "slower" for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the load is divided: `slices` per checkout, `slice_s` seconds each."""

    slices: int = 20
    slice_s: float = 3.0
    threshold: float = THRESHOLD

    @property
    def duration_s(self) -> float:
        return self.slices * self.slice_s


def regress(
    base: Path,
    candidate: Path,
    scenario: Scenario,
    plan: Plan | None = None,
    *,
    on_progress: Callable[[str, int, int], None] = lambda message, done, total: None,
) -> Regression:
    """Compare two checkouts of the backend under the scenario's load.

    Both stacks are up and seeded alike all the time; the idle one is stopped by signal. Slice i of the schedule is
    served by both, which one first is drawn. A quantile counts as slower only where the whole interval of its
    ratio lies beyond the threshold. Raises InputError where a folder is no checkout.
    """
    plan = plan or Plan()
    if scenario.workload.mode != "open":
        raise InputError("regress: workload.mode is 'closed'; it must be 'open': closed users send less to slower code")
    for variable in (POSTGRES_VARIABLE, REDIS_VARIABLE, BROKER_VARIABLE, RABBITMQ_VARIABLE):
        if os.environ.get(variable):
            raise InputError(f"regress: {variable} is set; unset it: two backends cannot share one server")
    checkouts = [_checkout(base), _checkout(candidate)]
    scenario = scenario.with_({"duration_s": plan.duration_s, "warmup_s": 0.0, "faults": []})
    graph = graph_of(scenario)
    seeds = seed_state(scenario, graph)
    arrivals = materialised(schedule_of(scenario, graph, seeds))
    assert isinstance(arrivals, OpenArrivals)
    with contextlib.ExitStack() as running:
        stacks: list[Stack] = []
        for name, code in zip(("base", "candidate"), checkouts, strict=True):
            on_progress(f"starting {name}", 0, 2 * plan.slices)
            stack = running.enter_context(Stack(scenario, code=code))
            stack.seed(seeds)
            stack.suspend()
            stacks.append(stack)
        core = stacks[0].rig.generator_core
        with on_core(core):
            others = InterferenceMeter(stacks[0].rig.backend_core, [stack.runtime_dir for stack in stacks])
            records = _play(stacks, arrivals, scenario, plan, on_progress)
            interference = others.read()
    figures = GeneratorFigures.of(records, offered=2 * len(arrivals.time_ns))
    validity = judge(figures, interference, drained=True)
    return _judged(records, plan, scenario.seed, validity)


def _play(
    stacks: Sequence[Stack],
    arrivals: OpenArrivals,
    scenario: Scenario,
    plan: Plan,
    on_progress: Callable[[str, int, int], None],
) -> Records:
    rig = stacks[0].rig
    options = GeneratorOptions(
        request_timeout_s=scenario.platform.api.request_timeout_s, core=rig.generator_core, realtime=rig.realtime
    )
    slice_ns = round(plan.slice_s * 1e9)
    edges = np.searchsorted(arrivals.time_ns, np.arange(plan.slices + 1) * slice_ns)
    timeout_s = plan.slice_s + scenario.platform.api.request_timeout_s + 30
    for stack in stacks:
        stack.resume()
    with (
        tempfile.TemporaryDirectory(prefix="load-", dir=stacks[0].runtime_dir) as folder,
        GeneratorProcess(arrivals, [stack.urls.api for stack in stacks], Path(folder), options) as load,
    ):
        for stack in stacks:
            stack.suspend()
        for done, (number, side) in enumerate(_order(plan.slices, scenario.seed)):
            on_progress("alternating slices", done, 2 * plan.slices)
            stacks[side].resume()
            stacks[side].check()
            # Timers that fell due while the stack was stopped ring at once; let that pass.
            time.sleep(_PAUSE_S)
            first, last = int(edges[number]), int(edges[number + 1])
            load.play(
                number=2 * number + side,
                first=first,
                last=last,
                origin_ns=number * slice_ns,
                target=side,
                timeout_s=timeout_s,
            )
            stacks[side].suspend()
        return load.finish()


def _order(slices: int, seed: int) -> list[tuple[int, int]]:
    """(slice, side) in the order of play: slices in turn, which side goes first drawn for each."""
    first = generator(seed, "regress.order").integers(0, 2, slices)
    return [(i, int(side)) for i in range(slices) for side in (first[i], 1 - first[i])]


def _judged(records: Records, plan: Plan, seed: int, validity: Validity) -> Regression:
    scored = (records.scheduled_ns >= SETTLE_SHARE * plan.slice_s * 1e9) & (records.outcome == Outcome.OK)
    lines = []
    for endpoint in ENDPOINTS:
        mine = scored & (records.endpoint == endpoint.code)
        sides = [
            [records.latency_ns[mine & (records.segment == 2 * i + side)] * 1e-9 for i in range(plan.slices)]
            for side in (0, 1)
        ]
        if any(not sum(map(len, side)) for side in sides):
            continue
        for q in QUANTILES:
            ratio = quantile_ratio(sides[0], sides[1], q, seed=seed)
            lines.append(Line(endpoint.value, q, ratio, _verdict(ratio, q, sides, plan.threshold)))
    requests = int((records.segment % 2 == 0).sum())
    failures = (_failures(records, 0), _failures(records, 1))
    return Regression(tuple(lines), requests, failures, plan.threshold, plan.slices, validity)


def _failures(records: Records, side: int) -> dict[str, int]:
    bad = (records.outcome > Outcome.MISSING) & (records.segment % 2 == side)
    pairs = zip(records.endpoint[bad].tolist(), records.outcome[bad].tolist(), strict=True)
    names = (f"{ENDPOINTS[endpoint].value}: {Outcome(outcome).name.lower()}" for endpoint, outcome in pairs)
    return dict(sorted(Counter(names).items()))


def _verdict(ratio: Ratio, q: float, sides: Sequence[Sequence[Values]], threshold: float) -> Verdict:
    if ratio.n * (1 - q) < MIN_BEYOND:
        return "too few"
    if ratio.low > threshold:
        return "slower"
    return "faster" if ratio.high < 1 / threshold else "ok"


def _checkout(folder: Path) -> Path:
    if not (folder / "real_backend" / "api").is_dir():
        raise InputError(f"{folder}: not a checkout of the backend; expected a folder with real_backend/api in it")
    return folder.resolve()


def summary(result: Regression) -> dict[str, Any]:
    """The result as plain values, latencies in ms."""
    return {
        "valid": result.validity.valid,
        "reasons": list(result.validity.reasons),
        "regressed": result.regressed,
        "threshold": result.threshold,
        "slices": result.slices,
        "requests": result.requests,
        "fails_more": result.fails_more,
        "failures": {"base": dict(result.failures[0]), "candidate": dict(result.failures[1])},
        "endpoints": [
            {
                "endpoint": line.endpoint,
                "quantile": line.quantile,
                "base_ms": line.ratio.base * 1e3,
                "candidate_ms": line.ratio.candidate * 1e3,
                "ratio": line.ratio.ratio,
                "low": line.ratio.low,
                "high": line.ratio.high,
                "n": line.ratio.n,
                "verdict": line.verdict,
            }
            for line in result.lines
        ],
    }
