"""The reference path for the engine: network, API loop, Redis, API loop, Redis, API loop, network.

200 API processes and 64 shards, chosen by keys that follow Zipf's law over ten million; all times lognormal with sigma
0.5. Nothing here but what a user of the engine can declare, and the engine runs as it always does, with its log.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.bench.load import Requests
from model.engine import effects as e
from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.plant import Plant
from model.engine.program import Attempt, Lookup, Path, Store, delay, scatter, serve, when
from model.engine.tables import lognormal_from_mean_cv

RATE_PER_S = 20_000.0
KEYS = 10_000_000
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
HOST_CORES = 16
CACHED_KEYS = 100_000
TIME_LIMIT_S = 1.0
SCATTERED_SHARDS = 8
QUEUE_SERVERS = 4
QUEUE_LOAD = 0.8
QUEUE_SERVICE_S = 1e-3
END_NS = 1 << 61


@dataclass(frozen=True)
class Outcome:
    """What one run did, and how long that took."""

    requests: int
    events: int
    mean_ms: float
    seconds: float

    @property
    def rate_per_s(self) -> float:
        return self.requests / self.seconds


def _declared(servers: int = 1, *, shared: bool = False) -> tuple[Plant, Path, Path]:
    """A plant with the steps, the stations and the network; the visits, and the journey before and after them."""
    plant = Plant()
    scale = math.exp(SIGMA**2 / 2)  # from a median to a mean
    for _, step, median_ms in VISITS:
        plant.step(step, median_ms * 1e-3 * scale, cv=CV)
    plant.wait("network", lognormal_from_mean_cv(NETWORK_MS * 1e6 * scale, CV))
    if shared:
        plant.host("machine", HOST_CORES, discipline="sharing")
        plant.loop("api", host="machine", wake_s=0.0, poll_s=0.0, count=APIS, selector=c.SEL_KEY)
    else:
        plant.fifo("api", APIS, servers=servers, selector=c.SEL_KEY)
    plant.fifo("redis", SHARDS, servers=servers, selector=c.SEL_KEY)
    return plant, tuple(serve(step, on=station) for station, step, _ in VISITS), (delay("network"),)


def reference_plant(servers: int = 1) -> Plant:
    """The path and nothing else, with so many servers at each station."""
    plant, visits, network = _declared(servers)
    plant.endpoint("request", (*network, *visits, *network))
    return plant


def on_shared_host() -> Plant:
    """The API processes share the cores of one host."""
    plant, visits, network = _declared(shared=True)
    plant.endpoint("request", (*network, *visits, *network))
    return plant


def with_cache() -> Plant:
    """The second visit to Redis only where a local LRU cache misses."""
    plant, visits, network = _declared()
    plant.cache("local", CACHED_KEYS)
    look = (Lookup("local"), when((visits[3], Store("local"))))
    plant.endpoint("request", (*network, *visits[:3], *look, visits[4], *network))
    return plant


def with_time_limit() -> Plant:
    """The whole path as an attempt with a time limit that is rarely reached."""
    plant, visits, network = _declared()
    plant.endpoint("request", (Attempt((*network, *visits, *network), timeout_s=TIME_LIMIT_S),))
    return plant


def with_scatter() -> Plant:
    """The second visit to Redis goes to eight shards at a time, and waits for the slowest."""
    plant, visits, network = _declared()
    plant.alias("each", "redis", 0, c.SEL_SHARD)
    gather = scatter(e.SPREAD_EACH, [serve("get", on="each")])
    plant.endpoint("request", (*network, *visits[:3], gather, visits[4], *network))
    return plant


@dataclass(frozen=True)
class Feature:
    """A variant of the reference path: what is declared, and the events that a request then has (None: it depends)."""

    plant: Callable[[], Plant]
    events: int | None
    shards: int = 1


FEATURES = {
    "shared_host": Feature(on_shared_host, None),
    "cache": Feature(with_cache, None),
    "timeout": Feature(with_time_limit, EVENTS_PER_REQUEST + 1),  # the deadline, which comes later than the answer
    "scatter_gather": Feature(with_scatter, EVENTS_PER_REQUEST - 1 + SCATTERED_SHARDS, SCATTERED_SHARDS),
}


def mmc_plant() -> Plant:
    """M/M/c: `QUEUE_SERVERS` servers, exponential service."""
    plant = Plant()
    plant.step("work", QUEUE_SERVICE_S, cv=1.0, law="exponential")
    plant.fifo("station", servers=QUEUE_SERVERS)
    plant.endpoint("request", (serve("work", on="station"),))
    return plant


MMC_RATE_PER_S = QUEUE_LOAD * QUEUE_SERVERS / QUEUE_SERVICE_S
MMC_EVENTS_PER_REQUEST = 2
"""The arrival and the end of the service."""


def run_engine(plant: Plant, load: Requests, *, shards: int = 1) -> Outcome:
    """The full engine, with its log of every request."""
    latency_ns: list[npt.NDArray[np.int64]] = []
    plane = DataPlane(
        plant, 1, blocks=load.blocks(), on_log=lambda rows: latency_ns.append(rows[:, c.L_VALUE]), shards=shards
    )
    started = time.perf_counter()
    plane.advance(END_NS)
    plane.drain()
    seconds = time.perf_counter() - started
    latencies = np.concatenate(latency_ns)
    return Outcome(len(latencies), plane.scalar(c.X_EVENTS), float(latencies.mean()) / 1e6, seconds)
