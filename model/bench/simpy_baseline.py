"""The baseline: the same requests over the same paths, with one SimPy process per request."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy

from model.bench.load import Requests
from model.bench.reference_path import (
    APIS,
    NETWORK_MS,
    QUEUE_SERVERS,
    QUEUE_SERVICE_S,
    SHARDS,
    SIGMA,
    VISITS,
    Outcome,
)  # fmt: skip

EVENTS_PER_REQUEST = 20
"""The source's timeout, a process's start and end, seven timeouts, five requests and five releases of a resource."""
MMC_EVENTS_PER_REQUEST = 6
"""The source's timeout, a process's start and end, one timeout, one request and one release."""
Steps = Generator[simpy.Event, Any, None]


def run_reference_path(load: Requests) -> Outcome:
    """The path of `model.bench.reference_path.reference_plant`."""
    random = np.random.Generator(np.random.Philox(1))
    env = simpy.Environment()
    stations = {
        "api": [simpy.Resource(env, 1) for _ in range(APIS)], "redis": [simpy.Resource(env, 1) for _ in range(SHARDS)]
    }  # fmt: skip
    network = math.log(NETWORK_MS * 1e-3)
    visits = [(stations[station], math.log(median_ms * 1e-3)) for station, _, median_ms in VISITS]

    def request(key: int, done: Callable[[float], None]) -> Steps:
        arrived = env.now
        yield env.timeout(random.lognormal(network, SIGMA))
        for group, mu in visits:
            station = group[((key * 2654435761) >> 7) % len(group)]
            with station.request() as turn:
                yield turn
                yield env.timeout(random.lognormal(mu, SIGMA))
        yield env.timeout(random.lognormal(network, SIGMA))
        done(env.now - arrived)

    return _run(env, load, request)


def run_mmc(load: Requests) -> Outcome:
    """The queue of `model.bench.reference_path.mmc_plant`."""
    random = np.random.Generator(np.random.Philox(1))
    env = simpy.Environment()
    station = simpy.Resource(env, QUEUE_SERVERS)

    def request(_: int, done: Callable[[float], None]) -> Steps:
        arrived = env.now
        with station.request() as turn:
            yield turn
            yield env.timeout(random.exponential(QUEUE_SERVICE_S))
        done(env.now - arrived)

    return _run(env, load, request)


def _run(env: simpy.Environment, load: Requests, request: Callable[[int, Callable[[float], None]], Steps]) -> Outcome:
    gaps_s = (np.diff(load.time_ns, prepend=0) / 1e9).tolist()
    keys = load.user.tolist()
    latencies: list[float] = []

    def source() -> Steps:
        for gap, key in zip(gaps_s, keys, strict=True):
            yield env.timeout(gap)
            env.process(request(key, latencies.append))

    env.process(source())
    started = time.perf_counter()
    env.run()
    seconds = time.perf_counter() - started
    # The event ids count up from 0; the source's own start and end are not a request's.
    return Outcome(len(latencies), next(env._eid) - 2, float(np.mean(latencies)) * 1e3, seconds)
