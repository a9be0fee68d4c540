"""A Calibration put together from what was fitted and metered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from loadtests.calibrate.demands import process_costs, step_costs
from loadtests.calibrate.slices import utilisation
from model.analysis.fit import Fitted, Prior, Slice, Visits
from model.runs.provenance import provenance
from model.spec import ENDPOINTS, Calibration, Scenario
from model.spec.calibration import Stalls, Wait
from model.spec.steps import STEPS
from real_backend.stack import Rig, Stack
from real_backend.telemetry import Telemetry, Trace

MARKS = 20_000


def assemble(
    stack: Stack,
    scenario: Scenario,
    *,
    fitted: Mapping[str, Fitted],
    priors: Mapping[str, Prior],
    waits: Mapping[str, Wait],
    stalls: Stalls,
    slices: Sequence[Slice],
    speed: float,
) -> Calibration:
    """All of it, with its provenance and the goodness of the fit; `speed` is what the slices' CPU times refer to."""
    processes, background = process_costs(fitted, slices)
    named = provenance(rig=dict(stack.rig.provenance()))
    return Calibration(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine={**named["machine"], "rig": named["rig"], "python": named["python"], "packages": named["packages"]},
        scenario_digest=scenario.digest,
        steps=step_costs(stack, fitted, priors),
        processes=processes,
        waits=dict(waits),
        stalls=stalls,
        core_speed=speed,
        telemetry_s_per_request=_telemetry_s_per_request(slices),
        background_cpu_share=background,
        unidentified=tuple(name for found in fitted.values() for name in found.unidentified),
        diagnostics=_diagnostics(stack.rig, fitted, slices),
    )


def _telemetry_s_per_request(slices: Sequence[Slice]) -> float:
    """What the always-on telemetry costs the API: one mark, timed here, as often as a request made one."""
    api = [step for step in STEPS if step.startswith("api.") and step != "api.replay_poll"]
    requests = marks = 0.0
    for one in slices:
        requests += sum(one.steps.get(f"api.{endpoint.value}.receive", Visits()).visits for endpoint in ENDPOINTS)
        # Each segment ends with a mark; each visit of a store, which follows a segment, with another.
        marks += 2 * sum(one.steps.get(step, Visits()).visits for step in api)
    trace = Trace(Telemetry("cost", 0))
    began = time.thread_time()
    for _ in range(MARKS):
        trace.mark(0)
    return (time.thread_time() - began) / MARKS * marks / max(requests, 1.0)


def _diagnostics(rig: Rig, fitted: Mapping[str, Fitted], slices: Sequence[Slice]) -> dict[str, Any]:
    return {
        "slices": [
            {
                "name": s.name,
                "duration_s": round(s.duration_s, 3),
                "utilisation": round(utilisation(rig, s), 4),
                "core_speed": round(s.speed, 4),
            }
            for s in slices
        ],
        "roles": {
            name: {
                "scales": {group: round(scale.value, 3) for group, scale in found.scales.items()},
                "wake_us": round(found.wake_s.value * 1e6, 2),
                "background_share": round(found.background_share.value, 5),
                "median_abs_residual": round(float(np.median(np.abs(found.residuals))), 4),
                "worst_abs_residual": round(found.worst_residual, 4),
            }
            for name, found in fitted.items()
        },
    }
