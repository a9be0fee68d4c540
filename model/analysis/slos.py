"""Does a run, or do replications, keep what the scenario promises?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.analysis.intervals import Interval
from model.runs import Run
from model.spec import Scenario

if TYPE_CHECKING:  # loads the engine, which judging a single run does not need
    from model.analysis.replicate import Replications

QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class SloResult:
    """One promise against what was seen; times in seconds."""

    name: str
    """The field of the scenario below `slos`."""
    limit_s: float
    measured_s: float
    """NaN where nothing was observed, which does not keep a promise."""
    observations: int

    @property
    def met(self) -> bool:
        return self.measured_s <= self.limit_s


def slo_results(run: Run) -> list[SloResult]:
    """Every stated SLO of the run's scenario, judged on the scored part of the run."""
    seen = {
        subject: run.lag(subject) if subject in ("delivery", "replica") else run.latency(subject)  # type: ignore[arg-type]
        for _, subject, _ in promises(run.scenario)
    }
    return [
        SloResult(name, limit_s, seen[subject].quantile(QUANTILE), seen[subject].n)
        for name, subject, limit_s in promises(run.scenario)
    ]


@dataclass(frozen=True, slots=True)
class ReplicatedSlo:
    """One promise against replications; times in seconds."""

    name: str
    limit_s: float
    measured: Interval | None
    """None where too little was seen."""

    @property
    def met(self) -> bool:
        """Whether the estimate keeps the promise."""
        return self.measured is not None and self.measured.value <= self.limit_s

    @property
    def verdict(self) -> str:
        """``met`` or ``missed``, with "undecided" where the limit lies inside the interval."""
        verdict = "met" if self.met else "missed"
        if self.measured is None:
            return f"{verdict}: too few observations"
        return f"{verdict}, but undecided" if self.measured.covers(self.limit_s) else verdict


def replicated_slos(of: Replications) -> list[ReplicatedSlo]:
    """Every stated SLO of the scenario, judged on all replications together."""
    return [
        ReplicatedSlo(name, limit_s, of.interval(subject, QUANTILE)) for name, subject, limit_s in promises(of.scenario)
    ]


def promises(scenario: Scenario) -> list[tuple[str, str, float]]:
    """Every stated SLO of a scenario: its field below `slos`, what it is about, and the limit in s."""
    slos = scenario.slos
    found = [
        (f"latency_p99_s.{endpoint.value}", endpoint.value, limit) for endpoint, limit in slos.latency_p99_s.items()
    ]
    if slos.delivery_p99_s is not None:
        found.append(("delivery_p99_s", "delivery", slos.delivery_p99_s))
    if slos.replica_lag_p99_s is not None:
        found.append(("replica_lag_p99_s", "replica", slos.replica_lag_p99_s))
    return found
