"""The Run: what happened, simulated or measured, in one schema."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from model.runs.histogram import Histogram
from model.runs.tables import TABLES, frame_digest
from model.spec import Endpoint, InputError, Scenario

Kind = Literal["model", "real"]
Basis = Literal["sent", "scheduled"]
LagKind = Literal["delivery", "replica", "outbox"]

NS_PER_S = 1_000_000_000
OUTCOMES = ("ok", "missing", "http_error", "timeout", "connection_error", "rejected")
"""What became of a request; the position is the integer code used in arrays. All but the first are failures."""


@dataclass(frozen=True)
class Validity:
    """Whether a run says something about the system, and why not."""

    valid: bool = True
    reasons: tuple[str, ...] = ()
    stationary: bool = True
    """False where work piled up: figures over such a run depend on when it was stopped, and are not shown."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run of one scenario, by the model or by the real backend.

    Tables (polars, see `model.runs.tables` for the columns): `latency` and `lags` are histograms per window (bucket
    numbers as in `model.runs.histogram`), `totals` counts requests per endpoint and window, `gauges` are samples over
    time, `steps` what each process did, `requests` a thinned sample of single requests, `traces` where about a thousand
    of them were, step by step, and for how long. A window is `window_s`
    seconds long and a request belongs to the one in which it was *sent*, relative to the schedule's start (in
    `totals`, `finished` alone is counted in the window of the answer). Windows that begin before
    ``scenario.warmup_s`` are kept, but not scored.
    """

    kind: Kind
    scenario: Scenario
    provenance: Mapping[str, Any]
    validity: Validity
    counters: Mapping[str, float]
    failures: Mapping[str, Mapping[str, int]]
    """Endpoint -> kind of failure -> requests, over the whole run."""
    latency_table: pl.DataFrame
    totals: pl.DataFrame
    lags: pl.DataFrame
    gauges: pl.DataFrame
    steps: pl.DataFrame
    requests: pl.DataFrame
    traces: pl.DataFrame
    duration_s: float
    window_s: float = 1.0

    # Latencies and lags

    def latency(self, endpoint: str | None = None, basis: Basis = "sent", *, scored: bool = True) -> Histogram:
        """Latencies of the answered requests to one endpoint (None: all), from when they were *sent* or *scheduled*.

        Raises InputError for an unknown endpoint or basis.
        """
        if basis not in ("sent", "scheduled"):
            raise InputError(f"basis is {basis!r}; allowed: sent, scheduled")
        rows = self._of_endpoint(self.latency_table.filter(pl.col("basis") == basis), endpoint)
        totals = self._of_endpoint(self.totals, endpoint)
        if scored:
            rows, totals = self._scored(rows), self._scored(totals)
        total_ns = int(totals[f"sum_{basis}_ns"].sum())
        return Histogram.from_buckets(rows["bucket"].to_numpy(), rows["count"].to_numpy(), total_ns)

    def lag(self, kind: LagKind, label: str | None = None, *, scored: bool = True) -> Histogram:
        """Lags of one kind, of one label (``standby0``) or all together."""
        if kind not in ("delivery", "replica", "outbox"):
            raise InputError(f"lag kind is {kind!r}; allowed: delivery, replica, outbox")
        rows = self.lags.filter(pl.col("kind") == kind)
        if label is not None:
            rows = rows.filter(pl.col("label") == label)
        if scored:
            rows = self._scored(rows)
        return Histogram.from_buckets(rows["bucket"].to_numpy(), rows["count"].to_numpy(), int(rows["sum_ns"].sum()))

    def lag_labels(self, kind: LagKind) -> list[str]:
        """The labels under which lags of a kind were recorded."""
        return sorted(self.lags.filter(pl.col("kind") == kind)["label"].unique().to_list())

    def latency_over_time(self, endpoint: str | None = None, q: float = 0.95, basis: Basis = "sent") -> pl.DataFrame:
        """One row per window: time_s (the window's start), n, mean_s, quantile_s. The warm-up is included."""
        rows = self._of_endpoint(self.latency_table.filter(pl.col("basis") == basis), endpoint)
        totals = self._of_endpoint(self.totals, endpoint).group_by("window")
        sums = dict(totals.agg(pl.col(f"sum_{basis}_ns").sum()).iter_rows())
        records = []
        for (window,), part in rows.group_by("window", maintain_order=True):
            histogram = Histogram.from_buckets(part["bucket"].to_numpy(), part["count"].to_numpy(), int(sums[window]))
            records.append((float(str(window)) * self.window_s, histogram.n, histogram.mean_s, histogram.quantile(q)))
        schema = {"time_s": pl.Float64, "n": pl.Int64, "mean_s": pl.Float64, "quantile_s": pl.Float64}
        return pl.DataFrame(records, schema=schema, orient="row").sort("time_s")

    # Counts and rates

    @property
    def first_scored_window(self) -> int:
        """The first window that lies wholly after the warm-up."""
        return math.ceil(self.scenario.warmup_s / self.window_s - 1e-9)

    @property
    def scored_s(self) -> float:
        """The length of the scored part of the run in seconds."""
        return max(self.duration_s - self.first_scored_window * self.window_s, 0.0)

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints that were asked for, in the order of `ENDPOINTS`."""
        present = set(self.totals["endpoint"].to_list())
        return [endpoint for endpoint in Endpoint if endpoint.value in present]

    @property
    def n_requests(self) -> int:
        """Requests sent in the whole run, the warm-up included."""
        return int(self.totals["offered"].sum())

    @property
    def n_failed(self) -> int:
        """Failed requests in the whole run, the warm-up included."""
        return int(self.totals["failed"].sum())

    @property
    def offered_per_s(self) -> float:
        """Requests sent per second of the scored part."""
        return self._rate("offered", None)

    @property
    def achieved_per_s(self) -> float:
        """Successful answers per second of the scored part, counted when they arrived."""
        return self.throughput_per_s()

    def throughput_per_s(self, endpoint: str | None = None) -> float:
        """Successful answers of an endpoint (None: all) per second of the scored part, counted when they arrived."""
        return self._rate("finished", endpoint)

    @property
    def hit_ratio(self) -> float | None:
        """Share of home timeline reads that found the timeline in Redis; None when nobody counted."""
        hits, misses = self.counters.get("timeline_hits", 0.0), self.counters.get("timeline_misses", 0.0)
        return hits / (hits + misses) if hits + misses else None

    # Gauges

    def gauge(self, name: str, label: str | None = None, *, scored: bool = False) -> pl.DataFrame:
        """Samples of a gauge: time_s, label, value, in order of time. `scored` leaves out the warm-up and the drain."""
        rows = self.gauges.filter(pl.col("gauge") == name)
        if label is not None:
            rows = rows.filter(pl.col("label") == label)
        if scored:
            rows = rows.filter(pl.col("time_s").is_between(self.first_scored_window * self.window_s, self.duration_s))
        return rows.select("time_s", "label", "value").sort("time_s", "label")

    def gauge_labels(self, name: str) -> list[str]:
        """The labels of a gauge, sorted."""
        return sorted(self.gauges.filter(pl.col("gauge") == name)["label"].unique().to_list())

    @property
    def utilisation(self) -> dict[str, float]:
        """Mean share of one core that each kind of process used in the scored part; "backend" is their host."""
        means = self.gauge("utilisation", scored=True).group_by("label").agg(pl.col("value").mean())
        return dict(sorted(means.iter_rows()))

    # Plots: each draws into a matplotlib axes that the caller made, and returns it

    def plot_latency(self, ax: Any, endpoint: str | None = None, basis: Basis = "sent", **style: Any) -> Any:
        """The share of requests slower than a latency, on log axes."""
        style.setdefault("label", f"{self.kind}: {endpoint or 'all endpoints'}")
        return self.latency(endpoint, basis).plot(ax, **style)

    def plot_gauge(self, ax: Any, name: str, label: str | None = None, **style: Any) -> Any:
        """A gauge over time, one line per label."""
        for each in [label] if label is not None else self.gauge_labels(name):
            rows = self.gauge(name, each)
            ax.plot(rows["time_s"].to_numpy(), rows["value"].to_numpy(), label=f"{self.kind}: {each or name}", **style)
        ax.set_xlabel("time (s)")
        ax.set_ylabel(name)
        return ax

    # Identity and storage

    @cached_property
    def digest(self) -> str:
        """A hash of the results, the scenario and the calibration; not of when, where or by which commit, and not of
        the gauges, since a sampler observes a run without being part of it."""
        return self._hash(without="gauges")

    @cached_property
    def content_digest(self) -> str:
        """`digest` with the gauges: what a stored run is checked against."""
        return self._hash()

    def _hash(self, without: str = "") -> str:
        parts = {
            "kind": self.kind,
            "scenario": self.scenario.digest,
            "calibration": self.provenance.get("calibration_digest"),
            "valid": [self.validity.valid, *self.validity.reasons],
            "counters": {name: float(value) for name, value in self.counters.items()},
            "failures": {endpoint: dict(kinds) for endpoint, kinds in self.failures.items()},
            "duration_s": self.duration_s,
            "window_s": self.window_s,
            "tables": {name: frame_digest(frame) for name, frame in self.tables().items() if name != without},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def tables(self) -> dict[str, pl.DataFrame]:
        """All tables by the name under which they are stored."""
        return {name: self.latency_table if name == "latency" else getattr(self, name) for name in TABLES}

    def save(self, directory: str | Path, *, force: bool = False) -> Path:
        """Write the run as a folder, whole or not at all.

        Raises InputError if it exists, unless `force`, which replaces an earlier run and nothing else.
        """
        from model.runs.storage import save_run

        return save_run(self, Path(directory), force=force)

    @classmethod
    def load(cls, directory: str | Path) -> Run:
        """Read a folder that `save` wrote. Raises InputError naming the file that is missing, damaged or too new."""
        from model.runs.storage import load_run

        return load_run(Path(directory))

    def __repr__(self) -> str:
        state = "valid" if self.validity.valid else "INVALID"
        return (
            f"Run({self.kind}, {self.scenario.name!r}, seed {self.scenario.seed}, {self.duration_s:g} s, "
            f"{self.n_requests} requests, {self.n_failed} failed, {state}, digest {self.digest})"
        )

    def _scored(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(pl.col("window") >= self.first_scored_window)

    def _of_endpoint(self, rows: pl.DataFrame, endpoint: str | None) -> pl.DataFrame:
        if endpoint is None:
            return rows
        try:
            name = Endpoint(endpoint).value
        except ValueError:
            raise InputError(f"endpoint is {endpoint!r}; allowed: {', '.join(Endpoint)}") from None
        return rows.filter(pl.col("endpoint") == name)

    def _rate(self, column: str, endpoint: str | None) -> float:
        rows = self._scored(self._of_endpoint(self.totals, endpoint))
        rows = rows.filter(pl.col("window") * self.window_s < self.duration_s)
        return int(rows[column].sum()) / self.scored_s if self.scored_s else math.nan
