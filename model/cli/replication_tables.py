"""How some replications of one scenario are shown: as JSON and as tables, every figure with its interval."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from model.analysis.intervals import Interval
from model.analysis.replicate import Replications
from model.analysis.slos import ReplicatedSlo
from model.cli.output import plus_minus
from model.report.words import TOO_FEW, percent, significant
from model.spec import ENDPOINTS

STATISTICS = {"mean": None, "p50": 0.5, "p95": 0.95, "p99": 0.99}
TOLERATED = 0.2
"""Share of replications in which MSER-5 may find no end of the warm-up by chance, as it does in a few steady runs."""
LAGS = {"delivery": "delivery lag", "replica": "replica lag"}


def replications_summary(of: Replications, slos: list[ReplicatedSlo]) -> dict[str, Any]:
    """All figures; an interval is ``{"value", "low", "high"}``, null where it says nothing or the runs have no steady
    state."""
    stationary = of.validity.stationary
    return {
        "kind": "model",
        "scenario": of.scenario.name,
        "seed": of.scenario.seed,
        "replications": len(of.members),
        "confidence": of.confidence,
        "partial": of.partial or None,
        "valid": of.validity.valid,
        "stationary": stationary,
        "invalid_because": list(of.validity.reasons),
        "warmup": {
            "rule": of.warmup_rule,
            "stated_s": of.scenario.warmup_s,
            "length_s": max((member.warmup.length_s for member in of.members), default=None),
            "not_found": sum(not member.warmup.found for member in of.members),
        },
        "latency": {
            endpoint.value: _statistics(of, endpoint.value, 1e3, "_ms") if stationary else None
            for endpoint in ENDPOINTS
            if endpoint.value in of.subjects
        },
        **{
            f"{lag}_lag": _statistics(of, lag, 1.0, "_s") if stationary and lag in of.subjects else None for lag in LAGS
        },
        "rates": {name: _pair(interval) for name, interval in of.rates.items()},
        "precisions": [
            {
                "asked": str(precision),
                "reached": interval is not None and precision.reached(interval),
                "relative_half_width": None if interval is None else interval.relative_half_width,
                "value_s": None if interval is None else interval.value,
                "low_s": None if interval is None else interval.low,
                "high_s": None if interval is None else interval.high,
            }
            for precision, interval in of.reached
        ],
        "slos": [
            {"name": slo.name, "limit_s": slo.limit_s, "measured": _pair(slo.measured), "verdict": slo.verdict}
            for slo in slos
        ],
        "members": [
            {
                "number": member.number,
                "seed": member.seed,
                "digest": member.digest,
                "mser5_s": member.warmup.mser_s,
                "warmup_found": member.warmup.found,
                "valid": member.validity.valid,
                "failed": member.failed,
            }
            for member in of.members
        ],
    }


def print_replications(of: Replications, slos: list[ReplicatedSlo]) -> None:
    """Print the tables on stdout."""
    console = Console()
    scenario = of.scenario
    console.print(
        f"[bold]{scenario.name}[/bold]  seed {scenario.seed}, {len(of.members)} replications of "
        f"{scenario.duration_s:g} s, ± at {100 * of.confidence:g} %",
        highlight=False,
    )
    if of.partial:
        console.print("[bold yellow]PARTIAL[/bold yellow]: fewer replications than asked for", highlight=False)
    if scenario.question:
        console.print(scenario.question, style="italic", highlight=False)
    console.print(_warmup_line(of), highlight=False)
    if of.validity.stationary:
        console.print(_latency_table(of))
    console.print(_system_table(of))
    for precision, interval in of.reached:
        verdict = "[green]reached[/green]" if interval and precision.reached(interval) else "[yellow]not yet[/yellow]"
        console.print(f"{precision}: {shown(interval, 1e3)} ms: {verdict}", highlight=False)
    for slo in slos if of.validity.stationary else ():
        colour = {"met": "green", "missed": "bold red"}.get(slo.verdict, "yellow")
        console.print(
            f"SLO {slo.name}: p99 {shown(slo.measured, 1e3)} ms, allowed {significant(1e3 * slo.limit_s)} ms: "
            f"[{colour}]{slo.verdict}[/{colour}]",
            highlight=False,
        )


def shown(interval: Interval | None, factor: float = 1.0) -> str:
    """The interval in another unit, as text."""
    if interval is None or not math.isfinite(interval.value):
        return TOO_FEW
    return plus_minus(interval.value * factor, interval.half_width * factor)


def _latency_table(of: Replications) -> Table:
    table = Table("", box=None, pad_edge=False, title="ms", title_justify="left")
    for name in STATISTICS:
        table.add_column(name, justify="right")
    for subject in of.subjects:
        cells = [shown(of.interval(subject, q), 1e3) for q in STATISTICS.values()]
        table.add_row(LAGS.get(subject, subject), *cells)
    return table


def _system_table(of: Replications) -> Table:
    table = Table("system", "", box=None, pad_edge=False, show_header=False)
    rates = of.rates
    if "offered_per_s" in rates:
        table.add_row("offered per s", shown(rates["offered_per_s"]))
        table.add_row("achieved per s", shown(rates["achieved_per_s"]))
    if "timeline_hit_ratio" in rates:
        table.add_row("timeline hit ratio, %", shown(rates["timeline_hit_ratio"], 100))
    busy = {name.removesuffix("_utilisation"): each for name, each in rates.items() if name.endswith("_utilisation")}
    if busy:
        shares = ", ".join(f"{label} {percent(interval.value)}" for label, interval in busy.items())
        table.add_row("utilisation", shares)
    return table


def _warmup_line(of: Replications) -> str:
    lengths = [member.warmup.length_s for member in of.members]
    if not lengths:
        return "no replication was finished"
    if of.warmup_rule == "scenario":
        return f"warm-up: {max(lengths):g} s, as the scenario states"
    missing = sum(not member.warmup.found for member in of.members)
    stated = f"at least the {of.scenario.warmup_s:g} s that the scenario states"
    line = f"warm-up: {max(lengths):g} s, by MSER-5 and {stated}"
    if missing > TOLERATED * len(lengths):
        line += f"; [yellow]in {missing} of {len(lengths)} replications it does not end: too short a run[/yellow]"
    return line


def _statistics(of: Replications, subject: str, factor: float, unit: str) -> dict[str, Any]:
    return {f"{name}{unit}": _pair(of.interval(subject, q), factor) for name, q in STATISTICS.items()}


def _pair(interval: Interval | None, factor: float = 1.0) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"value": factor * interval.value, "low": factor * interval.low, "high": factor * interval.high}
