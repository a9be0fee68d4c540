"""Collecting what happened into a Run; the model and the load test use the same builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.runs.histogram import bucket_indices
from model.runs.run import NS_PER_S, OUTCOMES, Basis, Kind, LagKind, Run, Validity
from model.runs.tables import TABLES
from model.spec import ENDPOINTS, Scenario

SAMPLE_LIMIT = 20_000
"""Single requests kept in a Run; beyond it every 2nd, 4th, ... by ordinal."""

_ENDPOINT_NAMES = np.array([endpoint.value for endpoint in ENDPOINTS])
_OUTCOME_NAMES = np.array(OUTCOMES)

Ints = npt.ArrayLike


class RunBuilder:
    """Takes requests one by one (`add_requests`) or already counted (`add_latency_counts` with `add_totals`).

    All times are ns or s since the schedule's start. Calls of one kind may repeat; their order does not matter to
    the resulting Run.
    """

    def __init__(
        self, scenario: Scenario, kind: Kind, duration_s: float | None = None, *, window_s: float = 1.0,
        sample_limit: int = SAMPLE_LIMIT,
    ) -> None:
        self.scenario = scenario
        self.kind: Kind = kind
        self.duration_s = scenario.duration_s if duration_s is None else duration_s
        self.window_s = window_s
        self.counters: dict[str, float] = {}
        self._window_ns = round(window_s * NS_PER_S)
        self._failures: dict[str, dict[str, int]] = {}
        self._frames: dict[str, list[pl.DataFrame]] = {name: [] for name in TABLES}
        self._sample_limit = sample_limit
        self._stride = 1
        self._next_ordinal = 0

    def add_requests(
        self, endpoint: Ints, scheduled_ns: Ints, sent_ns: Ints, latency_ns: Ints, outcome: Ints, *,
        ordinal: Ints | None = None,
    ) -> None:
        """Requests as arrays of one length: endpoint u8 (position in `ENDPOINTS`), scheduled, sent and latency
        (answer minus sent) i64, outcome u8 (position in `OUTCOMES`).

        Only outcome 0 enters the latency histograms; every other one is counted as a failure of its kind.
        """
        codes = np.asarray(endpoint, dtype=np.int64)
        scheduled, sent, latency = (np.asarray(times, dtype=np.int64) for times in (scheduled_ns, sent_ns, latency_ns))
        outcomes = np.asarray(outcome, dtype=np.int64)
        if ordinal is None:
            ordinals = np.arange(self._next_ordinal, self._next_ordinal + len(codes), dtype=np.int64)
        else:
            ordinals = np.asarray(ordinal, dtype=np.int64)
        self._next_ordinal += len(codes)
        ok = outcomes == 0
        since_scheduled = latency + np.maximum(sent - scheduled, 0)
        windows = sent // self._window_ns
        names = _ENDPOINT_NAMES[codes]

        self._append("totals", {
            "endpoint": names, "window": windows, "offered": np.ones_like(codes), "completed": ok, "failed": ~ok,
            "finished": np.zeros_like(codes), "sum_sent_ns": latency * ok, "sum_scheduled_ns": since_scheduled * ok,
        })
        zero = np.zeros(int(ok.sum()), dtype=np.int64)
        answered = (sent + latency)[ok] // self._window_ns
        self._append("totals", {
            "endpoint": names[ok], "window": answered, "offered": zero, "completed": zero, "failed": zero,
            "finished": zero + 1, "sum_sent_ns": zero, "sum_scheduled_ns": zero,
        })
        for basis, values in (("sent", latency), ("scheduled", since_scheduled)):
            self._append("latency", {
                "basis": np.full(len(zero), basis), "endpoint": names[ok], "window": windows[ok],
                "bucket": bucket_indices(values[ok]), "count": zero + 1,
            })
        for name, kind in zip(names[~ok], _OUTCOME_NAMES[outcomes[~ok]], strict=True):
            self.add_failures(str(name), str(kind))
        self._append("requests", {
            "ordinal": ordinals, "endpoint": names, "scheduled_s": scheduled / NS_PER_S, "sent_s": sent / NS_PER_S,
            "latency_s": latency / NS_PER_S, "outcome": _OUTCOME_NAMES[outcomes],
        })
        self._thin()

    def add_latency_counts(
        self, endpoint: Ints, window: Ints, bucket: Ints, count: Ints, *, basis: Basis = "sent",
    ) -> None:
        """Answered requests already counted per (endpoint code, window, bucket); add their `add_totals` as well.

        A model run without counts from "scheduled" gets a copy of those from "sent": the model has no slip.
        """
        codes = np.asarray(endpoint, dtype=np.int64)
        self._append("latency", {
            "basis": np.full(len(codes), basis), "endpoint": _ENDPOINT_NAMES[codes], "window": np.asarray(window),
            "bucket": np.asarray(bucket), "count": np.asarray(count),
        })

    def add_totals(
        self, endpoint: Ints, window: Ints, offered: Ints, completed: Ints, failed: Ints, sum_sent_ns: Ints, *,
        sum_scheduled_ns: Ints | None = None, finished: Ints | None = None,
    ) -> None:
        """Counts per (endpoint code, window of sending): sent, answered and failed requests, and the sum of the
        answered ones' latencies. `finished` counts answers in the window in which they arrived (by default taken
        as `completed`)."""
        codes = np.asarray(endpoint, dtype=np.int64)
        self._append("totals", {
            "endpoint": _ENDPOINT_NAMES[codes], "window": np.asarray(window), "offered": np.asarray(offered),
            "completed": np.asarray(completed), "failed": np.asarray(failed),
            "finished": np.asarray(completed if finished is None else finished), "sum_sent_ns": np.asarray(sum_sent_ns),
            "sum_scheduled_ns": np.asarray(sum_sent_ns if sum_scheduled_ns is None else sum_scheduled_ns),
        })

    def add_failures(self, endpoint: str, kind: str, count: int = 1) -> None:
        """Failed requests of one kind; part of `add_requests`, to be called beside `add_totals`."""
        kinds = self._failures.setdefault(endpoint, {})
        kinds[kind] = kinds.get(kind, 0) + count

    def add_lags(self, kind: LagKind, label: str, time_ns: Ints, lag_ns: Ints, weights: Ints | None = None) -> None:
        """Lags i64 observed at `time_ns` (a delivery when it happened), each counted `weights` times."""
        times, lags = np.asarray(time_ns, dtype=np.int64), np.asarray(lag_ns, dtype=np.int64)
        counts = np.ones_like(lags) if weights is None else np.asarray(weights, dtype=np.int64)
        self._append("lags", {
            "kind": np.full(len(lags), kind), "label": np.full(len(lags), label), "window": times // self._window_ns,
            "bucket": bucket_indices(lags), "count": counts, "sum_ns": lags * counts,
        })

    def add_lag_counts(
        self, kind: LagKind, label: str, window: Ints, bucket: Ints, count: Ints, sum_ns: Ints,
    ) -> None:
        """Lags already counted per (window, bucket)."""
        rows = len(np.asarray(window))
        self._append("lags", {
            "kind": np.full(rows, kind), "label": np.full(rows, label), "window": np.asarray(window),
            "bucket": np.asarray(bucket), "count": np.asarray(count), "sum_ns": np.asarray(sum_ns),
        })

    def add_gauge(self, time_s: npt.ArrayLike, gauge: str, label: str, value: npt.ArrayLike) -> None:
        """One sample of a gauge, or many: arrays broadcast against each other."""
        times, values = np.broadcast_arrays(np.atleast_1d(np.asarray(time_s, float)), np.asarray(value, float))
        self._append("gauges", {
            "time_s": times, "gauge": np.full(len(times), gauge), "label": np.full(len(times), label),
            "value": values,
        })

    def add_step(self, step: str, process: str, visits: int, items: int, residence_ns: int) -> None:
        """What one kind of process did at one step: visits, items in all, and time from arrival to departure in all."""
        self._append("steps", {
            "step": [step], "process": [process], "visits": [visits], "items": [items], "residence_ns": [residence_ns],
        })

    def build(self, provenance: Mapping[str, Any], validity: Validity | None = None) -> Run:
        """The Run of everything added so far."""
        tables = {name: self._collected(name) for name in TABLES}
        latency = tables.pop("latency")
        if self.kind == "model" and not latency.filter(pl.col("basis") == "scheduled").height:
            scheduled = latency.with_columns(pl.lit("scheduled").alias("basis"))
            latency = TABLES["latency"].canonical(pl.concat([latency, scheduled]))
        return Run(
            kind=self.kind,
            scenario=self.scenario,
            provenance=dict(provenance),
            validity=validity or Validity(),
            counters={name: float(value) for name, value in sorted(self.counters.items())},
            failures={endpoint: dict(sorted(kinds.items())) for endpoint, kinds in sorted(self._failures.items())},
            latency_table=latency,
            duration_s=self.duration_s,
            window_s=self.window_s,
            **tables,
        )

    def _append(self, table: str, columns: Mapping[str, Any]) -> None:
        spec = TABLES[table]
        frame = pl.DataFrame({name: pl.Series(name, values) for name, values in columns.items()})
        typed = frame.select(pl.col(name).cast(dtype) for name, dtype in spec.columns.items())
        if typed.height:
            self._frames[table].append(_summed(table, typed))

    def _collected(self, table: str) -> pl.DataFrame:
        spec = TABLES[table]
        frames = self._frames[table]
        return spec.canonical(_summed(table, pl.concat(frames))) if frames else spec.empty()

    def _thin(self) -> None:
        frames = self._frames["requests"]
        if frames:
            frames[-1] = frames[-1].filter(pl.col("ordinal") % self._stride == 0)
        while sum(frame.height for frame in frames) > self._sample_limit:
            self._stride *= 2
            frames[:] = [frame.filter(pl.col("ordinal") % self._stride == 0) for frame in frames]


_KEYS = {
    "latency": ["basis", "endpoint", "window", "bucket"],
    "totals": ["endpoint", "window"],
    "lags": ["kind", "label", "window", "bucket"],
    "steps": ["step", "process"],
}
"""The tables that count: rows of one key add up."""


def _summed(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    keys = _KEYS.get(table)
    return frame if keys is None else frame.group_by(keys).agg(pl.exclude(keys).sum())
