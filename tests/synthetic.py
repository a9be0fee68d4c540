"""Synthetic runs whose latencies, lags and counts are known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.runs import Run, RunBuilder, Validity
from model.runs.run import Kind
from model.spec import ENDPOINTS, Scenario

RATE_PER_S = 1_000
DURATION_S = 20.0


def scenario(**changes: Any) -> Scenario:
    """A scenario of 20 s, of which the first 5 are not scored."""
    return Scenario(name="synthetic", duration_s=DURATION_S, warmup_s=5.0).with_(**changes)


def latencies_ns(n: int, seed: int = 7) -> npt.NDArray[np.int64]:
    """Lognormal latencies with a median of 4 ms."""
    draws = np.random.Generator(np.random.Philox(seed)).lognormal(np.log(4e6), 0.6, n)
    return draws.astype(np.int64)


def make_run(
    kind: Kind = "real",
    *,
    latency_factor: float = 1.0,
    lag_factor: float = 1.0,
    slip_ns: int = 0,
    failed: int = 0,
    valid: bool = True,
    provenance: dict[str, Any] | None = None,
    hits: int = 900,
    seed: int = 7,
    **changes: Any,
) -> Run:
    """1 000 requests a second, a request every ms, endpoints in rotation; the first `failed` scored ones time out."""
    run_scenario = scenario(**changes)
    builder = RunBuilder(run_scenario, kind)
    n = int(run_scenario.duration_s * RATE_PER_S)
    scheduled = np.arange(n, dtype=np.int64) * 1_000_000
    endpoint = np.arange(n) % len(ENDPOINTS)
    latency = (latencies_ns(n, seed) * latency_factor).astype(np.int64)
    outcome = np.zeros(n, dtype=np.uint8)
    first = int(run_scenario.warmup_s * RATE_PER_S)
    outcome[first : first + failed] = 3
    builder.add_requests(endpoint, scheduled, scheduled + slip_ns, latency, outcome)
    deliveries = np.arange(n // 10, dtype=np.int64)
    delivery_lags = latencies_ns(len(deliveries), 8) * 10 * lag_factor
    builder.add_lags("delivery", "", deliveries * 10_000_000, delivery_lags, np.full(len(deliveries), 5))
    for standby in range(run_scenario.platform.postgres.standbys):
        lags = latencies_ns(len(deliveries), 9 + standby) // 10 * lag_factor
        builder.add_lags("replica", f"standby{standby}", deliveries * 10_000_000, lags)
        builder.add_gauge(np.arange(0.0, 20.0, 0.05), "replica_lag_s", f"standby{standby}", 0.0005 * lag_factor)
    builder.add_lags("outbox", "", deliveries * 10_000_000, np.full(len(deliveries), 2_000_000))
    times = np.arange(0.0, 20.0, 0.5)
    builder.add_gauge(times, "outbox_length", "", np.abs(np.sin(times)) * 4 * lag_factor)
    builder.add_gauge(times, "fanout_queue_length", "", np.where(times == 10, 40.0, 2.0))
    for process, share in (("api", 0.4), ("redis", 0.1), ("primary", 0.08), ("backend", 0.6)):
        builder.add_gauge(times, "utilisation", process, np.full(len(times), share * latency_factor))
    builder.add_step("db.post_insert", "primary", 4_000, 0, 4_000_000_000)
    builder.counters.update(
        timeline_hits=hits,
        timeline_misses=1_000 - hits,
        posts_created=4_000,
        posts_lost=0,
        deliveries_expected=10_000,
        deliveries_seen=10_000,
    )
    return builder.build(provenance or {}, Validity(valid, () if valid else ("generator slip p99 is 30 ms",)))
