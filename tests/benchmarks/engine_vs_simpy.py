"""How many requests a second the engine serves, against one SimPy process per request over the same path.

    python -m tests.benchmarks.engine_vs_simpy [--json]

The reference path: network, API loop, Redis, API loop, Redis, API loop, network, over 200 API processes and 64 shards,
chosen by keys that follow Zipf's law; all times lognormal with sigma 0.5. Both sides get the same arrivals and keys,
run in turn on the same core, and must process exactly the events that the path implies.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.plant import Plant
from model.engine.program import delay, serve
from model.engine.tables import lognormal_from_mean_cv
from model.rng import generator

RATE_PER_S = 20_000.0
KEYS = 1_000_000
APIS = 200
SHARDS = 64
SIGMA = 0.5
CV = math.sqrt(math.expm1(SIGMA**2))
NETWORK_MS = 1.0
VISITS = (
    ("api", "receive", 0.15),
    ("redis", "read", 0.05),
    ("api", "merge", 0.1),
    ("redis", "get", 0.08),
    ("api", "respond", 0.2),
)
"""Station, step, median service time in ms."""

EVENTS_PER_REQUEST = 8
"""The arrival, two delays, five services."""
SIMPY_EVENTS_PER_REQUEST = 20
"""The source's timeout, a process's start and end, seven timeouts, five requests and five releases of a resource."""
BLOCK = 1 << 16


@dataclass(frozen=True)
class Requests:
    """Arrivals: times in ns and keys, int64 [n] each; as blocks they are what a DataPlane reads."""

    ordinal: int
    time_ns: npt.NDArray[np.int64]
    endpoint: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]

    def blocks(self) -> Iterator[Requests]:
        for first in range(0, len(self.time_ns), BLOCK):
            part = slice(first, first + BLOCK)
            yield Requests(first, self.time_ns[part], self.endpoint[part], self.user[part], self.target[part])


def requests(count: int, seed: int = 1) -> Requests:
    """`count` Poisson arrivals whose keys follow Zipf's law with exponent 1 over `KEYS` keys."""
    random = generator(seed, "benchmark")
    times = np.cumsum(random.exponential(1e9 / RATE_PER_S, count)).astype(np.int64)
    weights = np.cumsum(1.0 / np.arange(1, KEYS + 1))
    keys = 1 + np.searchsorted(weights, random.random(count) * weights[-1])
    zeros = np.zeros(count, np.int64)
    return Requests(0, times, zeros, keys, zeros)


def reference_plant() -> Plant:
    """The reference path for the engine: nothing but what a user of the engine can declare."""
    plant = Plant()
    scale = math.exp(SIGMA**2 / 2)  # from a median to a mean
    for _, step, median_ms in VISITS:
        plant.step(step, median_ms * 1e-3 * scale, cv=CV)
    plant.wait("network", lognormal_from_mean_cv(NETWORK_MS * 1e6 * scale, CV))
    plant.fifo("api", APIS, selector=c.SEL_KEY)
    plant.fifo("redis", SHARDS, selector=c.SEL_KEY)
    visits = [serve(step, on=station) for station, step, _ in VISITS]
    plant.endpoints.append([delay("network"), *visits, delay("network")])
    return plant


@dataclass(frozen=True)
class Outcome:
    requests: int
    events: int
    mean_ms: float
    seconds: float

    @property
    def rate_per_s(self) -> float:
        return self.requests / self.seconds


def run_engine(load: Requests) -> Outcome:
    """The full engine, with its log of every request."""
    rows: list[npt.NDArray[np.int64]] = []
    plane = DataPlane(reference_plant(), 1, blocks=load.blocks(), on_log=rows.append)
    started = time.perf_counter()
    plane.advance(1 << 61)
    plane.drain()
    seconds = time.perf_counter() - started
    latencies = np.concatenate([part[:, c.L_VALUE] for part in rows])
    return Outcome(len(latencies), plane.scalar(c.X_EVENTS), float(latencies.mean()) / 1e6, seconds)


def run_simpy(load: Requests) -> Outcome:
    """One SimPy process per request."""
    random = np.random.Generator(np.random.Philox(1))
    env = simpy.Environment()
    stations = {
        "api": [simpy.Resource(env, 1) for _ in range(APIS)], "redis": [simpy.Resource(env, 1) for _ in range(SHARDS)]
    }  # fmt: skip
    network = math.log(NETWORK_MS * 1e-3)
    visits = [(stations[station], math.log(median_ms * 1e-3)) for station, _, median_ms in VISITS]
    latencies: list[float] = []

    def request(key: int) -> Generator[simpy.Event, Any, None]:
        arrived = env.now
        yield env.timeout(random.lognormal(network, SIGMA))
        for group, mu in visits:
            station = group[((key * 2654435761) >> 7) % len(group)]
            with station.request() as turn:
                yield turn
                yield env.timeout(random.lognormal(mu, SIGMA))
        yield env.timeout(random.lognormal(network, SIGMA))
        latencies.append(env.now - arrived)

    def source() -> Generator[simpy.Event, Any, None]:
        for gap, key in zip(gaps, keys, strict=True):
            yield env.timeout(gap)
            env.process(request(key))

    gaps = (np.diff(load.time_ns, prepend=0) / 1e9).tolist()
    keys = load.user.tolist()
    env.process(source())
    started = time.perf_counter()
    env.run()
    seconds = time.perf_counter() - started
    # The event ids count up from 0; the source's own start and end are not a request's.
    return Outcome(len(latencies), next(env._eid) - 2, float(np.mean(latencies)) * 1e3, seconds)


def compare(engine_requests: int, simpy_requests: int, repeats: int) -> dict[str, Any]:
    """Both sides in turn; medians. Raises AssertionError where a side has not done its work."""
    load = requests(max(engine_requests, simpy_requests))
    small = Requests(0, *(column[:simpy_requests] for column in (load.time_ns, load.endpoint, load.user, load.target)))
    run_engine(small)  # compiles
    pairs = [(run_engine(load), run_simpy(small)) for _ in range(repeats)]
    for engine, plain in pairs:
        assert (engine.requests, engine.events) == (engine_requests, EVENTS_PER_REQUEST * engine_requests), engine
        assert (plain.requests, plain.events) == (simpy_requests, SIMPY_EVENTS_PER_REQUEST * simpy_requests), plain
    engine_rate = statistics.median(engine.rate_per_s for engine, _ in pairs)
    simpy_rate = statistics.median(plain.rate_per_s for _, plain in pairs)
    return {
        "feedtwin_requests_per_s": engine_rate,
        "simpy_requests_per_s": simpy_rate,
        "ratio": statistics.median(engine.rate_per_s / plain.rate_per_s for engine, plain in pairs),
        "events": pairs[0][0].events,
        "events_per_s": EVENTS_PER_REQUEST * engine_rate,
        "mean_ms": {"feedtwin": pairs[0][0].mean_ms, "simpy": pairs[0][1].mean_ms},
        "repeats": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The compiled engine against one SimPy process per request.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--requests", type=int, default=500_000, help="requests that the engine serves per repetition")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    found = compare(arguments.requests, min(20_000, arguments.requests), arguments.repeats)
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    sys.stdout.write(
        f"feedtwin {found['feedtwin_requests_per_s']:>12,.0f} requests/s, {found['events_per_s']:,.0f} events/s\n"
        f"SimPy    {found['simpy_requests_per_s']:>12,.0f} requests/s\n"
        f"ratio    {found['ratio']:>12.1f}\n"
    )


if __name__ == "__main__":
    main()
