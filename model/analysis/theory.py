"""What theory says of one simulated run of the feed: closed forms where they apply, and operational laws."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from model.analysis.closed_forms import ClosedForm, NoClosedForm, closed_forms
from model.analysis.operational_laws import Little, Utilisation, little, utilisation
from model.platform.feed import feed_plant
from model.platform.simulate import shipped_calibration
from model.runs import Run
from model.spec import ENDPOINTS, Calibration, Scenario


@dataclass(frozen=True)
class Theory:
    """Closed forms per station, each or the assumption that fails, and laws of the whole where the run holds enough."""

    stations: tuple[ClosedForm | NoClosedForm, ...]
    little: Little | None
    utilisation: Utilisation | None

    @property
    def applying(self) -> tuple[ClosedForm, ...]:
        return tuple(station for station in self.stations if isinstance(station, ClosedForm))

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "applying": [asdict(form) for form in self.applying],
            "not_applying": {
                station.station: station.because for station in self.stations if isinstance(station, NoClosedForm)
            },
            "littles_law": self.little.document() if self.little else None,
            "utilisation_law": self.utilisation.document() if self.utilisation else None,
        }


def theory_of(run: Run, calibration: Calibration | None = None) -> Theory:
    """What theory says of a run that `simulate` made with `calibration` (default: the shipped one).

    The laws need a stationary run: they are left out of an invalid one, and where the load or the platform changes.
    """
    calibration = calibration or shipped_calibration()
    scenario = run.scenario
    offered = dict(run.totals.group_by("endpoint").agg(pl.col("offered").sum()).iter_rows())
    rates = [offered.get(endpoint.value, 0) / run.duration_s for endpoint in ENDPOINTS]
    unsteady = why_unsteady(scenario)
    stations = closed_forms(
        feed_plant(scenario, calibration), rates, unsteady=unsteady, stalls=calibration.stalls.rate_per_s > 0
    )
    changing = bool(scenario.faults or scenario.workload.rate_profile or not run.validity.valid)
    if changing:
        return Theory(stations, None, None)
    return Theory(stations, little(run), utilisation(run, calibration))


def why_unsteady(scenario: Scenario) -> str:
    """Why the arrivals of a scenario are no Poisson process of constant rate at a platform that stays as it is; "" if
    they are."""
    workload = scenario.workload
    if workload.mode == "closed":
        return "the load is closed: who waits for an answer sends nothing (workload.mode)"
    if workload.rate_profile:
        return "the rate changes (workload.rate_profile)"
    if workload.burst_cv > 0:
        return f"the arrivals come in bursts (workload.burst_cv is {workload.burst_cv:g})"
    if scenario.faults:
        return "the platform changes (faults)"
    return ""
