"""Two runs side by side: every figure of both, and the relative error of the second against the first."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from model.runs import Histogram, Run
from model.runs.run import Basis, LagKind
from model.spec import InputError, InvalidRunError, Scenario

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
FIGURES = ("mean", *QUANTILES)
MIN_TAIL = 100
"""A quantile is scored only where at least this many observations lie above it on both sides."""

TARGETS: Mapping[str, float] = {"mean": 0.25, "p50": 0.25, "p95": 0.35, "throughput": 0.05}
"""Relative errors that the model should stay within; p99 has none yet."""

REPLICA_GAUGE = "replica_lag_s"
QUEUES = ("outbox_length", "fanout_queue_length")


@dataclass(frozen=True)
class Measure:
    """One figure of both runs in one unit; None where a run has no observation of it."""

    a: float | None
    b: float | None
    enough: bool = True
    """Whether both runs have the observations that it takes to score the figure."""

    @property
    def error(self) -> float | None:
        """(b - a) / a, or None where it is not scored."""
        if not self.enough or self.a is None or self.b is None or self.a == 0:
            return None
        return (self.b - self.a) / self.a


@dataclass(frozen=True)
class LatencyComparison:
    """One endpoint. Latencies in seconds, of scored successful answers."""

    endpoint: str
    n: Measure
    throughput: Measure
    """Successful answers per second."""
    sent: Mapping[str, Measure]
    """`mean`, `p50`, `p95`, `p99` from when the request was sent: the scored ones."""
    scheduled: Mapping[str, Measure]
    """The same from when it was scheduled: what a user would have seen, the generator's slip included."""


@dataclass(frozen=True)
class LagComparison:
    """Delivery, outbox or replica lag in seconds; `label` names the standby, empty for all together."""

    kind: LagKind
    label: str
    n: Measure
    figures: Mapping[str, Measure]
    """`mean`, `p50`, `p99`."""
    sampled: bool = False
    """From the gauge's samples over time rather than from single observations."""


@dataclass(frozen=True)
class GaugeComparison:
    """A gauge over the scored part of the run."""

    gauge: str
    label: str
    mean: Measure
    peak: Measure


@dataclass(frozen=True)
class Comparison:
    """Everything that can be said about run `b` against the reference `a`."""

    a: Run
    b: Run
    latencies: tuple[LatencyComparison, ...]
    lags: tuple[LagComparison, ...]
    queues: tuple[GaugeComparison, ...]
    utilisation: Mapping[str, Measure]
    """Kind of process -> mean share of one core."""
    counters: Mapping[str, Measure]
    slip: tuple[Mapping[str, float] | None, Mapping[str, float] | None]
    """Per run: how late requests were sent, `mean_s`, `p99_s` and `max_s` over its sample; None without one."""
    notes: tuple[str, ...] = field(default=())
    """What to know before reading the figures: differences of scenario or rig, invalid runs."""

    @property
    def names(self) -> tuple[str, str]:
        """What to call the two runs: their kinds, or "a" and "b" where these are the same."""
        return (self.a.kind, self.b.kind) if self.a.kind != self.b.kind else ("a", "b")

    @property
    def is_validation(self) -> bool:
        """Whether a model is held to a measurement, so that the targets apply."""
        return (self.a.kind, self.b.kind) == ("real", "model")

    @property
    def valid(self) -> bool:
        """Whether both runs are."""
        return self.a.validity.valid and self.b.validity.valid

    @property
    def throughput(self) -> Measure:
        """Successful answers per second over all endpoints."""
        return Measure(_finite(self.a.achieved_per_s), _finite(self.b.achieved_per_s))

    @property
    def hit_ratio(self) -> Measure:
        """Timeline hit ratio."""
        return Measure(self.a.hit_ratio, self.b.hit_ratio)

    def errors(self) -> Iterator[tuple[str, str, float]]:
        """(endpoint, figure, relative error) of every scored latency figure."""
        for row in self.latencies:
            for name, measure in row.sent.items():
                if measure.error is not None:
                    yield row.endpoint, name, measure.error

    @property
    def median_abs_error(self) -> float | None:
        """The median of the absolute relative errors over all scored latency figures."""
        errors = [abs(error) for _, _, error in self.errors()]
        return statistics.median(errors) if errors else None

    @property
    def worst_error(self) -> tuple[str, str, float] | None:
        """(endpoint, figure, relative error) of the scored latency figure that is furthest off."""
        return max(self.errors(), key=lambda item: abs(item[2]), default=None)

    def misses(self, targets: Mapping[str, float] = TARGETS) -> list[tuple[str, str, float]]:
        """The scored figures whose error lies beyond its target, worst first relative to the target."""
        beyond = [item for item in self.errors() if abs(item[2]) > targets.get(item[1], math.inf)]
        rate = self.throughput.error
        if rate is not None and abs(rate) > targets.get("throughput", math.inf):
            beyond.append(("all", "throughput", rate))
        return sorted(beyond, key=lambda item: -abs(item[2]) / targets[item[1]])

    def to_json(self) -> dict[str, Any]:
        """The documented summary (see `model.analysis.summary`), JSON-serialisable, without NaN."""
        from model.analysis.summary import summary

        return summary(self)


def compare(a: Run, b: Run, *, allow_invalid: bool = False) -> Comparison:
    """Compare any two runs; errors are (b - a) / a. Of a real and a model run the real one becomes `a`.

    Different scenarios are allowed and noted. Raises InvalidRunError for an invalid run unless `allow_invalid`, and
    InputError for two real runs that were measured on differently set rigs.
    """
    if (a.kind, b.kind) == ("model", "real"):
        a, b = b, a
    invalid = [
        f"the {run.kind} run of {run.scenario.name} is invalid: {'; '.join(run.validity.reasons) or 'no reason given'}"
        for run in (a, b)
        if not run.validity.valid
    ]
    if invalid and not allow_invalid:
        raise InvalidRunError("; ".join(invalid))
    endpoints = [endpoint.value for endpoint in dict.fromkeys([*a.endpoints, *b.endpoints])]
    labels = sorted({*a.utilisation, *b.utilisation}, key=lambda label: (label != "backend", label))
    return Comparison(
        a=a,
        b=b,
        latencies=tuple(_latency(a, b, endpoint) for endpoint in endpoints),
        lags=tuple(_lags(a, b)),
        queues=tuple(_gauge(a, b, queue, "") for queue in QUEUES if a.gauge(queue).height or b.gauge(queue).height),
        utilisation={label: Measure(a.utilisation.get(label), b.utilisation.get(label)) for label in labels},
        counters={
            name: Measure(a.counters.get(name), b.counters.get(name)) for name in sorted({*a.counters, *b.counters})
        },
        slip=(_slip(a), _slip(b)),
        notes=(*invalid, *_rig_notes(a, b), *scenario_differences(a.scenario, b.scenario)),
    )


def scenario_differences(a: Scenario, b: Scenario) -> list[str]:
    """One line per field in which two scenarios differ, prose left out."""
    left, right = (_flat(scenario.model_dump(mode="json", exclude={"question", "description"})) for scenario in (a, b))
    fields = [name for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name)]
    return [f"scenario.{name}: {left.get(name)!r} against {right.get(name)!r}" for name in fields]


def _latency(a: Run, b: Run, endpoint: str) -> LatencyComparison:
    def figures(basis: Basis) -> tuple[Histogram, Histogram, dict[str, Measure]]:
        left, right = a.latency(endpoint, basis), b.latency(endpoint, basis)
        return left, right, _figures(left, right, QUANTILES)

    left, right, sent = figures("sent")
    return LatencyComparison(
        endpoint=endpoint,
        n=Measure(left.n, right.n),
        throughput=Measure(_finite(a.throughput_per_s(endpoint)), _finite(b.throughput_per_s(endpoint))),
        sent=sent,
        scheduled=figures("scheduled")[2],
    )


def _lags(a: Run, b: Run) -> Iterator[LagComparison]:
    kinds: tuple[LagKind, ...] = ("delivery", "outbox", "replica")
    for kind in kinds:
        # A lag per commit and a lag per sample weigh a quiet second differently: only like is compared with like.
        sampled = kind == "replica" and bool(a.gauge_labels(REPLICA_GAUGE) and b.gauge_labels(REPLICA_GAUGE))
        lag = _sampled_replica_lag if sampled else Run.lag
        labels = (
            sorted({*a.gauge_labels(REPLICA_GAUGE), *b.gauge_labels(REPLICA_GAUGE)})
            if sampled
            else sorted({*a.lag_labels(kind), *b.lag_labels(kind)})
        )
        for label in [None, *labels] if kind == "replica" else [None]:
            left, right = lag(a, kind, label), lag(b, kind, label)
            if left.n or right.n:
                figures = _figures(left, right, {"p50": 0.50, "p99": 0.99})
                yield LagComparison(kind, label or "", Measure(left.n, right.n), figures, sampled)


def _sampled_replica_lag(run: Run, _kind: LagKind, label: str | None) -> Histogram:
    """Replica lag from the samples of the gauge over time."""
    lags_s = run.gauge(REPLICA_GAUGE, label, scored=True)["value"].to_numpy()
    return Histogram.of((lags_s * 1e9).astype("int64"))


def _figures(left: Histogram, right: Histogram, quantiles: Mapping[str, float]) -> dict[str, Measure]:
    figures = {"mean": Measure(_finite(left.mean_s), _finite(right.mean_s), min(left.n, right.n) >= MIN_TAIL)}
    for name, q in quantiles.items():
        enough = min(left.tail_count(q), right.tail_count(q)) >= MIN_TAIL
        figures[name] = Measure(_finite(left.quantile(q)), _finite(right.quantile(q)), enough)
    return figures


def _gauge(a: Run, b: Run, gauge: str, label: str) -> GaugeComparison:
    values = [run.gauge(gauge, scored=True)["value"] for run in (a, b)]
    means, peaks = ([_number(getattr(value, what)()) for value in values] for what in ("mean", "max"))
    return GaugeComparison(gauge, label, Measure(means[0], means[1]), Measure(peaks[0], peaks[1]))


def _slip(run: Run) -> dict[str, float] | None:
    slip = (run.requests["sent_s"] - run.requests["scheduled_s"]).to_numpy()
    if not len(slip):
        return None
    ordered = sorted(float(value) for value in slip)
    p99 = ordered[max(math.ceil(0.99 * len(ordered)) - 1, 0)]
    return {"mean_s": statistics.fmean(ordered), "p99_s": p99, "max_s": ordered[-1]}


def _rig_notes(a: Run, b: Run) -> list[str]:
    left, right = (_flat(run.provenance.get("rig") or {}) for run in (a, b))
    differing = [name for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name)]
    notes = [f"rig.{name}: {left.get(name)!r} against {right.get(name)!r}" for name in differing]
    if notes and a.kind == b.kind == "real":
        raise InputError(f"runs measured on differently set rigs are not compared ({notes[0]})")
    return notes if left and right else []


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _number(value: Any) -> float | None:
    return None if value is None else _finite(float(value))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
