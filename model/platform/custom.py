"""Any platform, not only the feed: declare a Plant, give it a load, read what happened."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import simpy

from model.engine import layout as c
from model.engine.dataplane import DataPlane, trace_mask
from model.engine.effects import E_ITEMS, SPREAD_EACH
from model.engine.environment import NS_PER_S, Environment
from model.engine.plant import Plant
from model.engine.program import LONGEST_S
from model.engine.running import Running
from model.platform.stationarity import LoadWatch, growth
from model.runs.histogram import N_BUCKETS, Histogram, bucket_indices
from model.runs.run import OUTCOMES
from model.runs.sums import KeyedSums
from model.spec import InputError
from model.workload.open_load import OpenLoad

SAMPLE_INTERVAL_S = 0.25
MOST_SHARDS = 1_000
DRAIN_LIMIT_S = 30.0
"""How long after the last arrival the run waits for requests under way."""
Process = Callable[[Environment, Running], Generator[simpy.Event, Any, Any]]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlantRun:
    """What happened after the warm-up. Its size does not grow with the number of requests."""

    duration_s: float
    warmup_s: float
    endpoints: tuple[str, ...]
    histograms: Mapping[str, Histogram]
    outcomes: pl.DataFrame
    """endpoint, outcome, requests."""
    gauges: pl.DataFrame
    """time_s, gauge (utilisation, queue_length of each group, in_flight), label, value; every `SAMPLE_INTERVAL_S`."""
    steps: pl.DataFrame
    """step, visits, residence_s (mean, from arrival at the station to departure): the whole run."""
    traces: pl.DataFrame
    """ordinal, endpoint, step, branch, begin_s, residence_s: where some requests were, and for how long."""
    hit_ratios: Mapping[str, float]
    events: int
    trouble: str
    """Why there is no steady state to report, and what saturates; empty where nothing piled up."""

    def latency(self, endpoint: str | None = None) -> Histogram:
        """Latencies of the answered requests to one endpoint (None: all). Raises InputError for an unknown one."""
        names = self.endpoints if endpoint is None else (endpoint,)
        if endpoint is not None and endpoint not in self.endpoints:
            raise InputError(f"endpoint is {endpoint!r}; allowed: {', '.join(self.endpoints)}")
        chosen = [self.histograms[name] for name in names]
        counts = np.sum([histogram.counts for histogram in chosen], axis=0)
        return Histogram(counts, sum(histogram.sum_ns for histogram in chosen))

    def count(self, outcome: str = "ok", endpoint: str | None = None) -> int:
        """Requests that ended so: "ok", "missing", "timeout" or "rejected". Raises InputError for another word."""
        if outcome not in OUTCOMES:
            raise InputError(f"outcome is {outcome!r}; allowed: {', '.join(OUTCOMES)}")
        if endpoint is not None and endpoint not in self.endpoints:
            raise InputError(f"endpoint is {endpoint!r}; allowed: {', '.join(self.endpoints)}")
        rows = self.outcomes.filter(pl.col("outcome") == outcome)
        if endpoint is not None:
            rows = rows.filter(pl.col("endpoint") == endpoint)
        return int(rows["requests"].sum())

    def throughput_per_s(self, endpoint: str | None = None) -> float:
        """Answered requests per second, by when they arrived."""
        return self.count("ok", endpoint) / (self.duration_s - self.warmup_s)

    def gauge(self, name: str, label: str = "") -> pl.DataFrame:
        """Samples of a gauge: time_s, value. Raises InputError for one that is not there."""
        rows = self.gauges.filter((pl.col("gauge") == name) & (pl.col("label") == label))
        if rows.is_empty():
            there = self.gauges.filter(pl.col("gauge") == name)["label"].unique(maintain_order=True).to_list()
            raise InputError(f"gauge {name!r} of {label!r} is not there; there are: {', '.join(there) or 'none'}")
        return rows.select("time_s", "value").sort("time_s")

    def utilisation(self, group: str) -> float:
        """Mean share of the servers of a group, or for processes per visit of their host's cores, that were busy after
        the warm-up. A service counts from its beginning on."""
        rows = self.gauge("utilisation", group).filter(pl.col("time_s") > self.warmup_s)
        mean = rows["value"].mean()
        return float(mean) if isinstance(mean, float) else float("nan")


def simulate_plant(
    plant: Plant,
    load: OpenLoad,
    *,
    duration_s: float,
    warmup_s: float = 0.0,
    seed: int = 1,
    processes: Sequence[Process] = (),
    time_limit_s: float = 0.0,
    shards: int = 1,
) -> PlantRun:
    """Send `load` to the platform for `duration_s`, let it finish, and return what happened.

    `processes` are SimPy process functions ``def process(env, platform)``; `time_limit_s` is the clients' (0: none);
    ``scatter(SPREAD_EACH, branch)`` starts a branch on each of `shards`, which a group's selector SEL_SHARD goes by.
    The Plant is not changed and may be run again. Raises InputError for a platform that makes no sense.
    """
    if not 0 <= warmup_s < duration_s:
        raise InputError(f"warmup_s is {warmup_s} and duration_s {duration_s}; it must be shorter, and not negative")
    if duration_s > LONGEST_S:
        raise InputError(f"duration_s is {duration_s}; it must be at most {LONGEST_S:g}")
    if not 0 <= seed < 1 << 64:
        raise InputError(f"seed is {seed}; it must not be negative, nor above 2^64 - 1")
    if not 0 <= time_limit_s <= LONGEST_S:
        raise InputError(f"time_limit_s is {time_limit_s}; it must be from 0 to {LONGEST_S:g}")
    if not 1 <= shards <= MOST_SHARDS:
        raise InputError(f"shards is {shards}; it must be from 1 to {MOST_SHARDS}")
    if not plant.endpoints:
        raise InputError("the platform has no endpoint: declare one with Plant.endpoint(name, path)")
    names = [*plant.endpoint_names, *(f"endpoint{i}" for i in range(len(plant.endpoint_names), len(plant.endpoints)))]
    expected = sum(load.rates_per_s.values()) * duration_s
    recorder = _Recorder(len(names), round(warmup_s * NS_PER_S))
    plane = DataPlane(
        plant,
        seed,
        blocks=load.blocks(names, seed, duration_s),
        on_log=recorder.take,
        shards=shards,
        settings={c.SET_TIMEOUT_NS: round(time_limit_s * NS_PER_S), c.SET_TRACE_MASK: trace_mask(expected)},
    )
    _require_no_data(plane)
    platform = Running(plane)
    env = Environment(plane)
    sampler = _Sampler(plant)
    env.process(sampler.sample(env, platform, duration_s))
    watch = LoadWatch(plane, warmup_s, duration_s, SAMPLE_INTERVAL_S)
    env.process(watch.process(env))
    for process in processes:
        env.process(process(env, platform))
    env.run(until=duration_s)
    while platform.in_flight and env.now < duration_s + DRAIN_LIMIT_S:
        env.run(until=env.now + 1.0)
    plane.drain()
    return PlantRun(
        duration_s=duration_s,
        warmup_s=warmup_s,
        endpoints=tuple(names),
        histograms={name: recorder.histogram(code) for code, name in enumerate(names)},
        outcomes=recorder.outcomes(names),
        gauges=sampler.table(),
        steps=_steps(plane),
        traces=recorder.traces(names, plane.labels),
        hit_ratios={name: platform.cache(name).hit_ratio for name in plant.caches},
        events=plane.scalar(c.X_EVENTS),
        trouble=_trouble(platform, watch, steady=not processes),
    )


def _require_no_data(plane: DataPlane) -> None:
    """Raise InputError for effects on the data of a feed, which a platform of one's own does not have."""
    for code, which, *_ in plane.state.program:
        if (code == c.OP_EFFECT and which != E_ITEMS) or (code == c.OP_SCATTER and which != SPREAD_EACH):
            raise InputError("a path uses data of the feed; the effect E_ITEMS and the spread SPREAD_EACH need none")


def _trouble(platform: Running, watch: LoadWatch, *, steady: bool) -> str:
    if platform.in_flight:
        piled_up = f"{platform.in_flight} requests were unanswered {DRAIN_LIMIT_S:g} s after the last arrival"
    elif steady and (grown := growth(watch.backlog)):
        piled_up = f"requests in flight grew from {grown[0]:.0f} to {grown[1]:.0f}"
    elif steady and (overload := watch.overload()):
        piled_up = overload
    else:
        return ""
    return f"{piled_up}; what saturates: {watch.bottleneck()}"


class _Recorder:
    """Counts what the data plane logs."""

    def __init__(self, endpoints: int, from_ns: int) -> None:
        self._from_ns = from_ns
        self._counts = KeyedSums(1)
        self._sums_ns = np.zeros(endpoints, np.int64)
        self._outcomes = np.zeros((endpoints, len(OUTCOMES)), np.int64)
        self._steps: list[IntArray] = []
        self._endpoint_of: dict[int, int] = {}

    def take(self, rows: IntArray) -> None:
        steps = rows[rows[:, c.L_KIND] == c.LOG_STEP]
        if len(steps):
            self._steps.append(steps)
        requests = rows[(rows[:, c.L_KIND] == c.LOG_REQUEST) & (rows[:, c.L_TIME] >= self._from_ns)]
        endpoint, outcome, latency = requests[:, c.L_LABEL], requests[:, c.L_WEIGHT], requests[:, c.L_VALUE]
        np.add.at(self._outcomes, (endpoint, outcome), 1)
        ok = outcome == 0
        np.add.at(self._sums_ns, endpoint[ok], latency[ok])
        self._counts.add(endpoint[ok] * N_BUCKETS + bucket_indices(latency[ok]), 1)
        if self._steps:
            traced = np.isin(requests[:, c.L_ORDINAL], np.unique(np.concatenate(self._steps)[:, c.L_ORDINAL]))
            self._endpoint_of.update(
                zip(requests[traced, c.L_ORDINAL].tolist(), endpoint[traced].tolist(), strict=True)
            )

    def histogram(self, endpoint: int) -> Histogram:
        keys, counts = self._counts.collect()
        own = keys // N_BUCKETS == endpoint
        return Histogram.from_buckets(keys[own] % N_BUCKETS, counts[own, 0], int(self._sums_ns[endpoint]))

    def outcomes(self, names: Sequence[str]) -> pl.DataFrame:
        rows = [
            (names[endpoint], OUTCOMES[outcome], int(self._outcomes[endpoint, outcome]))
            for endpoint, outcome in np.argwhere(self._outcomes).tolist()
        ]
        schema = {"endpoint": pl.String, "outcome": pl.String, "requests": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def traces(self, names: Sequence[str], labels: Mapping[int, str]) -> pl.DataFrame:
        rows = np.concatenate(self._steps) if self._steps else np.zeros((0, c.LOG_COLUMNS), np.int64)
        rows = rows[np.isin(rows[:, c.L_ORDINAL], np.array(list(self._endpoint_of), np.int64))]
        ordinals = rows[:, c.L_ORDINAL].tolist()
        return pl.DataFrame(
            {
                "ordinal": ordinals,
                "endpoint": [names[self._endpoint_of[ordinal]] for ordinal in ordinals],
                "step": [labels[row] for row in rows[:, c.L_LABEL].tolist()],
                "branch": rows[:, c.L_WEIGHT],
                "begin_s": rows[:, c.L_TIME] / NS_PER_S,
                "residence_s": rows[:, c.L_VALUE] / NS_PER_S,
            },
            schema_overrides={"ordinal": pl.Int64, "endpoint": pl.String, "step": pl.String},
        ).sort("ordinal", "begin_s", maintain_order=True)


class _Sampler:
    """Reads utilisations and queues every so often; it changes nothing."""

    def __init__(self, plant: Plant) -> None:
        self._groups = {
            name: list(range(group.first, group.first + group.size))
            for name, group in plant.groups.items()
            if all(plant.stations[row][c.S_KIND] != c.K_BATCH for row in range(group.first, group.first + group.size))
        }
        self._rows: list[tuple[float, str, str, float]] = []

    def sample(self, env: Environment, platform: Running, until_s: float) -> Generator[simpy.Event, Any, None]:
        before = dict.fromkeys(self._groups, 0.0)
        while True:
            stations = platform.plane.state.stations
            self._rows.append((env.now, "in_flight", "", float(platform.in_flight)))
            for name, rows in self._groups.items():
                pool = stations[rows[0], c.S_KIND] == c.K_POOL
                servers = sum(self._capacity(platform, row) for row in rows)
                if pool:
                    share = stations[rows, c.S_BUSY].sum() / servers
                else:
                    busy = float(stations[rows, c.S_BUSY_NS].sum())
                    share = (busy - before[name]) / (SAMPLE_INTERVAL_S * NS_PER_S * servers)
                    before[name] = busy
                if env.now > 0:
                    self._rows.append((env.now, "utilisation", name, float(share)))
                self._rows.append((env.now, "queue_length", name, float(stations[rows, c.S_LENGTH].sum())))
            if env.now >= until_s:
                return
            yield env.timeout(SAMPLE_INTERVAL_S)

    @staticmethod
    def _capacity(platform: Running, row: int) -> int:
        station = platform.plane.state.stations[row]
        return int(
            platform.plane.plant.hosts[station[c.S_HOST]] if station[c.S_KIND] == c.K_MULTI else station[c.S_SERVERS]
        )

    def table(self) -> pl.DataFrame:
        schema = {"time_s": pl.Float64, "gauge": pl.String, "label": pl.String, "value": pl.Float64}
        return pl.DataFrame(self._rows, schema=schema, orient="row")


def _steps(plane: DataPlane) -> pl.DataFrame:
    visits = plane.state.visits
    return pl.DataFrame(
        {
            "step": plane.plant.step_names,
            "visits": visits[:, 0],
            "residence_s": visits[:, 2] / np.maximum(visits[:, 0], 1) / NS_PER_S,
        },
        schema_overrides={"step": pl.String},
    )
