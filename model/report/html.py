"""The report: one HTML file with everything in it, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from model.analysis.compare import FIGURES, TARGETS, Comparison, LatencyComparison
from model.machine.extras import require
from model.report.figures import CAPTIONS, report_plots
from model.report.words import (
    error_of,
    failure_rows,
    headline,
    milliseconds,
    significant,
    system_rows,
    targets_line,
)
from model.runs import Run
from model.spec import InputError

MEANINGS = (
    (
        "sent, scheduled",
        "Latencies are measured from when the request was sent, which is what the model predicts. From "
        "when it was scheduled they contain the generator's own slip as well; a run that slips too far is invalid.",
    ),
    (
        "mean, p50, p95, p99",
        "Over the successful answers of the scored part. p95 is the latency that 5 % of the requests exceeded.",
    ),
    (
        "error",
        "(second - first) / first. Where fewer than 100 observations lie above a quantile in either run, the "
        'figure is chance, and the table says "too few".',
    ),
    ("offered, achieved", "Requests sent per second, and successful answers per second when they arrived."),
    (
        "delivery lag",
        "From a post's row, just before its commit, to its arrival in a follower's timeline, weighted by follower.",
    ),
    (
        "outbox lag",
        "From a post's row to its message on the broker: the commit's and the relay's share of the delivery lag.",
    ),
    (
        "replica lag",
        'From a commit on the primary to its replay on a standby. "sampled" means read off a gauge over '
        "time instead of commit by commit.",
    ),
    (
        "timeline hit ratio",
        "Share of home timeline reads that found the timeline in Redis; the others rebuild it from the database.",
    ),
    (
        "utilisation",
        "Share of one core. The processes of the backend share one core, so the shares add up to that of "
        '"backend", and latency rises steeply as that nears 100 %.',
    ),
    (
        "posts lost, deliveries",
        "Counted by reading the stores after the run. A delivery is expected for every follower "
        "to whom a post is pushed and whose timeline is in Redis.",
    ),
    ("valid", "The generator kept its schedule and had CPU to spare. An invalid run is not slow: it says nothing."),
)


def write_report(comparison: Comparison, path: str | Path, *, force: bool = False) -> Path:
    """Write the report, whole or not at all, and return its path.

    Raises InputError if the file exists, unless `force`, and MachineError where the `explore` extra is missing.
    """
    path = Path(path)
    if path.exists() and not force:
        raise InputError(f"report {path}: exists already; choose another place, or replace it with --force")
    document = render_report(comparison)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(document, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"report {path}: cannot be written ({error})") from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def render_report(comparison: Comparison) -> str:
    """The report as HTML; the same text for the same comparison."""
    require("explore", purpose="the HTML report")
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("model.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    document = environment.get_template("report.html.j2").render(_context(comparison))
    return document.replace(" %", "\u00a0%")  # a number and its per cent sign stay on one line


def _context(comparison: Comparison) -> dict[str, Any]:
    first, second = comparison.names
    targets = TARGETS if comparison.is_validation else {}
    sections: dict[str, list[dict[str, str]]] = {}
    for plot in report_plots(comparison):
        encoded = base64.b64encode(plot.svg()).decode()
        sections.setdefault(plot.section, []).append({"alt": plot.alt, "src": f"data:image/svg+xml;base64,{encoded}"})
    return {
        "title": f"{comparison.a.scenario.name}: {first} against {second}",
        "scenario": comparison.a.scenario,
        "scenarios": _scenarios(comparison),
        "names": comparison.names,
        "valid": comparison.valid,
        "headline": headline(comparison),
        "targets": targets_line(comparison),
        "facts": _facts(comparison),
        "notes": comparison.notes,
        "figures": FIGURES,
        "endpoints": [_endpoint(row, targets) for row in comparison.latencies],
        "system": list(system_rows(comparison)),
        "failures": list(failure_rows(comparison)),
        "sections": [(name, CAPTIONS[name], plots) for name, plots in sections.items()],
        "meanings": MEANINGS,
        "provenance": [(first, _provenance(comparison.a)), (second, _provenance(comparison.b))],
        "commands": _commands(comparison),
    }


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    a = comparison.a
    counters = a.counters
    facts = [
        ("requests", f"{a.n_requests:,}"),
        ("failed", f"{a.n_failed:,}"),
        ("offered", f"{significant(a.offered_per_s)}/s"),
        ("achieved", f"{significant(a.achieved_per_s)}/s"),
    ]
    if "posts_lost" in counters:
        facts.append(("posts lost", f"{counters['posts_lost']:,.0f}"))
    if "deliveries_expected" in counters and "deliveries_seen" in counters:
        seen, expected = counters["deliveries_seen"], counters["deliveries_expected"]
        facts.append(("deliveries seen / expected", f"{seen:,.0f} / {expected:,.0f}"))
    return facts


def _endpoint(row: LatencyComparison, targets: Mapping[str, float]) -> dict[str, Any]:
    def cell(name: str) -> dict[str, str]:
        measure = row.sent[name]
        return {
            "name": name,
            "a": milliseconds(measure.a),
            "b": milliseconds(measure.b),
            "error": error_of(measure),
            "state": _state(measure.error, targets.get(name)),
        }

    return {
        "name": row.endpoint,
        "n": (f"{row.n.a or 0:,.0f}", f"{row.n.b or 0:,.0f}"),
        "rate": (significant(row.throughput.a), significant(row.throughput.b), error_of(row.throughput)),
        "cells": [cell(name) for name in FIGURES],
        "scheduled": [
            (name, milliseconds(row.scheduled[name].a), milliseconds(row.scheduled[name].b)) for name in FIGURES
        ],
    }


def _state(error: float | None, target: float | None) -> str:
    if error is None:
        return "none"
    if target is None:
        return "plain"
    return "good" if abs(error) <= target else "bad"


def _provenance(run: Run) -> list[tuple[str, str]]:
    return [
        ("kind", run.kind),
        ("digest", run.digest),
        ("seed", str(run.scenario.seed)),
        ("duration", f"{run.duration_s:g} s, of which {run.scored_s:g} s are scored"),
        *_flat_text(run.provenance),
    ]


def _flat_text(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in document.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat_text(value, f"{prefix}{key} · ")
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value, default=str)))
    return rows


def _scenarios(comparison: Comparison) -> list[dict[str, str]]:
    """The scenario, or both where they differ: its file name below, what is set in it, and all of it."""
    a, b = comparison.a.scenario, comparison.b.scenario
    named = [("scenario", a)] if a.digest == b.digest else list(zip(comparison.names, (a, b), strict=True))
    return [
        {
            "file": f"{name}.yaml",
            "changed": _yaml(scenario.model_dump(mode="json", exclude_defaults=True)),
            "all": _yaml(scenario.model_dump(mode="json")),
        }
        for name, scenario in named
    ]


def _commands(comparison: Comparison) -> str:
    files = [scenario["file"] for scenario in _scenarios(comparison)]
    lines = [f"# save what is below as {' and '.join(files)}, then:"]
    runs = (comparison.a, comparison.b)
    for name, run, file in zip(comparison.names, runs, (files[0], files[-1]), strict=True):
        if run.kind == "real":
            lines.append(f"feedtwin load {file} -o {name}")
        else:
            lines.append(f"feedtwin simulate {file} -o {name} --calibration FILE")
            lines.append(f"# FILE: the calibration with digest {run.provenance.get('calibration_digest', 'unknown')}")
    return "\n".join([*lines, f"feedtwin compare {comparison.names[0]} {comparison.names[1]} -o report.html"])


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100).strip()
