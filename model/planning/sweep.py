"""The model over a grid of configurations: one row per point.

All points share the scenario's seed, and random numbers are keyed by what they are for, so that points differ by
their configuration and not by luck (common random numbers).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed as as_threads_complete
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from model.analysis.compare import MIN_TAIL
from model.analysis.replicate import replication_seed
from model.analysis.slos import slo_results
from model.analysis.warmup import warmup_of
from model.machine.extras import require
from model.planning.replicated import aggregated
from model.runs import Histogram, Run
from model.spec import Calibration, Endpoint, InputError, MachineError, Scenario
from model.spec.steps import Process

CONNECT_TIMEOUT_S = 10.0
"""How long a cluster's scheduler is waited for."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A field of the scenario, as a dotted path, and the values it takes."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration of the grid."""

    values: tuple[Any, ...]
    """One per axis."""
    scenario: Scenario


Axes = Sequence[Axis] | Mapping[str, Sequence[Any]]
"""What is varied: axes, or simply fields with their values."""


def grid(scenario: Scenario, axes: Axes) -> list[Point]:
    """Every combination of the axes' values, the last axis fastest. Raises InputError before anything runs."""
    axes = _as_axes(axes)
    fields = [axis.field for axis in axes]
    if doubled := next((field for field in fields if fields.count(field) > 1), None):
        raise InputError(f"{doubled} is swept twice; give all its values in one --over")
    if empty := next((axis.field for axis in axes if not axis.values), None):
        raise InputError(f"{empty} has no values; expected --over {empty}=A,B,C")
    combinations = itertools.product(*(axis.values for axis in axes))
    return [Point(values, scenario.with_(dict(zip(fields, values, strict=True)))) for values in combinations]


def sweep(
    scenario: Scenario,
    axes: Axes,
    *,
    calibration: Calibration | None = None,
    threads: int = 1,
    cluster: str | None = None,
    replications: int = 1,
    on_point: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Simulate every point of the grid, in this thread, on several `threads`, or on a Dask `cluster`.

    Returns one row per point: a column per axis (named by its path), then the columns of `figures`; the same table
    however the points were computed. With several `replications`, each under the same seeds at every point, the
    columns of `model.planning.replicated.aggregated` instead. `cluster` is the address of a scheduler whose workers
    have feedtwin installed. `on_point` is told (simulations done, simulations in all) before the first and while some
    are left. Raises InputError for a value that the scenario does not allow, MachineError for a cluster that does not
    answer.
    """
    if replications < 1:
        raise InputError(f"replications is {replications}; it must be at least 1")
    axes = _as_axes(axes)
    points = grid(scenario, axes)
    work = [_replica(point.scenario, number) for point in points for number in range(replications)]
    results: dict[int, dict[str, Any]] = {}
    if on_point is not None:
        on_point(0, len(work))
    for number, row in _computed(work, calibration, threads=threads, cluster=cluster):
        results[number] = row
        if on_point is not None and len(results) < len(work):
            on_point(len(results), len(work))
    if replications == 1:
        found = [results[number] for number in range(len(points))]
    else:
        ordered = [results[number] for number in range(len(work))]
        found = aggregated([ordered[at : at + replications] for at in range(0, len(ordered), replications)])
    rows = [
        {**{axis.field: _cell(value) for axis, value in zip(axes, point.values, strict=True)}, **row}
        for point, row in zip(points, found, strict=True)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _replica(scenario: Scenario, number: int) -> Scenario:
    return scenario.model_copy(update={"seed": replication_seed(scenario.seed, number)})


def _as_axes(axes: Axes) -> list[Axis]:
    if isinstance(axes, Mapping):
        return [Axis(field, tuple(values)) for field, values in axes.items()]
    return list(axes)


def _computed(
    scenarios: Sequence[Scenario], calibration: Calibration | None, *, threads: int, cluster: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The figures of each scenario with its number, as they are done."""
    work = partial(_figures_of, calibration=calibration)
    if cluster is not None:
        yield from _on_cluster(scenarios, work, cluster)
    elif threads > 1:
        # The data plane runs without the interpreter's lock, so that threads are enough.
        with ThreadPoolExecutor(threads, thread_name_prefix="sweep") as pool:
            futures = {pool.submit(work, each): number for number, each in enumerate(scenarios)}
            try:
                for future in as_threads_complete(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    else:
        for number, each in enumerate(scenarios):
            yield number, work(each)


def _on_cluster(
    scenarios: Sequence[Scenario], work: Callable[[Scenario], dict[str, Any]], address: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    require("cluster", purpose="a sweep on a cluster")
    from distributed import Client, as_completed

    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise MachineError(f"cluster {address}: the scheduler cannot be reached ({error})") from None
    with client:
        futures = {client.submit(work, each, pure=False): number for number, each in enumerate(scenarios)}
        for future in as_completed(list(futures), loop=client.loop):  # type: ignore[no-untyped-call]
            yield futures[future], future.result()


def _figures_of(scenario: Scenario, calibration: Calibration | None) -> dict[str, Any]:
    from model.platform import simulate

    return figures(simulate(scenario, calibration))


def figures(run: Run) -> dict[str, Any]:
    """The figures of a run that a decision needs; None where too little was seen.

    ``<endpoint>_mean_ms``, ``_p50_ms``, ``_p95_ms``, ``_p99_ms``; ``delivery_p50_s``, ``delivery_p99_s``;
    ``replica_lag_p99_s``; ``timeline_hit_ratio``; ``backend_utilisation`` and ``<process>_utilisation`` (of one core);
    ``cpu_ms_per_request``, all of the backend's CPU time over the requests it answered; ``cost_per_h`` in the
    scenario's currency; ``slos_met``, None where none is stated; ``mser5_s``, where the warm-up ends by MSER-5;
    ``valid``, false where the run had no steady state: latencies and lags are then None.
    """
    row: dict[str, Any] = {
        "offered_per_s": run.offered_per_s,
        "achieved_per_s": run.achieved_per_s,
        "failed": run.n_failed,
    }
    stationary = run.validity.stationary
    for endpoint in Endpoint:
        latency = run.latency(endpoint) if stationary else Histogram()
        row[f"{endpoint.value}_mean_ms"] = latency.mean_s * 1e3 if latency.n else None
        for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            value_s = _quantile(latency, q)
            row[f"{endpoint.value}_{name}_ms"] = None if value_s is None else value_s * 1e3
    delivery, replica = (run.lag("delivery"), run.lag("replica")) if stationary else (Histogram(), Histogram())
    shares = run.utilisation
    utilisation = shares.get("backend")
    slos = slo_results(run)
    row |= {
        "delivery_p50_s": _quantile(delivery, 0.5),
        "delivery_p99_s": _quantile(delivery, 0.99),
        "replica_lag_p99_s": _quantile(replica, 0.99),
        "timeline_hit_ratio": run.hit_ratio,
        "backend_utilisation": utilisation,
        **{f"{process.value}_utilisation": shares.get(process.value) for process in Process},
        "cpu_ms_per_request": 1e3 * utilisation / run.achieved_per_s if utilisation and run.achieved_per_s else None,
        "cost_per_h": cost_per_h(run.scenario),
        "slos_met": stationary and all(slo.met for slo in slos) if slos else None,
        "mser5_s": warmup_of(run).mser_s if run.scenario.is_steady else None,
        "valid": run.validity.valid,
    }
    return row


def cost_per_h(scenario: Scenario) -> float:
    """The price of the platform per hour, in the scenario's currency; a cluster's cache servers cost as Redis shards,
    its post and graph processes as PostgreSQL servers."""
    platform, cost = scenario.platform, scenario.cost
    if platform.kind == "cluster":
        cluster = platform.cluster
        return (
            cluster.api_processes * cost.api_process_per_h
            + cluster.cache_shards * cluster.cache_replicas * cost.redis_shard_per_h
            + (cluster.post_processes + cluster.graph_processes) * cost.postgres_server_per_h
            + cluster.workers * cost.worker_process_per_h
        )
    return (
        platform.api.processes * cost.api_process_per_h
        + platform.redis.shards * cost.redis_shard_per_h
        + (1 + platform.postgres.standbys) * cost.postgres_server_per_h
        + platform.workers.processes * cost.worker_process_per_h
    )


def _quantile(histogram: Histogram, q: float) -> float | None:
    return histogram.quantile(q) if histogram.tail_count(q) >= MIN_TAIL else None


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)
