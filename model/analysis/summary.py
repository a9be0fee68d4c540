"""A Comparison as JSON: what `feedtwin compare --json`, `feedtwin demo --json` and `summary.json` hold.

Keys: `valid`; `offered_per_s`, `achieved_per_s`, `requests`, `failed` of the reference run; per run (`real`, `model`,
or `a` and `b` for two of a kind) endpoint -> `n`, `mean_ms`, `p50_ms`, `p95_ms`, `p99_ms`; `error` endpoint -> relative
error of each figure, null where too few observations; `delivery_lag`, `replica_lag`, `timeline_hit_ratio` per run;
`posts_lost`, `deliveries_expected`, `deliveries_seen` as audited in the reference run. The rest is explained by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.analysis.compare import FIGURES, Comparison, LagComparison, LatencyComparison, Measure, compare
from model.runs import Run


def demo_summary(real: Run, model: Run) -> dict[str, Any]:
    """The summary of a measured run and its prediction, also of an invalid one (`valid` is then false)."""
    return summary(compare(real, model, allow_invalid=True))


def summary(comparison: Comparison) -> dict[str, Any]:
    """See the module."""
    a = comparison.a
    first, second = comparison.names
    return {
        "valid": comparison.valid,
        "offered_per_s": _rounded(a.offered_per_s),
        "achieved_per_s": _rounded(a.achieved_per_s),
        "requests": a.n_requests,
        "failed": a.n_failed,
        first: {row.endpoint: _side(row, "a") for row in comparison.latencies},
        second: {row.endpoint: _side(row, "b") for row in comparison.latencies},
        "error": {
            row.endpoint: {name: _rounded(row.sent[name].error) for name in FIGURES} for row in comparison.latencies
        },
        "delivery_lag": _lag(comparison, "delivery"),
        "replica_lag": _lag(comparison, "replica"),
        "timeline_hit_ratio": _pair(comparison, comparison.hit_ratio),
        "posts_lost": _count(a.counters.get("posts_lost")),
        "deliveries_expected": _count(a.counters.get("deliveries_expected")),
        "deliveries_seen": _count(a.counters.get("deliveries_seen")),
        **_more(comparison),
    }


def _more(comparison: Comparison) -> dict[str, Any]:
    a, b = comparison.a, comparison.b
    first, second = comparison.names
    return {
        "deliveries_trimmed": _count(a.counters.get("deliveries_trimmed")),
        "deliveries_duplicate": _count(a.counters.get("deliveries_duplicate")),
        "median_abs_error": _rounded(comparison.median_abs_error),
        "invalid_because": [*a.validity.reasons, *b.validity.reasons],
        "throughput": {row.endpoint: _scored(comparison, row.throughput) for row in comparison.latencies},
        "runs": {
            name: {
                "kind": run.kind,
                "scenario": run.scenario.name,
                "seed": run.scenario.seed,
                "digest": run.digest,
                "offered_per_s": _rounded(run.offered_per_s),
                "achieved_per_s": _rounded(run.achieved_per_s),
                "requests": run.n_requests,
                "failed": run.n_failed,
            }
            for name, run in ((first, a), (second, b))
        },
        "from_scheduled": {
            row.endpoint: {figure: _scored(comparison, row.scheduled[figure], 1e3, "_ms") for figure in FIGURES}
            for row in comparison.latencies
        },
        "slip": dict(zip(comparison.names, comparison.slip, strict=True)),
        "outbox_lag": _lag(comparison, "outbox"),
        "replica_lag_by_standby": {
            row.label: _lag_row(comparison, row) for row in comparison.lags if row.kind == "replica" and row.label
        },
        "queues": {
            row.gauge: {"mean": _pair(comparison, row.mean), "peak": _pair(comparison, row.peak)}
            for row in comparison.queues
        },
        "utilisation": {label: _pair(comparison, measure) for label, measure in comparison.utilisation.items()},
        "failures": {
            first: {endpoint: dict(kinds) for endpoint, kinds in a.failures.items()},
            second: {endpoint: dict(kinds) for endpoint, kinds in b.failures.items()},
        },
        "counters": {name: _pair(comparison, measure) for name, measure in comparison.counters.items()},
        "notes": list(comparison.notes),
    }


def _side(row: LatencyComparison, side: str) -> dict[str, Any]:
    figures = {f"{name}_ms": _rounded(_times(getattr(row.sent[name], side), 1e3)) for name in FIGURES}
    return {"n": _count(getattr(row.n, side)), **figures}


def _lag(comparison: Comparison, kind: str) -> dict[str, Any]:
    row = next((row for row in comparison.lags if row.kind == kind and not row.label), None)
    if row is None:
        return {name: {"n": 0, "p50_s": None, "p99_s": None} for name in comparison.names}
    return _lag_row(comparison, row)


def _lag_row(comparison: Comparison, row: LagComparison) -> dict[str, Any]:
    sides = {
        name: {
            "n": _count(getattr(row.n, side)),
            "p50_s": _rounded(getattr(row.figures["p50"], side)),
            "p99_s": _rounded(getattr(row.figures["p99"], side)),
        }
        for name, side in zip(comparison.names, ("a", "b"), strict=True)
    }
    return {**sides, "error": {name: _rounded(row.figures[name].error) for name in ("p50", "p99")}}


def _pair(comparison: Comparison, measure: Measure) -> dict[str, float | None]:
    return dict(zip(comparison.names, (_rounded(measure.a), _rounded(measure.b)), strict=True))


def _scored(comparison: Comparison, measure: Measure, factor: float = 1.0, unit: str = "") -> dict[str, Any]:
    sides = zip(comparison.names, (measure.a, measure.b), strict=True)
    values: Mapping[str, Any] = {name + unit: _rounded(_times(value, factor)) for name, value in sides}
    return {**values, "error": _rounded(measure.error)}


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _count(value: float | None) -> int | None:
    return None if value is None else round(value)


def _rounded(value: float | None) -> float | None:
    """Six significant digits, which is more than a histogram has."""
    return None if value is None or value != value else float(f"{value:.6g}")
