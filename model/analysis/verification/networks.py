"""Several stations: open and closed networks, a loss system, and Little's law.

A path has no coin to toss. But routing by probabilities is the same as classes of customers with a fixed route each,
arriving in the proportions in which the routes occur; and such a network of exponential first-come-first-served
stations has the same product form (Kelly 1975). So a route is an endpoint here. A draw is keyed by step and request, so
each visit of a route is a step of its own: a request that comes back draws anew.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import simpy

from model.analysis import queueing
from model.analysis.verification.bench import NS_PER_S, WARM_SHARE, Bench, Check, FloatArray
from model.analysis.verification.quantities import Quantity
from model.analysis.verification.sections import SECTIONS, half_width, ratio, sectioned
from model.analysis.verification.stations import REQUESTS, exponential_is_off
from model.engine import layout as c
from model.engine.dataplane import DataPlane, Sessions
from model.engine.environment import Environment
from model.engine.plant import Plant
from model.engine.program import Acquire, Fail, Part, Release, serve, when
from model.rng import generator

# An open network with branching and feedback

STATIONS = ("front", "left", "right")
SERVICES_S = (0.5e-3, 1.0e-3, 2.4e-3)
SERVERS = (1, 1, 2)
ROUTING = ((0.0, 0.6, 0.4), (0.3, 0.0, 0.0), (0.0, 0.0, 0.0))
"""From the front to the left or the right; from the left back to the front, or out; from the right out."""
EXTERNAL_PER_S = 1_000.0
MOST_RETURNS = 9
"""Of a route: longer ones, one in ten million, are cut off."""


def routes() -> list[tuple[float, tuple[int, ...]]]:
    """Every route through the network with its probability."""
    (_, left, right), (back, _, _), _ = ROUTING
    found = []
    before: tuple[int, ...] = ()
    reached = 1.0
    for returns in range(MOST_RETURNS + 1):
        last = returns == MOST_RETURNS
        found.append((reached * left * (1.0 if last else 1 - back), (*before, 0, 1)))
        found.append((reached * right, (*before, 0, 2)))
        before, reached = (*before, 0, 1), reached * left * back
    return found


def network() -> Plant:
    """The network: one endpoint per route."""
    plant = Plant()
    for name, servers in zip(STATIONS, SERVERS, strict=True):
        plant.fifo(name, servers=servers)
    for _, route in routes():
        path: list[Part] = []
        for visit, station in enumerate(route):
            step = f"{STATIONS[station]} {visit}"
            if step not in plant.step_rows:
                plant.step(step, SERVICES_S[station], law="exponential")
            path.append(serve(step, on=STATIONS[station]))
        plant.endpoints.append(tuple(path))
    return plant


def _rows_of(plant: Plant, station: str) -> list[int]:
    return [row for step, row in plant.step_rows.items() if step.split()[0] == station]


def _open_network(bench: Bench, most: Sequence[float]) -> list[Quantity]:
    plant, shares = network(), [share for share, _ in routes()]
    requests = REQUESTS // 2
    plane = bench.plane(plant, bench.poisson("network", rate_per_s=EXTERNAL_PER_S, requests=requests, endpoints=shares))
    sums = bench.readings(plane, end_s=0.99 * requests / EXTERNAL_PER_S)
    rates = queueing.traffic_per_s((EXTERNAL_PER_S, 0.0, 0.0), ROUTING)
    visits_s, whole_s = queueing.product_form_mean_s(
        rates_per_s=rates.tolist(), services_s=SERVICES_S, servers=SERVERS, external_per_s=EXTERNAL_PER_S
    )
    found = []
    for station, name in enumerate(STATIONS):
        of = sums[:, [1 + row for row in _rows_of(plant, name)]].sum(axis=1)
        found.append((f"residence, {name}", of[:, 1], of[:, 0], float(visits_s[station])))
    found.append(("residence, whole", sums[:, 1:, 1].sum(axis=1), sums[:, 0, 0], whole_s))
    rows = []
    for (name, over, under, exact), narrow in zip(found, most, strict=True):
        estimate, width = ratio(over, under, bench.confidence)
        rows.append(
            Quantity(
                name=name, unit="s", exact=exact, estimate=estimate, half_width=width,
                largest_half_width=narrow * exact, allowed=exponential_is_off(exact),
            )
        )  # fmt: skip
    return rows


# A closed network

POPULATION, THINK_S = 20, 0.02
DEMANDS_S = (1.0e-3, 0.6e-3)


def machine_repair() -> Plant:
    """Two stations in series."""
    plant = Plant()
    path = []
    for number, service_s in enumerate(DEMANDS_S):
        plant.step(f"work {number}", service_s, law="exponential")
        plant.fifo(f"station {number}")
        path.append(serve(f"work {number}", on=f"station {number}"))
    plant.endpoints.append(tuple(path))
    return plant


def _closed_network(bench: Bench, most: Sequence[float]) -> list[Quantity]:
    theory = queueing.mean_value_analysis(demands_s=DEMANDS_S, think_s=THINK_S, population=POPULATION)
    end_s = 1_500.0
    # More than a session can get through in that time.
    each = round(1.3 * end_s * theory.throughput_per_s / POPULATION)
    random = generator(bench.seed, "verify.thinking")
    zeros = np.zeros((POPULATION, each), np.int64)
    thinks = random.exponential(THINK_S * NS_PER_S, (POPULATION, each)).astype(np.int64)
    plane = bench.plane(machine_repair(), sessions=Sessions(zeros, zeros, zeros, thinks))
    sums = bench.readings(plane, end_s=end_s)
    pairs = [("throughput", "1/s", sums[:, 0, 0], sums[:, 0, 1], theory.throughput_per_s)]
    for number, exact in enumerate(theory.residence_s):
        pairs.append((f"residence, station {number}", "s", sums[:, 1 + number, 1], sums[:, 1 + number, 0], exact))
    rows = []
    for (name, unit, over, under, exact), narrow in zip(pairs, most, strict=True):
        estimate, width = ratio(over, under, bench.confidence)
        rows.append(
            Quantity(
                name=name, unit=unit, exact=exact, estimate=estimate, half_width=width,
                largest_half_width=narrow * exact, allowed=exponential_is_off(exact),
            )
        )  # fmt: skip
    return rows


# A loss system

CIRCUITS, OFFERED, HOLDING_S = 8, 6.0, 1e-3


def circuits(cv: float | None) -> Plant:
    """Requests that are turned away where all circuits are taken."""
    plant = Plant()
    if cv is None:
        plant.step("hold", HOLDING_S, law="exponential")
    else:
        plant.step("hold", HOLDING_S, cv=cv)
    plant.pool("circuits", CIRCUITS)
    plant.fifo("lines", servers=CIRCUITS)  # never a queue: each holds a circuit
    plant.endpoints.append(
        (
            Acquire("circuits", most_waiting=0),
            when((Fail("rejected"),), (serve("hold", on="lines"), Release("circuits"))),
        )
    )
    return plant


def _loss(bench: Bench, cv: float | None, most: float) -> list[Quantity]:
    arrivals = bench.poisson(f"loss.{cv}", rate_per_s=OFFERED / HOLDING_S, requests=REQUESTS)
    refused = (bench.measure(circuits(cv), arrivals).outcome == c.OUTCOME_REJECTED).astype(np.float64)
    exact = queueing.erlang_b(servers=CIRCUITS, offered=OFFERED)
    estimate, width = sectioned(refused, lambda part: float(part.mean()), bench.confidence)
    return [
        Quantity(
            name="blocked", unit="", exact=exact, estimate=estimate, half_width=width, largest_half_width=most * exact
        )
    ]  # fmt: skip


# Little's law

LITTLE_PER_S = 500.0
SAMPLES = 2_000
"""In each section of time."""
PLACES = ("fifo", "loop", "shared")


def line_of_three() -> Plant:
    """One station of each kind, one behind the other; no formula is known for the whole, but Little's law holds."""
    plant = Plant()
    for place, service_s, cv in zip(PLACES, (2.4e-3, 0.8e-3, 1.0e-3), (1.0, 0.5, 2.0), strict=True):
        plant.step(place, service_s, cv=cv)
    plant.fifo("fifo", servers=2)
    plant.host("machine")
    plant.loop("loop", host="machine", wake_s=0.2e-3, poll_s=0.1e-3)
    plant.host("other", discipline="sharing")
    plant.multi("shared", host="other", wake_s=0.05e-3)
    plant.endpoints.append(tuple(serve(place, on=place) for place in PLACES))
    return plant


def _present(plane: DataPlane) -> list[float]:
    """How many are at each place, and in the whole."""
    fifo, loop, _ = plane.state.stations
    served = int(loop[c.S_STATE] == c.RUNNING)
    shared = plane.state.hosts[1, c.H_SHARING]
    return [fifo[c.S_LENGTH] + fifo[c.S_BUSY], loop[c.S_LENGTH] + served, shared, plane.scalar(c.X_IN_FLIGHT)]


def _little(bench: Bench, most: Sequence[float]) -> list[Quantity]:
    requests = REQUESTS // 2
    plane = bench.plane(line_of_three(), bench.poisson("little", rate_per_s=LITTLE_PER_S, requests=requests))
    env = Environment(plane)
    end_s = 0.99 * requests / LITTLE_PER_S
    begin_s, period_s = WARM_SHARE * end_s, (1 - WARM_SHARE) * end_s / (SECTIONS * SAMPLES)
    samples: list[list[float]] = []
    spent: list[FloatArray] = []

    def sample(env: Environment) -> Generator[simpy.Event, Any, None]:
        yield env.timeout(begin_s)
        for number in range(SECTIONS * SAMPLES):
            if number % SAMPLES == 0:
                spent.append(_spent_s(plane))
            samples.append(_present(plane))
            yield env.timeout(period_s)
        spent.append(_spent_s(plane))

    env.process(sample(env))
    env.run(until=end_s + period_s)
    number = np.array(samples).reshape(SECTIONS, SAMPLES, -1).mean(axis=1)
    # The arrival rate times the mean residence is the residence of all, per second.
    implied = np.diff(np.array(spent), axis=0) / (period_s * SAMPLES)
    rows = []
    for column, (place, narrow) in enumerate(zip((*PLACES, "whole"), most, strict=True)):
        exact, estimate = float(implied[:, column].mean()), float(number[:, column].mean())
        width = half_width(number[:, column] - implied[:, column], estimate - exact, bench.confidence)
        rows.append(
            Quantity(
                name=f"number, {place}", unit="customers", exact=exact, estimate=estimate, half_width=width,
                largest_half_width=narrow * exact,
            )
        )  # fmt: skip
    return rows


def _spent_s(plane: DataPlane) -> FloatArray:
    each = plane.state.visits[:, 2] / NS_PER_S
    return np.append(each, each.sum())


NETWORK_CHECKS: tuple[Check, ...] = (
    Check(
        "jackson", "open network of three stations, branching and feedback", "Jackson 1957; Kelly 1975",
        (*(f"residence, {name}" for name in STATIONS), "residence, whole"),
        partial(_open_network, most=(0.031, 0.07, 0.032, 0.038)),
    ),
    Check(
        "mva", f"closed network: {POPULATION} customers, two stations, think time", "Reiser and Lavenberg 1980",
        ("throughput", "residence, station 0", "residence, station 1"),
        partial(_closed_network, most=(0.005, 0.024, 0.016)),
    ),
    *(
        Check(
            f"erlang-b-{name.replace(' ', '')}", f"{CIRCUITS} circuits, {OFFERED:g} erlangs, no waiting; {name}",
            "Erlang 1917; Sevastyanov 1957", ("blocked",), partial(_loss, cv=cv, most=most),
        )
        for name, cv, most in (("exponential", None, 0.028), ("cv 2", 2.0, 0.038))
    ),
    Check(
        "little", "Little's law: queue lengths sampled, against arrival rate times residence", "Little 1961",
        tuple(f"number, {place}" for place in (*PLACES, "whole")), partial(_little, most=(0.018, 0.036, 0.026, 0.012)),
    ),
)  # fmt: skip
