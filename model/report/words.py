"""Figures and verdicts as text, the same on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from model.analysis.compare import TARGETS, Comparison, LagComparison, Measure

TOO_FEW = "too few"
NOTHING = "-"


class Row(NamedTuple):
    """One figure of both runs, as text."""

    name: str
    a: str
    b: str
    error: str


def milliseconds(value_s: float | None) -> str:
    """Seconds as ms with three significant digits."""
    return NOTHING if value_s is None else significant(value_s * 1e3)


def duration(value_s: float | None) -> str:
    """Seconds in the unit that reads best."""
    if value_s is None:
        return NOTHING
    return f"{significant(value_s)} s" if abs(value_s) >= 1 else f"{significant(value_s * 1e3)} ms"


def significant(value: float | None) -> str:
    """Three significant digits, never an exponent for what a run can hold."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def percent(share: float | None) -> str:
    """A share in per cent."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def signed(error: float | None) -> str:
    """A relative error with its sign."""
    if error is None:
        return NOTHING
    return f"{100 * error:+.1f} %" if abs(error) < 10 else f"{1 + error:.0f} x"


def error_of(measure: Measure) -> str:
    """The relative error, "too few" where the data cannot carry one."""
    return signed(measure.error) if measure.enough else TOO_FEW


def headline(comparison: Comparison) -> str:
    """The verdict in one or two sentences."""
    if not comparison.valid:
        reasons = "; ".join((*comparison.a.validity.reasons, *comparison.b.validity.reasons))
        return f"No verdict: a run is invalid ({reasons or 'no reason given'})."
    median, worst = comparison.median_abs_error, comparison.worst_error
    if median is None or worst is None:
        return "No verdict: too few requests to score a single figure."
    first, second = comparison.names
    subject = (
        "The model's latencies are off by"
        if comparison.is_validation
        else f"The latencies of {second} differ from those of {first} by"
    )
    return f"{subject} {100 * median:.1f} % in the median; furthest is {worst[0]} {worst[1]} at {signed(worst[2])}."


def targets_line(comparison: Comparison) -> str:
    """How many scored figures lie within their targets; empty unless a model is held to a measurement."""
    if not comparison.is_validation or not comparison.valid:
        return ""
    judged = [item for item in comparison.errors() if item[1] in TARGETS]
    total = len(judged) + (comparison.throughput.error is not None)
    misses = comparison.misses()
    limits = ", ".join(f"{name} {100 * limit:g} %" for name, limit in TARGETS.items())
    text = f"{total - len(misses)} of {total} scored figures are within their target ({limits})"
    beyond = ", ".join(f"{endpoint} {figure} {signed(error)}" for endpoint, figure, error in misses)
    return f"{text}; beyond it: {beyond}." if misses else f"{text}."


def system_rows(comparison: Comparison) -> Iterator[Row]:
    """Everything but the endpoints' latencies, one figure a row."""
    a, b = comparison.a, comparison.b
    yield Row("offered per s", significant(a.offered_per_s), significant(b.offered_per_s), NOTHING)
    rate = comparison.throughput
    yield Row("achieved per s", significant(rate.a), significant(rate.b), error_of(rate))
    yield Row("failed requests", f"{a.n_failed:,}", f"{b.n_failed:,}", NOTHING)
    for lag in comparison.lags:
        yield from _lag_rows(lag)
    ratio = comparison.hit_ratio
    if ratio.a is not None or ratio.b is not None:
        yield Row("timeline hit ratio", percent(ratio.a), percent(ratio.b), error_of(ratio))
    for queue in comparison.queues:
        name = queue.gauge.replace("_", " ")
        yield Row(f"{name}, mean", significant(queue.mean.a), significant(queue.mean.b), error_of(queue.mean))
        yield Row(f"{name}, peak", _count(queue.peak.a), _count(queue.peak.b), error_of(queue.peak))
    for label, share in comparison.utilisation.items():
        yield Row(f"utilisation, {label}", percent(share.a), percent(share.b), error_of(share))
    slips = comparison.slip
    if any(slips):
        first, second = (duration(slip["p99_s"]) if slip else NOTHING for slip in slips)
        yield Row("generator slip p99", first, second, NOTHING)
    for name in (
        "posts_created",
        "posts_lost",
        "deliveries_expected",
        "deliveries_seen",
        "deliveries_trimmed",
        "deliveries_duplicate",
        "stale_reads",
    ):
        counter = comparison.counters.get(name)
        if counter is not None:
            yield Row(name.replace("_", " "), _count(counter.a), _count(counter.b), NOTHING)


def failure_rows(comparison: Comparison) -> Iterator[Row]:
    """Failures by endpoint and kind."""
    left, right = comparison.a.failures, comparison.b.failures
    for endpoint in dict.fromkeys([*left, *right]):
        for kind in dict.fromkeys([*left.get(endpoint, {}), *right.get(endpoint, {})]):
            a, b = (f"{side.get(endpoint, {}).get(kind, 0):,}" for side in (left, right))
            yield Row(f"{endpoint}: {kind.replace('_', ' ')}", a, b, NOTHING)


def _lag_rows(lag: LagComparison) -> Iterator[Row]:
    name = f"{lag.kind} lag" + (f", {lag.label}" if lag.label else "") + (" (sampled)" if lag.sampled else "")
    for figure in ("p50", "p99"):
        measure = lag.figures[figure]
        yield Row(f"{name}, {figure}", duration(measure.a), duration(measure.b), error_of(measure))


def _count(value: float | None) -> str:
    return f"{value:,.0f}" if value is not None and value == round(value) else significant(value)
