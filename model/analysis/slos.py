"""Does a run keep what its scenario promises?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.runs import Histogram, Run

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
    slos = run.scenario.slos
    promises: list[tuple[str, float, Histogram]] = [
        (f"latency_p99_s.{endpoint.value}", limit, run.latency(endpoint))
        for endpoint, limit in slos.latency_p99_s.items()
    ]
    if slos.delivery_p99_s is not None:
        promises.append(("delivery_p99_s", slos.delivery_p99_s, run.lag("delivery")))
    if slos.replica_lag_p99_s is not None:
        promises.append(("replica_lag_p99_s", slos.replica_lag_p99_s, run.lag("replica")))
    return [
        SloResult(name, limit, histogram.quantile(QUANTILE) if histogram.n else math.nan, histogram.n)
        for name, limit, histogram in promises
    ]
