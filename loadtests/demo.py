"""The main job, end to end: start, seed, calibrate, simulate, load-test the same schedule, compare, report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from loadtests.calibrate.procedure import calibrate
from loadtests.measure import measure
from model.analysis.compare import Comparison, compare
from model.analysis.summary import demo_summary
from model.platform.simulate import Process, simulate
from model.platform.weather import core_speeds
from model.report import write_report
from model.runs import Run
from model.spec import Calibration, MachineError, Scenario
from model.workload import FollowerGraph, graph_of, schedule_of, seed_state
from real_backend.stack import Stack

TARGET_UTILISATION = 0.63
"""Of the backend's core in the compared run; the model finds the load that gives it, and a short real run corrects it.
A little below the middle of what is intended: the core tends to be busier than expected, having slowed down since."""
INTENDED_UTILISATION = (0.6, 0.7)
"""Where a measured run should be found. Beyond it the core's speed has changed since the calibration."""
MOST_MEASUREMENTS = 2
"""A run found beyond it is measured once more, at a corrected load. Its latencies have no say in that."""
TRIAL_S = 10.0
"""Length of the model's trials of a load, and of the real one (the pilot) that corrects what they find."""
PILOT_SEED = 5_000
"""Added to the scenario's, so that the pilot's requests are not those that are compared."""
WEATHER_WINDOW_S = 2.0
"""As long as some two hundred readings of the speedometer, whose scatter would otherwise pass for a change."""
SEARCH_STEPS = 8
UTILISATION_TOLERANCE = 0.005
FASTEST_GROWTH = 1.6
SHRINK = 0.75

Say = Callable[[str, float | None], None]
"""Told what is going on and, where known, the share of it that is done."""


@dataclass(frozen=True, eq=False)
class Demo:
    """What a demo made."""

    scenario: Scenario
    calibration: Calibration
    real: Run
    model: Run
    """Simulated at the speed that the core had during the measurement."""
    prediction: Run
    """Simulated before the measurement, at the speed that the core had during calibration."""
    comparison: Comparison
    set_aside: tuple[float, ...]
    """Utilisation of the backend's core in a run that was measured before and found beyond what is intended."""

    def summary(self) -> dict[str, Any]:
        """The contents of summary.json; `prediction` holds the errors of what was simulated before the measurement."""
        measured, calibrated = core_speed(self.real), self.calibration.core_speed
        return {
            **demo_summary(self.real, self.model),
            "core_speed_ratio": measured / calibrated if calibrated and measured else None,
            "set_aside_utilisation": list(self.set_aside),
            "prediction": {"error": demo_summary(self.real, self.prediction)["error"]},
        }


def demo(scenario: Scenario, *, say: Say = lambda what, share: None) -> Demo:
    """Do everything but write files. The offered rate is chosen so that the core is `TARGET_UTILISATION` busy.

    A run that finds it beyond `INTENDED_UTILISATION` is measured once more.

    Leaves no process, port or folder behind, whatever happens. Raises MachineError where the machine cannot run it.
    """
    say("drawing the population", None)
    graph = graph_of(scenario)
    seeds = seed_state(scenario, graph)
    with Stack(scenario, on_progress=lambda message: say(message, None)) as stack:
        stack.seed(seeds)
        costs = calibrate(
            stack, scenario, graph, seeds, on_progress=lambda what, share: say(f"calibrating: {what}", share)
        )
        say("choosing the load", None)
        rate_per_s = rate_for(scenario, costs, graph)
        pilot = _trial(scenario.with_({"seed": scenario.seed + PILOT_SEED}), rate_per_s)
        rate_per_s *= TARGET_UTILISATION / utilisation(measure(stack, pilot, schedule_of(pilot, graph), seeds))
        stack.reset(seeds)
        set_aside: list[float] = []
        while True:
            loaded = scenario.with_({"workload.rate_per_s": rate_per_s})
            schedule = schedule_of(loaded, graph)
            say("simulating", None)
            # The prediction exists before the measurement begins.
            prediction = simulate(loaded, costs, graph=graph, schedule=schedule)
            real = measure(
                stack, loaded, schedule, seeds,
                on_progress=lambda done, total: say("load-testing the same schedule", done / total if total else None),
            )  # fmt: skip
            busy = utilisation(real)
            if intended(busy) or len(set_aside) + 1 == MOST_MEASUREMENTS:
                break
            say(f"the core was {busy:.0%} busy, its speed has changed: once more, at a corrected load", None)
            set_aside.append(busy)
            rate_per_s *= TARGET_UTILISATION / busy
            stack.reset(seeds)
        say("stopping the servers", None)
    # The same costs at the speeds that the core turned out to have, as the speedometer found them beside the run: on a
    # shared host that is the weather. The prediction made before it is kept, and shows what the weather did.
    model = simulate(
        loaded, costs.at_speed(core_speed(real)), graph=graph, schedule=schedule, processes=weather_of(real)
    )
    return Demo(loaded, costs, real, model, prediction, compare(real, model, allow_invalid=True), tuple(set_aside))


def core_speed(run: Run) -> float:
    """Mean speed of the backend's core after the warm-up; 0 where no speedometer ran."""
    rows = run.gauge("core_speed")
    mean = rows.filter(rows["time_s"] >= run.scenario.warmup_s)["value"].mean()
    return mean if isinstance(mean, float) else 0.0


def weather_of(run: Run) -> tuple[Process, ...]:
    """How the speed of the backend's core changed during a run, relative to its mean, for the model to repeat."""
    mean = core_speed(run)
    samples = run.gauge("core_speed")
    smooth = samples.group_by(pl.col("time_s") // WEATHER_WINDOW_S, maintain_order=True).agg(
        pl.col("time_s").min().alias("from_s"), pl.col("value").mean()
    )
    return (core_speeds(smooth["from_s"].to_list(), (smooth["value"] / mean).to_list()),) if mean else ()


def rate_for(scenario: Scenario, calibration: Calibration, graph: FollowerGraph) -> float:
    """The offered rate at which the model expects the backend's core to be `TARGET_UTILISATION` busy."""
    rate, highest = scenario.workload.rate_per_s, float("inf")
    for _ in range(SEARCH_STEPS):
        run = simulate(_trial(scenario, rate), calibration, graph=graph)
        busy = utilisation(run)
        if not run.validity.valid:
            # Something other than the core is in the way; a load beyond it would only measure that.
            rate, highest = rate * SHRINK, rate * SHRINK
            continue
        if abs(busy - TARGET_UTILISATION) < UTILISATION_TOLERANCE or rate == highest:
            return rate
        # Nearly proportional: set-up costs make the share grow a little slower than the rate.
        rate = min(highest, rate * min(FASTEST_GROWTH, TARGET_UTILISATION / max(busy, 0.01)))
    return rate


def _trial(scenario: Scenario, rate_per_s: float) -> Scenario:
    """A short run at another load."""
    return scenario.with_({
        "workload.rate_per_s": rate_per_s, "duration_s": TRIAL_S, "warmup_s": 1.0, "faults": [],
    })  # fmt: skip


def intended(busy: float) -> bool:
    """Whether the core was as busy as a compared run should find it."""
    lowest, highest = INTENDED_UTILISATION
    return lowest <= busy <= highest


def utilisation(run: Run) -> float:
    """Mean share of the backend's core in use, after the warm-up."""
    rows = run.gauge("utilisation")
    scored = rows.filter((rows["label"] == "backend") & (rows["time_s"] >= run.scenario.warmup_s))
    mean = scored["value"].mean()
    if not isinstance(mean, float):
        raise MachineError("the run has no samples of the backend's utilisation")
    return mean


def write(demo: Demo, folder: Path) -> None:
    """Both runs, the calibration, the summary and the report, into an empty folder."""
    demo.real.save(folder / "real")
    demo.model.save(folder / "model")
    demo.prediction.save(folder / "prediction")
    demo.calibration.save(folder / "calibration.json")
    (folder / "summary.json").write_text(json.dumps(demo.summary(), indent=2) + "\n", encoding="utf-8")
    write_report(demo.comparison, folder / "report.html")
