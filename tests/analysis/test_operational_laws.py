"""Little's law and the utilisation law on simulated runs, and on runs that are not what they say."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from model.analysis.operational_laws import SECTIONS, little, utilisation
from model.analysis.theory import theory_of, why_unsteady
from model.platform.simulate import shipped_calibration, simulate
from model.runs import Run
from model.spec import Scenario

SMALL = {"duration_s": 42.0, "warmup_s": 2.0, "population.users": 200, "workload.rate_per_s": 800.0}


@pytest.fixture(scope="module")
def run() -> Run:
    return simulate(Scenario.load("baseline", SMALL))


def test_littles_law_holds(run: Run) -> None:
    law = little(run)
    assert law is not None
    assert law.holds
    assert law.rate_times_residence == pytest.approx(law.rate_per_s * law.residence_s)
    assert law.residence_s == pytest.approx(run.latency().mean_s, rel=1e-9)
    assert law.rate_per_s == pytest.approx(run.offered_per_s, rel=1e-9)
    assert law.half_width < law.in_flight


def test_a_run_that_counted_too_many_in_flight_is_found(run: Run) -> None:
    more = run.gauges.with_columns(pl.when(pl.col("gauge") == "in_flight").then(pl.col("value") + 1).otherwise("value"))
    law = little(dataclasses.replace(run, gauges=more))
    assert law is not None
    assert not law.holds


def test_there_is_no_law_where_the_run_does_not_hold_enough(run: Run) -> None:
    assert little(dataclasses.replace(run, duration_s=2.0 + SECTIONS - 1)) is None
    assert little(dataclasses.replace(run, gauges=run.gauges.filter(pl.col("gauge") != "in_flight"))) is None
    failed = run.totals.with_columns(failed=pl.lit(1, pl.Int64))
    assert little(dataclasses.replace(run, totals=failed)) is None
    assert utilisation(dataclasses.replace(run, gauges=run.gauges.clear()), shipped_calibration()) is None


def test_the_steps_use_what_the_core_is_busy_with(run: Run) -> None:
    calibration = shipped_calibration()
    law = utilisation(run, calibration)
    assert law is not None
    assert law.rate_times_demand == pytest.approx(law.rate_per_s * law.demand_s)
    assert 0.6 * law.utilisation < law.rate_times_demand < law.utilisation
    # With nothing but the steps on the core, the law is an equation. Other draws are what is left of the difference.
    free = {"value": 0.0, "low": 0.0, "high": 0.0}
    bare = calibration.model_copy(
        update={
            "processes": {
                kind: cost.model_copy(update={name: type(cost.wake_s)(**free) for name in ("wake_s", "poll_s")})
                for kind, cost in calibration.processes.items()
            },
            "background_cpu_share": {},
        }
    )
    exact = utilisation(simulate(Scenario.load("baseline", SMALL), bare), bare)
    assert exact is not None
    assert exact.rate_times_demand == pytest.approx(exact.utilisation, rel=0.01)


def test_theory_of_a_feed_has_laws_and_no_queueing_formula(run: Run) -> None:
    theory = theory_of(run)
    assert theory.applying == ()
    document = theory.document()
    assert "shares host 'backend'" in document["not_applying"]["api"]
    assert document["littles_law"]["holds"]
    assert document["utilisation_law"]["overhead"] > 0


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({}, ""),
        ({"workload.mode": "closed"}, "the load is closed"),
        ({"workload.rate_profile": [{"at_s": 1.0, "factor": 2.0}]}, "the rate changes"),
        ({"workload.burst_cv": 0.5}, "the arrivals come in bursts (workload.burst_cv is 0.5)"),
        (
            {"faults": [{"kind": "worker_pause", "at_s": 1.0, "duration_s": 1.0}]},
            "the platform changes",
        ),
    ],
)
def test_why_arrivals_are_not_poisson(fields: dict[str, object], because: str) -> None:
    scenario = Scenario.load("baseline", fields)
    assert why_unsteady(scenario).startswith(because)
    assert bool(why_unsteady(scenario)) == bool(because)


def test_laws_are_left_out_where_the_load_changes() -> None:
    changing = {**SMALL, "duration_s": 15.0, "workload.rate_profile": [{"at_s": 5.0, "factor": 2.0}]}
    theory = theory_of(simulate(Scenario.load("baseline", changing)))
    assert (theory.little, theory.utilisation) == (None, None)
    assert all("the rate changes" in str(form) or "shares host" in str(form) for form in theory.stations)
