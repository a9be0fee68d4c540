"""Operational laws on a Run: what holds in every stationary run, whatever the arrivals, services and disciplines.

Denning and Buzen, "The operational analysis of queueing network models" (1978). A run in which they do not hold was not
stationary, or was counted wrongly.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from model.analysis.verification.sections import half_width
from model.runs import Run
from model.runs.run import NS_PER_S
from model.spec import Calibration

CONFIDENCE = 0.999
SECTIONS = 10
HOST = "backend"


@dataclass(frozen=True)
class Little:
    """Little's law for the whole system: requests in flight, sampled, against arrival rate times residence time."""

    in_flight: float
    rate_per_s: float
    residence_s: float
    rate_times_residence: float
    half_width: float
    """Of the interval of the difference, at `CONFIDENCE`."""

    @property
    def holds(self) -> bool:
        return abs(self.in_flight - self.rate_times_residence) <= self.half_width

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


@dataclass(frozen=True)
class Utilisation:
    """The utilisation law for the host: its busy share is the request rate times the demand per request.

    The demand is what the steps cost by the calibration; wake-ups, polls and housekeeping come on top.
    """

    utilisation: float
    rate_per_s: float
    demand_s: float
    """CPU time of the steps per request."""
    rate_times_demand: float
    overhead: float
    """The rest of the utilisation."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def little(run: Run) -> Little | None:
    """Little's law on the scored part of a run; None where the run is too short, or requests failed, whose residence
    is not kept."""
    windows = math.floor(run.duration_s / run.window_s + 1e-9) - run.first_scored_window
    totals = run.totals.filter(pl.col("window") >= run.first_scored_window)
    if windows < SECTIONS or run.n_failed or "in_flight" not in run.gauges["gauge"].to_list():
        return None
    each = windows // SECTIONS
    windows = each * SECTIONS
    first = run.first_scored_window
    # A window's latencies belong to the requests sent in it, a window's samples to those present. What is sent in one
    # and present in the next adds up to nothing over the run.
    spent_s, sent = np.zeros(windows), 0
    for window, offered, sum_ns in totals.select("window", "offered", "sum_sent_ns").iter_rows():
        if window - first < windows:
            spent_s[window - first] += sum_ns / NS_PER_S
            sent += offered
    gauge = run.gauge("in_flight", scored=True)
    at = np.floor(gauge["time_s"].to_numpy() / run.window_s + 1e-9).astype(np.int64) - first
    values, inside = gauge["value"].to_numpy(), (at >= 0) & (at < windows)
    section = at[inside] // each
    counts = np.bincount(section, minlength=SECTIONS)
    if not counts.all():
        return None
    present = np.bincount(section, weights=values[inside], minlength=SECTIONS) / counts
    length_s = windows * run.window_s
    implied = spent_s.reshape(SECTIONS, each).sum(axis=1) / (each * run.window_s)
    difference = present - implied
    return Little(
        in_flight=float(present.mean()),
        rate_per_s=sent / length_s,
        residence_s=float(spent_s.sum()) / max(sent, 1),
        rate_times_residence=float(implied.mean()),
        half_width=half_width(difference, float(difference.mean()), CONFIDENCE),
    )


def utilisation(run: Run, calibration: Calibration) -> Utilisation | None:
    """The utilisation law for the backend's host, over the whole run; None where not all of its work is on that host,
    or nobody measured it."""
    gauge = run.gauge("utilisation", HOST)
    if run.scenario.platform.rig.layout != "together" or not len(gauge):
        return None
    demand_s = 0.0
    for step, visits, items in run.steps.select("step", "visits", "items").iter_rows():
        cost = calibration.steps.get(step)
        if cost is not None:
            per_item_s = cost.per_item_s.value if cost.per_item_s else 0.0
            demand_s += visits * cost.base_s.value + items * per_item_s
    rate = run.n_requests / run.duration_s
    busy = float(gauge["value"].to_numpy().mean())
    product = demand_s / run.duration_s
    return Utilisation(busy, rate, demand_s / max(run.n_requests, 1), product, busy - product)
