"""How one run is shown: as JSON and as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from model.analysis.compare import MIN_TAIL
from model.analysis.slos import SloResult
from model.cli.output import UNSTEADY
from model.report.words import TOO_FEW, duration, milliseconds, percent
from model.runs import Histogram, Run

QUANTILES = (0.5, 0.95, 0.99)


def run_summary(run: Run, slos: Sequence[SloResult]) -> dict[str, Any]:
    """The figures of a run under the names that `feedtwin demo --json` uses; null where too few were seen."""
    return {
        "kind": run.kind,
        "scenario": run.scenario.name,
        "seed": run.scenario.seed,
        "digest": run.digest,
        "valid": run.validity.valid,
        "stationary": run.validity.stationary,
        "invalid_because": list(run.validity.reasons),
        "offered_per_s": run.offered_per_s,
        "achieved_per_s": run.achieved_per_s,
        "requests": run.n_requests,
        "failed": run.n_failed,
        "failures": {endpoint: dict(kinds) for endpoint, kinds in run.failures.items() if kinds},
        "latency": {endpoint.value: _latency(run.latency(endpoint), run) for endpoint in run.endpoints},
        "delivery_lag": _lag(run.lag("delivery"), run),
        "replica_lag": _lag(run.lag("replica"), run),
        "timeline_hit_ratio": run.hit_ratio,
        "utilisation": run.utilisation,
        "counters": dict(run.counters),
        "slos": [
            {**asdict(slo), "met": slo.met}
            if run.validity.stationary
            else {**asdict(slo), "measured_s": None, "met": False}
            for slo in slos
        ],
    }


def print_run(run: Run, slos: Sequence[SloResult], remarks: Sequence[str] = ()) -> None:
    """Print the tables of one run on stdout, with remarks below them."""
    console = Console()
    scenario = run.scenario
    console.print(f"[bold]{scenario.name}[/bold]  seed {scenario.seed}, {run.duration_s:g} s, digest {run.digest}")
    if scenario.question:
        console.print(scenario.question, style="italic", highlight=False)
    console.print(_endpoint_table(run))
    console.print(_system_table(run))
    for remark in remarks:
        console.print(remark, highlight=False, markup=False, soft_wrap=True)
    for slo in slos if run.validity.stationary else ():
        verdict = "[green]met[/green]" if slo.met else "[bold red]missed[/bold red]"
        console.print(f"SLO {slo.name}: p99 {_seen(slo.measured_s)}, allowed {_seen(slo.limit_s)}: {verdict}")


def _endpoint_table(run: Run) -> Table:
    table = Table("endpoint", box=None, pad_edge=False, title="requests", title_justify="left")
    for column in ("requests", "failed", "per s", "mean ms", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(column, justify="right")
    for endpoint in run.endpoints:
        latency = run.latency(endpoint)
        figures = [
            milliseconds(latency.mean_s) if latency.n else "-",
            *(milliseconds(latency.quantile(q)) if latency.tail_count(q) >= MIN_TAIL else TOO_FEW for q in QUANTILES),
        ]
        table.add_row(
            endpoint.value,
            str(latency.n),
            str(sum(run.failures.get(endpoint.value, {}).values())),
            f"{run.throughput_per_s(endpoint):.1f}",
            *(figures if run.validity.stationary else [UNSTEADY] * len(figures)),
        )
    return table


def _system_table(run: Run) -> Table:
    table = Table("system", "", box=None, pad_edge=False, show_header=False)
    table.add_row("offered and achieved", f"{run.offered_per_s:.1f}/s and {run.achieved_per_s:.1f}/s")
    for name, kind in (("delivery lag", "delivery"), ("replica lag", "replica")):
        lag = run.lag(kind)  # type: ignore[arg-type]
        if lag.n and not run.validity.stationary:
            table.add_row(name, UNSTEADY)
        elif lag.n:
            table.add_row(name, f"p50 {_seen(lag.quantile(0.5))}, p99 {_seen(lag.quantile(0.99))} ({lag.n} seen)")
    if run.hit_ratio is not None:
        table.add_row("timeline hit ratio", percent(run.hit_ratio))
    if run.utilisation:
        table.add_row("utilisation", ", ".join(f"{label} {percent(share)}" for label, share in run.utilisation.items()))
    return table


def _seen(value_s: float) -> str:
    return "never seen" if math.isnan(value_s) else duration(value_s)


def _latency(histogram: Histogram, run: Run) -> dict[str, float | int | None]:
    if not run.validity.stationary:
        return {"n": histogram.n, "mean_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None}
    named = zip(("p50_ms", "p95_ms", "p99_ms"), QUANTILES, strict=True)
    quantiles = {
        name: histogram.quantile(q) * 1e3 if histogram.tail_count(q) >= MIN_TAIL else None for name, q in named
    }
    return {"n": histogram.n, "mean_ms": histogram.mean_s * 1e3 if histogram.n else None, **quantiles}


def _lag(histogram: Histogram, run: Run) -> dict[str, float | int | None]:
    if not histogram.n or not run.validity.stationary:
        return {"n": histogram.n, "p50_s": None, "p99_s": None}
    return {"n": histogram.n, "p50_s": histogram.quantile(0.5), "p99_s": histogram.quantile(0.99)}
