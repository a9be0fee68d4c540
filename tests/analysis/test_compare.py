"""Comparing runs whose differences are known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from model.analysis.compare import FIGURES, compare, scenario_differences
from model.analysis.summary import demo_summary
from model.runs import Run, RunBuilder
from model.spec import ENDPOINTS, InputError, InvalidRunError
from tests.synthetic import make_run, scenario


def test_a_run_agrees_with_itself() -> None:
    comparison = compare(make_run(), make_run())
    assert comparison.median_abs_error == 0
    assert comparison.misses() == []
    assert all(row.throughput.error == 0 for row in comparison.latencies)
    assert comparison.notes == ()


@pytest.mark.parametrize("factor", [0.8, 1.1, 1.5])
def test_a_known_latency_error_is_found_in_every_figure(factor: float) -> None:
    comparison = compare(make_run("real"), make_run("model", latency_factor=factor))
    errors = list(comparison.errors())
    # 3 000 scored requests per endpoint: p99 has 30 observations above it.
    assert {figure for _, figure, _ in errors} == {"mean", "p50", "p95"}
    assert len(errors) == 3 * len(ENDPOINTS)
    for _, figure, error in errors:
        assert error == pytest.approx(factor - 1, abs=1e-6 if figure == "mean" else 0.016)
    assert comparison.median_abs_error == pytest.approx(abs(factor - 1), abs=0.01)


def test_a_quantile_needs_a_hundred_observations_above_it_on_both_sides() -> None:
    def home_only(n: int, kind: str) -> Run:
        builder = RunBuilder(scenario(warmup_s=0.0), kind)  # type: ignore[arg-type]
        sent = np.linspace(0, 19e9, n).astype(np.int64)
        builder.add_requests(np.zeros(n), sent, sent, np.arange(1, n + 1) * 1_000, np.zeros(n))
        return builder.build({})

    def scored(n_real: int, n_model: int) -> set[str]:
        return {figure for _, figure, _ in compare(home_only(n_real, "real"), home_only(n_model, "model")).errors()}

    assert scored(10_000, 10_000) == {"mean", "p50", "p95", "p99"}
    assert scored(9_900, 10_000) == {"mean", "p50", "p95"}
    assert scored(10_000, 9_900) == {"mean", "p50", "p95"}
    assert scored(2_000, 2_000) == {"mean", "p50", "p95"}
    assert scored(1_999, 2_000) == {"mean", "p50"}
    assert scored(199, 2_000) == {"mean"}
    assert scored(99, 2_000) == set()


def test_figures_too_few_to_score_are_still_shown() -> None:
    row = compare(make_run("real"), make_run("model")).latencies[0]
    assert row.sent["p99"].error is None
    assert row.sent["p99"].a == pytest.approx(row.sent["p99"].b)


def test_the_real_run_is_the_reference_whatever_the_order() -> None:
    real, model = make_run("real"), make_run("model", latency_factor=1.2)
    for comparison in (compare(real, model), compare(model, real)):
        assert comparison.names == ("real", "model")
        assert comparison.latencies[0].sent["mean"].error == pytest.approx(0.2, abs=1e-6)
    assert compare(model, model).names == ("a", "b")


def test_lags_and_queues_are_compared() -> None:
    comparison = compare(make_run("real"), make_run("model", lag_factor=1.3))
    lags = {(lag.kind, lag.label): lag for lag in comparison.lags}
    assert list(lags) == [
        ("delivery", ""),
        ("outbox", ""),
        ("replica", ""),
        ("replica", "standby0"),
        ("replica", "standby1"),
    ]
    assert lags["delivery", ""].n.a == 7_500
    assert lags["delivery", ""].figures["p50"].error == pytest.approx(0.3, abs=0.02)
    assert lags["delivery", ""].figures["p99"].error is None
    assert lags["outbox", ""].figures["mean"].error == 0
    queues = {queue.gauge: queue for queue in comparison.queues}
    assert queues["outbox_length"].mean.error == pytest.approx(0.3)
    assert queues["fanout_queue_length"].peak.a == 40


def test_replica_lag_compares_like_with_like() -> None:
    def run(kind: str, lag_s: float, *, gauge: bool) -> Run:
        builder = RunBuilder(scenario(), kind)  # type: ignore[arg-type]
        times = np.arange(0, 20, 0.05)
        if gauge:
            builder.add_gauge(times, "replica_lag_s", "standby0", lag_s)
        builder.add_lags("replica", "standby0", times * 1e9, np.full(len(times), 3 * lag_s * 1e9))
        return builder.build({})

    sampled = compare(run("real", 0.01, gauge=True), run("model", 0.012, gauge=True)).lags[0]
    assert sampled.sampled
    assert sampled.figures["p50"].error == pytest.approx(0.2, abs=0.01)
    assert sampled.figures["p50"].a == pytest.approx(0.01, rel=0.01)
    assert sampled.n.a == 300  # only the scored part: from 5 s on, every 50 ms
    observed = compare(run("real", 0.01, gauge=True), run("model", 0.012, gauge=False)).lags[0]
    assert not observed.sampled
    assert observed.figures["p50"].a == pytest.approx(0.03, rel=0.01)


def test_slip_is_shown_and_latency_is_scored_from_sent() -> None:
    comparison = compare(make_run("real", slip_ns=2_000_000), make_run("model"))
    assert comparison.slip[0] == pytest.approx({"mean_s": 0.002, "p99_s": 0.002, "max_s": 0.002})
    row = comparison.latencies[0]
    assert row.sent["mean"].error == 0
    assert row.scheduled["mean"].a == pytest.approx((row.sent["mean"].a or 0) + 0.002)


def test_invalid_runs_are_refused_unless_allowed() -> None:
    with pytest.raises(InvalidRunError, match="the real run of synthetic is invalid: generator slip p99 is 30 ms"):
        compare(make_run("real", valid=False), make_run("model"))
    allowed = compare(make_run("real", valid=False), make_run("model"), allow_invalid=True)
    assert not allowed.valid
    assert "generator slip p99 is 30 ms" in allowed.notes[0]


def test_different_scenarios_are_compared_and_noted() -> None:
    comparison = compare(make_run("model"), make_run("model", workload__rate_per_s=200.0, platform__redis__shards=5))
    assert comparison.notes == (
        "scenario.workload.rate_per_s: 300.0 against 200.0",
        "scenario.platform.redis.shards: 3 against 5",
    )
    assert scenario_differences(scenario(question="why?"), scenario(description="so")) == []


def test_real_runs_from_different_rigs_are_refused() -> None:
    quiet, noisy = ({"rig": {"quiet": on, "layout": "together"}} for on in (True, False))
    with pytest.raises(InputError, match=r"rig.quiet: True against False"):
        compare(make_run(provenance=quiet), make_run(provenance=noisy))
    compare(make_run(provenance=quiet), make_run(provenance=quiet))
    assert compare(make_run(provenance=quiet), make_run("model", provenance=noisy)).notes


def test_misses_are_ordered_by_how_far_beyond_the_target() -> None:
    comparison = compare(make_run("real"), make_run("model", latency_factor=1.3))
    misses = comparison.misses()
    assert {figure for _, figure, _ in misses} == {"mean", "p50"}  # 30 %: beyond 25, within 35
    assert comparison.misses({"p95": 0.1})[0][1] == "p95"
    fewer = compare(make_run("real"), make_run("model", failed=1_500))
    assert ("all", "throughput") in {miss[:2] for miss in fewer.misses()}


REQUIRED: dict[str, Any] = {
    "valid": bool,
    "offered_per_s": float,
    "achieved_per_s": float,
    "requests": int,
    "failed": int,
    "real": dict,
    "model": dict,
    "error": dict,
    "delivery_lag": dict,
    "replica_lag": dict,
    "timeline_hit_ratio": dict,
    "posts_lost": int,
    "deliveries_expected": int,
    "deliveries_seen": int,
}


def test_the_summary_has_the_documented_form() -> None:
    summary = demo_summary(make_run("real", failed=5), make_run("model", latency_factor=1.1))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert {key: type(summary[key]) for key in REQUIRED} == REQUIRED
    names = {endpoint.value for endpoint in ENDPOINTS}
    for side in ("real", "model"):
        assert set(summary[side]) == names
        assert all(list(row) == ["n", "mean_ms", "p50_ms", "p95_ms", "p99_ms"] for row in summary[side].values())
    assert summary["real"]["profile"]["mean_ms"] == pytest.approx(4.8, rel=0.05)
    assert all(tuple(row) == FIGURES for row in summary["error"].values())
    assert summary["error"]["profile"]["p95"] == pytest.approx(0.1, abs=0.02)
    assert summary["error"]["profile"]["p99"] is None
    for lag in ("delivery_lag", "replica_lag"):
        assert list(summary[lag]["real"]) == list(summary[lag]["model"]) == ["n", "p50_s", "p99_s"]
    assert summary["timeline_hit_ratio"] == {"real": 0.9, "model": 0.9}
    assert (summary["requests"], summary["failed"], summary["posts_lost"]) == (20_000, 5, 0)
    assert summary["failures"]["real"]["home_timeline"] == {"timeout": 1}


def test_the_summary_of_an_invalid_run_says_so() -> None:
    summary = demo_summary(make_run("real", valid=False), make_run("model"))
    assert summary["valid"] is False
    assert summary["invalid_because"] == ["generator slip p99 is 30 ms"]


def test_empty_runs_compare_without_figures() -> None:
    empty = RunBuilder(scenario(), "real").build({})
    comparison = compare(empty, make_run("model"))
    assert comparison.median_abs_error is None
    assert comparison.worst_error is None
    summary = comparison.to_json()
    assert summary["real"]["react"] == {"n": 0, "mean_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert summary["posts_lost"] is None
    json.dumps(summary, allow_nan=False)
