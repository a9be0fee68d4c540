"""The waits of a Calibration: what no CPU time explains."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np
import psycopg

from loadtests.calibrate.slices import Played
from loadtests.gauges import flushed_lsn, replayed_lsn
from loadtests.hiccup import Hiccups
from model.platform import simulate
from model.spec import Calibration, Endpoint, InvalidRunError
from model.spec.calibration import Stalls, Wait
from model.spec.seed_tables import SeedTables
from model.spec.steps import Process
from model.workload import FollowerGraph
from real_backend.stack import Stack

PROBABILITIES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
SHIP_COMMITS = 60
SHIP_PATIENCE_S = 10.0
FEWEST_STALLS = 5
FEWEST_READS = 20
READS = (Endpoint.HOME_TIMELINE, Endpoint.PROFILE, Endpoint.READ_POST)

NO_WAIT = Wait(probabilities=(0.0, 1.0), quantiles_s=(0.0, 0.0))


def wait_of(durations_s: Iterable[float]) -> Wait:
    """A wait's quantile table with the mean excess of its last percent as the tail; no wait where nothing was seen."""
    values = np.sort(np.fromiter(durations_s, float))
    if not len(values):
        return NO_WAIT
    quantiles = np.maximum.accumulate(np.quantile(values, PROBABILITIES))
    beyond = values[values > quantiles[-1]]
    tail = float((beyond - quantiles[-1]).mean()) if len(beyond) else 0.0
    return Wait(
        probabilities=PROBABILITIES, quantiles_s=tuple(float(q) for q in quantiles), tail_mean_s=tail,
        samples=len(values),
    )  # fmt: skip


def with_wait(calibration: Calibration, name: str, wait: Wait) -> Calibration:
    """The calibration with one of its waits replaced."""
    return calibration.model_copy(update={"waits": {**calibration.waits, name: wait}})


def stalls_of(hiccups: Hiccups | None) -> Stalls:
    """Late wake-ups of a real-time sleeper: nothing on the core explains them, so the core was taken away."""
    if hiccups is None or len(hiccups.late_ns) < FEWEST_STALLS:
        return Stalls()
    return Stalls(rate_per_s=hiccups.rate_per_s, duration=wait_of(hiccups.late_ns * 1e-9))


def commit_to_visible(stack: Stack, seeds: SeedTables) -> list[float]:
    """Seconds from a commit on the idle primary until a standby has replayed it, by polling; none without standbys."""
    if not stack.config.standby_urls:
        return []
    seen = []
    with (
        psycopg.connect(stack.urls.postgres, autocommit=True) as primary,
        psycopg.connect(stack.urls.standbys[0], autocommit=True) as standby,
    ):
        for k in range(SHIP_COMMITS):
            primary.execute("UPDATE users SET handle = handle WHERE id = %s", (k % seeds.users,))
            flushed, began = flushed_lsn(primary), time.perf_counter()
            while replayed_lsn(standby) < flushed:
                if time.perf_counter() - began > SHIP_PATIENCE_S:
                    raise InvalidRunError(f"calibration: standby0 did not replay a commit within {SHIP_PATIENCE_S:g} s")
            seen.append(time.perf_counter() - began)
    return seen


def ship_wait(calibration: Calibration, visible_s: Sequence[float]) -> Wait:
    """What sending, flushing and replaying a commit leave of the time until it was visible."""
    costs, processes, waits = calibration.steps, calibration.processes, calibration.waits
    explained_s = sum(costs[step].base_s.value for step in ("db.wal_send", "db.wal_apply")) + sum(
        processes[process].wake_s.value for process in (Process.PRIMARY, Process.STANDBY)
    )
    explained_s += waits["db.commit_write"].mean_s + waits["db.commit_sync"].mean_s
    return wait_of(max(0.0, one - explained_s) for one in visible_s)


def client_wait(calibration: Calibration, played: Sequence[Played], graph: FollowerGraph) -> Wait:
    """What the model leaves of the reads' latencies: the client's side, the network, and what no step covers."""
    excess = []
    for one in played:
        at_speed = calibration.at_speed(one.slice.speed)
        run = simulate(one.plan.scenario, at_speed, graph=graph, schedule=one.schedule)
        for endpoint in READS:
            real = one.records.latency_ns[(one.records.endpoint == endpoint.code) & (one.records.outcome == 0)]
            modelled = run.latency(endpoint.value, scored=False)
            if len(real) >= FEWEST_READS and modelled.n >= FEWEST_READS:
                excess.append((len(real), float(np.median(real)) * 1e-9 - modelled.quantile(0.5)))
    weights = np.array([n for n, _ in excess], float)
    mean_s = max(0.0, float(np.average([e for _, e in excess], weights=weights))) if excess else 0.0
    return Wait(probabilities=(0.0, 1.0), quantiles_s=(mean_s, mean_s), tail_mean_s=0.0, samples=int(weights.sum()))
