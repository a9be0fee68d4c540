"""When a measured run says nothing about the backend: the generator's side must have been blameless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtests.cores import Interference
from loadtests.records import Records
from model.runs.run import Validity

MAX_SLIP_P99_S = 0.020
MAX_GENERATOR_CPU_SHARE = 0.8
MAX_OFFERED_ERROR = 0.01
MAX_STEAL_SHARE = 0.05
MAX_FOREIGN_SHARE = 0.10
"""Of the backend's core; the kernel's own work for the backend is about 0.01."""


@dataclass(frozen=True, kw_only=True)
class GeneratorFigures:
    """How the generator did over a whole run."""

    offered: int
    """Requests of the schedule; 0 in closed mode, where nobody knows beforehand."""
    sent: int
    recorded: int
    slip_p50_s: float
    slip_p99_s: float
    slip_max_s: float
    cpu_s: float
    cpu_share: float
    """Of one core, from the start to the last answer."""
    pool_dry: int
    reopened: int
    connections: int
    realtime: bool

    @classmethod
    def of(cls, records: Records, offered: int) -> GeneratorFigures:
        segments = records.info["segments"]
        slip = np.percentile(records.slip_ns, (50, 99, 100)) * 1e-9 if len(records) else np.zeros(3)
        cpu_s, wall_s = (sum(segment[key] for segment in segments) for key in ("cpu_s", "wall_s"))
        return cls(
            offered=offered,
            sent=sum(segment["sent"] for segment in segments),
            recorded=len(records),
            slip_p50_s=float(slip[0]),
            slip_p99_s=float(slip[1]),
            slip_max_s=float(slip[2]),
            cpu_s=cpu_s,
            cpu_share=cpu_s / wall_s if wall_s else 0.0,
            **{name: records.info[name] for name in ("pool_dry", "reopened", "connections", "realtime")},
        )


def judge(figures: GeneratorFigures, interference: Interference, *, drained: bool) -> Validity:
    """Every reason for which the run is invalid."""
    reasons = []
    steal_share = max(interference.steal.values(), default=0.0)
    if not figures.recorded:
        reasons.append("no request was sent")
    if figures.slip_p99_s > MAX_SLIP_P99_S:
        reasons.append(
            f"the generator lagged its schedule: slip p99 {figures.slip_p99_s * 1e3:.1f} ms, at most "
            f"{MAX_SLIP_P99_S * 1e3:g} ms is allowed"
        )
    if figures.cpu_share > MAX_GENERATOR_CPU_SHARE:
        reasons.append(
            f"the generator used {figures.cpu_share:.0%} of its core, at most {MAX_GENERATOR_CPU_SHARE:.0%} is allowed"
        )
    if figures.pool_dry:
        reasons.append(
            f"the generator ran out of its {figures.connections} connections {figures.pool_dry} times: the backend is "
            "overloaded, or the load needs more connections"
        )
    if figures.offered and abs(figures.sent - figures.offered) > MAX_OFFERED_ERROR * figures.offered:
        reasons.append(f"{figures.sent} requests were sent where the schedule has {figures.offered}")
    if steal_share > MAX_STEAL_SHARE:
        reasons.append(f"the hypervisor took {steal_share:.0%} of a core, at most {MAX_STEAL_SHARE:.0%} is allowed")
    if interference.foreign > MAX_FOREIGN_SHARE:
        reasons.append(
            f"other programs used {interference.foreign:.0%} of the backend's core, at most {MAX_FOREIGN_SHARE:.0%} is "
            "allowed"
        )
    if not drained:
        reasons.append("the fan-out had not caught up when the wait for it ended; delivery lags are incomplete")
    return Validity(not reasons, tuple(reasons))
