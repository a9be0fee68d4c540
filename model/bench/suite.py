"""Everything that `feedtwin bench` measures: in one process tree, in turns, medians of all turns."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bench import large, replications, simpy_baseline
from model.bench.load import poisson
from model.bench.reference_path import (
    EVENTS_PER_REQUEST,
    FEATURES,
    KEYS,
    MMC_EVENTS_PER_REQUEST,
    MMC_RATE_PER_S,
    RATE_PER_S,
    Outcome,
    mmc_plant,
    reference_plant,
    run_engine,
)  # fmt: skip
from model.bench.scaling import SCALES, scaling
from model.bench.starts import start_s

ENGINE_REQUESTS = 500_000
SIMPY_REQUESTS = 20_000
LARGE = "twitter-2013"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One thing that is run in each turn; a case of `group` is compared with the others of its group."""

    name: str
    run: Callable[[], Outcome]
    requests: int
    events: int | None
    """What it must have processed; None where that depends on luck."""


def run_suite(
    *, repeats: int = 5, scale: float = 1.0, whole: bool = True, say: Progress = lambda message: None
) -> dict[str, Any]:
    """Run all of it `repeats` times in turns, `scale` times as many requests as usual; without `whole`, only what
    takes seconds.

    Raises AssertionError where a side has not processed exactly the events that its path implies.
    """
    cases = _cases(round(ENGINE_REQUESTS * scale), max(100, round(SIMPY_REQUESTS * scale)))
    say("compiling")
    for case in cases:
        _checked(case)  # compiles, and warms the caches
    outcomes: dict[str, list[Outcome]] = {case.name: [] for case in cases}
    for turn in range(repeats):
        for case in cases:
            say(f"turn {turn + 1} of {repeats}: {case.name}")
            outcomes[case.name].append(_checked(case))
    for name, runs in outcomes.items():
        assert len({run.events for run in runs}) == 1, f"{name} is not deterministic: {runs}"
    result: dict[str, Any] = {
        "reference_path": _against_simpy(outcomes, "reference path"),
        "mm_c": _against_simpy(outcomes, "M/M/c"),
        "features": _features(outcomes),
    }
    say("growing platforms")
    result["scaling"] = scaling(repeats=3, scales=[size for size in SCALES if size <= SCALES[-1] * scale])
    if whole:
        result |= _whole(repeats, say)
    result["repeats"] = repeats
    return result


def _cases(engine_requests: int, simpy_requests: int) -> list[Case]:
    path = poisson(engine_requests, rate_per_s=RATE_PER_S, keys=KEYS)
    queue = poisson(engine_requests, rate_per_s=MMC_RATE_PER_S, keys=1)
    short_path, short_queue = path.part(0, simpy_requests), queue.part(0, simpy_requests)
    n, m = len(path), len(short_path)
    cases = [
        Case("reference path", lambda: run_engine(reference_plant(), path), n, n * EVENTS_PER_REQUEST),
        Case("reference path, SimPy", lambda: simpy_baseline.run_reference_path(short_path), m,
             m * simpy_baseline.EVENTS_PER_REQUEST),
        Case("M/M/c", lambda: run_engine(mmc_plant(), queue), n, n * MMC_EVENTS_PER_REQUEST),
        Case("M/M/c, SimPy", lambda: simpy_baseline.run_mmc(short_queue), m, m * simpy_baseline.MMC_EVENTS_PER_REQUEST),
    ]  # fmt: skip
    for name, feature in FEATURES.items():
        run = lambda feature=feature: run_engine(feature.plant(), path, shards=feature.shards)  # noqa: E731
        cases.append(Case(name, run, n, feature.events and n * feature.events))
    return cases


def _checked(case: Case) -> Outcome:
    outcome = case.run()
    assert outcome.requests == case.requests, (case.name, outcome)
    assert case.events is None or outcome.events == case.events, (case.name, outcome, case.events)
    return outcome


def _against_simpy(outcomes: dict[str, list[Outcome]], name: str) -> dict[str, Any]:
    engine, plain = outcomes[name], outcomes[f"{name}, SimPy"]
    rate = statistics.median(run.rate_per_s for run in engine)
    events = engine[0].events
    return {
        "feedtwin_requests_per_s": rate,
        "simpy_requests_per_s": statistics.median(run.rate_per_s for run in plain),
        # Of each turn, so that what slowed both down cancels out.
        "ratio": statistics.median(a.rate_per_s / b.rate_per_s for a, b in zip(engine, plain, strict=True)),
        "events": events,
        "events_per_s": rate * events / engine[0].requests,
        "mean_ms": {"feedtwin": engine[0].mean_ms, "simpy": plain[0].mean_ms},
    }


def _features(outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """What a request costs with each feature, and on top of the reference path in the same turn."""
    base = outcomes["reference path"]
    return {
        name: {
            "requests_per_s": statistics.median(run.rate_per_s for run in runs),
            "ns_per_request": statistics.median(1e9 / run.rate_per_s for run in runs),
            "ns_on_top": statistics.median(
                1e9 / run.rate_per_s - 1e9 / plain.rate_per_s for run, plain in zip(runs, base, strict=True)
            ),
        }
        for name, runs in outcomes.items()
        if name in FEATURES
    }


def _whole(repeats: int, say: Progress) -> dict[str, Any]:
    """What takes whole runs: the large scenario, replications on threads, cold and warm starts."""
    big, threads, cold, warm = [], [], [], []
    for turn in range(repeats):
        where = f"turn {turn + 1} of {repeats}"
        say(f"{where}: {LARGE}")
        big.append(large.measure(LARGE))
        say(f"{where}: replications on threads")
        threads.append(replications.measure())
        with tempfile.TemporaryDirectory(prefix="feedtwin-bench-") as folder:
            say(f"{where}: cold start")
            cold.append(start_s(Path(folder)))
            say(f"{where}: warm start")
            warm.append(start_s(Path(folder)))
    counted = ("simulated_s", "requests", "deliveries", "events")
    assert all(run[name] == big[0][name] for run in big for name in counted), f"{LARGE} is not deterministic: {big}"
    measured = ("wall_s", "cpu_s", "realtime_factor", "peak_rss_mb")
    return {
        "twitter_2013": {
            **{name: big[0][name] for name in counted},
            **{name: statistics.median(run[name] for run in big) for name in measured},
        },
        "replications": {
            "cores": os.cpu_count(),
            "threads": 2,
            "speedup": statistics.median(turn.speedup for turn in threads),
        },
        "cold_start_s": statistics.median(cold),
        "warm_start_s": statistics.median(warm),
    }
