"""The model over a grid of configurations: one row per point.

All points share the scenario's seed, and random numbers are keyed by what they are for, so that points differ by
their configuration and not by luck (common random numbers).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from model.analysis.compare import MIN_TAIL
from model.analysis.slos import slo_results
from model.runs import Histogram, Run
from model.spec import Calibration, Endpoint, InputError, Scenario


@dataclass(frozen=True, slots=True)
class Axis:
    """A field of the scenario, as a dotted path, and the values it takes."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration of the grid."""

    values: tuple[Any, ...]
    """One per axis."""
    scenario: Scenario


def grid(scenario: Scenario, axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the axes' values, the last axis fastest. Raises InputError before anything runs."""
    fields = [axis.field for axis in axes]
    if doubled := next((field for field in fields if fields.count(field) > 1), None):
        raise InputError(f"{doubled} is swept twice; give all its values in one --over")
    if empty := next((axis.field for axis in axes if not axis.values), None):
        raise InputError(f"{empty} has no values; expected --over {empty}=A,B,C")
    combinations = itertools.product(*(axis.values for axis in axes))
    return [Point(values, scenario.with_(dict(zip(fields, values, strict=True)))) for values in combinations]


def sweep(
    scenario: Scenario,
    axes: Sequence[Axis],
    *,
    calibration: Calibration | None = None,
    on_point: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Simulate every point of the grid.

    Returns one row per point: a column per axis (named by its path), then the columns of `figures`. `on_point` is
    told (points done, points in all). Raises InputError for a value that the scenario does not allow.
    """
    from model.platform import simulate

    points = grid(scenario, axes)
    rows = []
    for done, point in enumerate(points):
        if on_point is not None:
            on_point(done, len(points))
        run = simulate(point.scenario, calibration)
        rows.append({**{axis.field: _cell(v) for axis, v in zip(axes, point.values, strict=True)}, **figures(run)})
    return pl.DataFrame(rows, infer_schema_length=None)


def figures(run: Run) -> dict[str, Any]:
    """The figures of a run that a decision needs; None where too little was seen.

    ``<endpoint>_mean_ms``, ``_p50_ms``, ``_p95_ms``, ``_p99_ms``; ``delivery_p50_s``, ``delivery_p99_s``;
    ``replica_lag_p99_s``; ``timeline_hit_ratio``; ``backend_utilisation`` (of one core); ``cpu_ms_per_request``, all
    of the backend's CPU time over the requests it answered; ``cost_per_h`` in the scenario's currency;
    ``slos_met``, None where none is stated.
    """
    row: dict[str, Any] = {
        "offered_per_s": run.offered_per_s,
        "achieved_per_s": run.achieved_per_s,
        "failed": run.n_failed,
    }
    for endpoint in Endpoint:
        latency = run.latency(endpoint)
        row[f"{endpoint.value}_mean_ms"] = latency.mean_s * 1e3 if latency.n else None
        for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            value_s = _quantile(latency, q)
            row[f"{endpoint.value}_{name}_ms"] = None if value_s is None else value_s * 1e3
    delivery, replica = run.lag("delivery"), run.lag("replica")
    utilisation = run.utilisation.get("backend")
    slos = slo_results(run)
    row |= {
        "delivery_p50_s": _quantile(delivery, 0.5),
        "delivery_p99_s": _quantile(delivery, 0.99),
        "replica_lag_p99_s": _quantile(replica, 0.99),
        "timeline_hit_ratio": run.hit_ratio,
        "backend_utilisation": utilisation,
        "cpu_ms_per_request": 1e3 * utilisation / run.achieved_per_s if utilisation and run.achieved_per_s else None,
        "cost_per_h": cost_per_h(run.scenario),
        "slos_met": all(slo.met for slo in slos) if slos else None,
    }
    return row


def cost_per_h(scenario: Scenario) -> float:
    """The price of the platform per hour, in the scenario's currency."""
    platform, cost = scenario.platform, scenario.cost
    return (
        platform.api.processes * cost.api_process_per_h
        + platform.redis.shards * cost.redis_shard_per_h
        + (1 + platform.postgres.standbys) * cost.postgres_server_per_h
        + platform.workers.processes * cost.worker_process_per_h
    )


def _quantile(histogram: Histogram, q: float) -> float | None:
    return histogram.quantile(q) if histogram.tail_count(q) >= MIN_TAIL else None


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)
