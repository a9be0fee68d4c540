"""Collecting what happened into a Run; the model and the load test use the same builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.runs.histogram import N_BUCKETS, bucket_indices
from model.runs.run import NS_PER_S, OUTCOMES, Basis, Kind, LagKind, Run, Validity
from model.runs.sums import Int64s, KeyedSums
from model.runs.tables import TABLES
from model.spec import ENDPOINTS, Scenario

SAMPLE_LIMIT = 20_000
"""Single requests kept in a Run; beyond it every 2nd, 4th, ... by ordinal."""

_ENDPOINT_NAMES = np.array([endpoint.value for endpoint in ENDPOINTS])
_N_ENDPOINTS = len(ENDPOINTS)
_OUTCOME_NAMES = np.array(OUTCOMES)
_TOTALS = ("offered", "completed", "failed", "finished", "sum_sent_ns", "sum_scheduled_ns")


class RunBuilder:
    """Takes requests one by one (`add_requests`) or already counted (`add_latency_counts` with `add_totals`).

    All times are ns or s since the schedule's start. Calls of one kind may repeat; their order does not matter to
    the resulting Run.
    """

    def __init__(
        self,
        scenario: Scenario,
        kind: Kind,
        duration_s: float | None = None,
        *,
        window_s: float = 1.0,
        sample_limit: int = SAMPLE_LIMIT,
    ) -> None:
        self.scenario = scenario
        self.kind: Kind = kind
        self.duration_s = scenario.duration_s if duration_s is None else duration_s
        self.window_s = window_s
        self.counters: dict[str, float] = {}
        self._window_ns = round(window_s * NS_PER_S)
        self._latency: dict[Basis, KeyedSums] = {"sent": KeyedSums(1), "scheduled": KeyedSums(1)}
        self._totals = KeyedSums(len(_TOTALS))
        self._lags: dict[tuple[LagKind, str], KeyedSums] = {}
        self._failures: dict[str, dict[str, int]] = {}
        self._gauges: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
        self._steps: dict[tuple[str, str], list[int]] = {}
        self._sample = _Sample(sample_limit)
        self._traces: list[pl.DataFrame] = []
        self._next_ordinal = 0

    def add_requests(
        self,
        endpoint: npt.ArrayLike,
        scheduled_ns: npt.ArrayLike,
        sent_ns: npt.ArrayLike,
        latency_ns: npt.ArrayLike,
        outcome: npt.ArrayLike,
        *,
        ordinal: npt.ArrayLike | None = None,
    ) -> None:
        """Requests as arrays of one length: endpoint u8 (position in `ENDPOINTS`), scheduled, sent and latency
        (answer minus sent) i64, outcome u8 (position in `OUTCOMES`).

        Only outcome 0 enters the latency histograms; every other one is counted as a failure of its kind.
        """
        codes, scheduled, sent, latency, outcomes = map(_ints, (endpoint, scheduled_ns, sent_ns, latency_ns, outcome))
        if ordinal is None:
            ordinals = np.arange(self._next_ordinal, self._next_ordinal + len(codes), dtype=np.int64)
        else:
            ordinals = _ints(ordinal)
        self._next_ordinal += len(codes)
        self._sample.add(ordinals, codes, scheduled, sent, latency, outcomes)

        ok = outcomes == 0
        since_scheduled = latency + np.maximum(sent - scheduled, 0)
        windows = sent // self._window_ns
        done = ok.astype(np.int64)
        row = windows * _N_ENDPOINTS + codes
        self._totals.add(row, 1, done, 1 - done, 0, latency * done, since_scheduled * done)
        if not ok.all():
            self._count_failures(codes[~ok], outcomes[~ok])
            codes, sent, latency, since_scheduled, row = (x[ok] for x in (codes, sent, latency, since_scheduled, row))
        self._totals.add((sent + latency) // self._window_ns * _N_ENDPOINTS + codes, 0, 0, 0, 1, 0, 0)
        buckets = bucket_indices(latency)
        self._latency["sent"].add(row * N_BUCKETS + buckets, 1)
        if not np.array_equal(since_scheduled, latency):
            buckets = bucket_indices(since_scheduled)
        self._latency["scheduled"].add(row * N_BUCKETS + buckets, 1)

    def add_latency_counts(
        self,
        endpoint: npt.ArrayLike,
        window: npt.ArrayLike,
        bucket: npt.ArrayLike,
        count: npt.ArrayLike,
        *,
        basis: Basis = "sent",
    ) -> None:
        """Answered requests already counted per (endpoint code, window, bucket); add their `add_totals` as well.

        A model run without counts from "scheduled" gets a copy of those from "sent": the model has no slip.
        """
        row = _ints(window) * _N_ENDPOINTS + _ints(endpoint)
        self._latency[basis].add(row * N_BUCKETS + _ints(bucket), _ints(count))

    def add_totals(
        self,
        endpoint: npt.ArrayLike,
        window: npt.ArrayLike,
        offered: npt.ArrayLike,
        completed: npt.ArrayLike,
        failed: npt.ArrayLike,
        sum_sent_ns: npt.ArrayLike,
        *,
        sum_scheduled_ns: npt.ArrayLike | None = None,
        finished: npt.ArrayLike | None = None,
    ) -> None:
        """Counts per (endpoint code, window of sending): sent, answered and failed requests, and the sum of the
        answered ones' latencies. `finished` counts answers in the window in which they arrived (by default taken
        as `completed`)."""
        finished = completed if finished is None else finished
        sum_scheduled_ns = sum_sent_ns if sum_scheduled_ns is None else sum_scheduled_ns
        columns = map(_ints, (offered, completed, failed, finished, sum_sent_ns, sum_scheduled_ns))
        self._totals.add(_ints(window) * _N_ENDPOINTS + _ints(endpoint), *columns)

    def add_sample(
        self,
        ordinal: npt.ArrayLike,
        endpoint: npt.ArrayLike,
        sent_ns: npt.ArrayLike,
        latency_ns: npt.ArrayLike,
        outcome: npt.ArrayLike,
    ) -> None:
        """Single requests for the table `requests`, to be called beside `add_totals`; all are offered, few are kept."""
        sent = _ints(sent_ns)
        self._sample.add(_ints(ordinal), _ints(endpoint), sent, sent, _ints(latency_ns), _ints(outcome))

    def add_failures(self, endpoint: str, kind: str, count: int = 1) -> None:
        """Failed requests of one kind; part of `add_requests`, to be called beside `add_totals`."""
        kinds = self._failures.setdefault(endpoint, {})
        kinds[kind] = kinds.get(kind, 0) + count

    def add_lags(
        self,
        kind: LagKind,
        label: str,
        time_ns: npt.ArrayLike,
        lag_ns: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
    ) -> None:
        """Lags i64 observed at `time_ns` (a delivery when it happened), each counted `weights` times."""
        lags = _ints(lag_ns)
        counts = np.ones_like(lags) if weights is None else _ints(weights)
        self.add_lag_counts(kind, label, _ints(time_ns) // self._window_ns, bucket_indices(lags), counts, lags * counts)

    def add_lag_counts(
        self,
        kind: LagKind,
        label: str,
        window: npt.ArrayLike,
        bucket: npt.ArrayLike,
        count: npt.ArrayLike,
        sum_ns: npt.ArrayLike,
    ) -> None:
        """Lags already counted per (window, bucket)."""
        sums = self._lags.setdefault((kind, label), KeyedSums(2))
        sums.add(_ints(window) * N_BUCKETS + _ints(bucket), _ints(count), _ints(sum_ns))

    def add_gauge(self, time_s: npt.ArrayLike, gauge: str, label: str, value: npt.ArrayLike) -> None:
        """One sample of a gauge, or many: arrays broadcast against each other."""
        times, values = np.broadcast_arrays(np.asarray(time_s, float), np.asarray(value, float))
        known_times, known_values = self._gauges.setdefault((gauge, label), ([], []))
        known_times.extend(times.ravel().tolist())
        known_values.extend(values.ravel().tolist())

    def add_step(self, step: str, process: str, visits: int, items: int, residence_ns: int) -> None:
        """What one kind of process did at one step: visits, items in all, and time from arrival to departure in all."""
        sums = self._steps.setdefault((step, process), [0, 0, 0])
        for position, value in enumerate((visits, items, residence_ns)):
            sums[position] += int(value)

    def add_traces(
        self,
        ordinal: npt.ArrayLike,
        step: list[str],
        branch: npt.ArrayLike,
        begin_ns: npt.ArrayLike,
        residence_ns: npt.ArrayLike,
    ) -> None:
        """Where single requests were: one row per visit, in any order."""
        columns = {
            "ordinal": _ints(ordinal), "step": step, "branch": _ints(branch),
            "begin_s": _ints(begin_ns) / NS_PER_S, "residence_s": _ints(residence_ns) / NS_PER_S,
        }  # fmt: skip
        self._traces.append(pl.DataFrame(columns, schema=dict(TABLES["traces"].columns)))

    def build(self, provenance: Mapping[str, Any], validity: Validity | None = None) -> Run:
        """The Run of everything added so far."""
        tables = {
            "latency": self._latency_table(),
            "totals": self._totals_table(),
            "lags": self._lags_table(),
            "gauges": self._gauges_table(),
            "steps": _frame("steps", [(*key, *sums) for key, sums in self._steps.items()]),
            "requests": self._sample.table(),
            "traces": pl.concat([TABLES["traces"].empty(), *self._traces]),
        }
        tables = {name: TABLES[name].canonical(table) for name, table in tables.items()}
        return Run(
            kind=self.kind,
            scenario=self.scenario,
            provenance=dict(provenance),
            validity=validity or Validity(),
            counters={name: float(value) for name, value in sorted(self.counters.items())},
            failures={endpoint: dict(sorted(kinds.items())) for endpoint, kinds in sorted(self._failures.items())},
            latency_table=tables.pop("latency"),
            duration_s=self.duration_s,
            window_s=self.window_s,
            **tables,
        )

    def _count_failures(self, codes: Int64s, outcomes: Int64s) -> None:
        counts = np.bincount(codes * len(OUTCOMES) + outcomes)
        for place in np.flatnonzero(counts):
            endpoint, outcome = divmod(int(place), len(OUTCOMES))
            self.add_failures(ENDPOINTS[endpoint].value, OUTCOMES[outcome], int(counts[place]))

    def _latency_table(self) -> pl.DataFrame:
        parts = []
        for basis, counts in self._latency.items():
            keys, sums = counts.collect()
            if self.kind == "model" and basis == "scheduled" and not len(keys):
                keys, sums = self._latency["sent"].collect()
            row, bucket = np.divmod(keys, N_BUCKETS)
            window, code = np.divmod(row, _N_ENDPOINTS)
            columns = {"endpoint": _ENDPOINT_NAMES[code], "window": window, "bucket": bucket, "count": sums[:, 0]}
            parts.append(pl.DataFrame(columns).with_columns(pl.lit(basis).alias("basis")))
        return pl.concat(parts)

    def _totals_table(self) -> pl.DataFrame:
        keys, sums = self._totals.collect()
        window, code = np.divmod(keys, _N_ENDPOINTS)
        columns = dict(zip(_TOTALS, sums.T, strict=True))
        return pl.DataFrame({"endpoint": _ENDPOINT_NAMES[code], "window": window, **columns})

    def _gauges_table(self) -> pl.DataFrame:
        parts = [TABLES["gauges"].empty()]
        for (gauge, label), (times, values) in self._gauges.items():
            frame = pl.DataFrame({"time_s": times, "value": values}, schema={"time_s": pl.Float64, "value": pl.Float64})
            parts.append(frame.select("time_s", pl.lit(gauge).alias("gauge"), pl.lit(label).alias("label"), "value"))
        return pl.concat(parts)

    def _lags_table(self) -> pl.DataFrame:
        parts = [TABLES["lags"].empty()]
        for (kind, label), lags in self._lags.items():
            keys, sums = lags.collect()
            window, bucket = np.divmod(keys, N_BUCKETS)
            columns = {"window": window.astype(np.int32), "bucket": bucket.astype(np.int32), "count": sums[:, 0]}
            frame = pl.DataFrame({**columns, "sum_ns": sums[:, 1]})
            parts.append(frame.select(pl.lit(kind).alias("kind"), pl.lit(label).alias("label"), pl.all()))
        return pl.concat(parts)


class _Sample:
    """Every 2^k-th request by ordinal, k as small as `limit` allows, so that it does not depend on the chunks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stride = 1
        self._chunks: list[Int64s] = []

    def add(self, *columns: Int64s) -> None:
        """Columns i64[n]: ordinal, endpoint, scheduled, sent, latency, outcome."""
        chosen = columns[0] % self._stride == 0
        self._chunks.append(np.stack([column[chosen] for column in columns], axis=1))
        while sum(map(len, self._chunks)) > self._limit:
            self._stride *= 2
            self._chunks = [rows[rows[:, 0] % self._stride == 0] for rows in self._chunks]

    def table(self) -> pl.DataFrame:
        """The table `requests`."""
        rows = np.concatenate(self._chunks) if self._chunks else np.zeros((0, 6), np.int64)
        ordinal, codes, scheduled, sent, latency, outcomes = rows.T
        return pl.DataFrame(
            {
                "ordinal": ordinal,
                "endpoint": _ENDPOINT_NAMES[codes],
                "scheduled_s": scheduled / NS_PER_S,
                "sent_s": sent / NS_PER_S,
                "latency_s": latency / NS_PER_S,
                "outcome": _OUTCOME_NAMES[outcomes],
            }
        )


def _frame(table: str, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict(TABLES[table].columns), orient="row")


def _ints(values: npt.ArrayLike) -> Int64s:
    return np.asarray(values, dtype=np.int64)
