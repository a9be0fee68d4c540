"""The compiled data plane against closed forms: fixed seeds, batch-means intervals, and a largest allowed half-width.

Every check holds the closed form inside a 99.9 % interval, and the interval itself must be narrow, so that the test
can fail for noise as well as for bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from model.engine import layout as c
from model.engine.dataplane import ArrivalBlock, DataPlane, Sessions
from model.engine.plant import Plant
from model.engine.program import Path, delay, serve
from model.engine.tables import lognormal_from_mean_cv
from tests.engine.arrivals import poisson

SERVICE_S = 1e-3
REQUESTS = 1_000_000
WARM = 20_000
BATCHES = 40
Build = Callable[[Plant], Path]


def latencies(
    build: Build,
    blocks: Iterator[ArrivalBlock] | None,
    seed: int = 1,
    sessions: Sessions | None = None,
    end_s: int = 10**6,
) -> npt.NDArray[np.float64]:
    """Residence times in s, in order of completion."""
    plant = Plant()
    plant.endpoints.append(build(plant))
    rows: list[npt.NDArray[np.int64]] = []
    plane = DataPlane(plant, seed, blocks=blocks, sessions=sessions, on_log=rows.append)
    plane.advance(end_s * 10**9)
    plane.drain()
    assert sessions is not None or plane.scalar(c.X_ARRIVED) == plane.scalar(c.X_COMPLETED)
    return np.concatenate(rows)[:, c.L_VALUE] / 1e9


def exponential_step(plant: Plant) -> None:
    """A step whose service time is exponential: a quantile table stands in for the lognormal one."""
    plant.step("work", SERVICE_S, law="exponential")


def fifo(servers: int) -> Build:
    def build(plant: Plant) -> Path:
        exponential_step(plant)
        plant.fifo("station", servers=servers)
        return [serve("work", on="station")]

    return build


def loop(plant: Plant) -> Path:
    exponential_step(plant)
    plant.host("machine")
    plant.loop("station", host="machine", wake_s=0, poll_s=0)
    return [serve("work", on="station")]


def multi(plant: Plant) -> Path:
    exponential_step(plant)
    plant.host("machine")
    plant.multi("station", host="machine", wake_s=0)
    return [serve("work", on="station")]


def interval(batches: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and half-width of the 99.9 % interval of batch statistics."""
    width = stats.t.ppf(0.9995, len(batches) - 1) * batches.std(ddof=1) / math.sqrt(len(batches))
    return float(batches.mean()), float(width)


def hold(
    values: npt.NDArray[np.float64], statistic: Callable[..., npt.NDArray[np.float64]], exact: float, most: float
) -> None:
    scored = values[WARM : WARM + (len(values) - WARM) // BATCHES * BATCHES].reshape(BATCHES, -1)
    estimate, width = interval(statistic(scored))
    assert width < most * exact, f"the interval is too wide to say anything: {width:g} of {exact:g}"
    assert abs(estimate - exact) < width, f"{estimate:g} +- {width:g} misses {exact:g}"


@pytest.mark.parametrize("build", [fifo(1), loop, multi], ids=["fifo", "loop", "multi"])
@pytest.mark.parametrize("load", [0.5, 0.8])
def test_mm1(build: Build, load: float) -> None:
    values = latencies(build, poisson(1, load / SERVICE_S, REQUESTS))
    mean = SERVICE_S / (1 - load)
    hold(values, lambda rows: rows.mean(axis=1), mean, 0.06)
    for p in (0.95, 0.99):
        hold(values, lambda rows, p=p: np.quantile(rows, p, axis=1), -math.log(1 - p) * mean, 0.10)


def test_mmc_mean_is_erlang_c() -> None:
    servers, load = 4, 0.8
    values = latencies(fifo(servers), poisson(2, servers * load / SERVICE_S, REQUESTS))
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    wait = last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
    hold(values, lambda rows: rows.mean(axis=1), SERVICE_S + wait * SERVICE_S / (servers * (1 - load)), 0.03)


@pytest.mark.parametrize("cv", [0.0, 0.5, 2.0])
def test_mg1_mean_is_pollaczek_khinchine(cv: float) -> None:
    load = 0.7

    def build(plant: Plant) -> Path:
        plant.step("work", SERVICE_S, cv=cv)
        plant.fifo("station")
        return [serve("work", on="station")]

    values = latencies(build, poisson(3, load / SERVICE_S, REQUESTS))
    exact = SERVICE_S * (1 + load * (1 + cv * cv) / (2 * (1 - load)))
    hold(values, lambda rows: rows.mean(axis=1), exact, 0.12)


def test_mm1_with_setup_at_the_start_of_each_busy_period() -> None:
    """Welch (1964): with a constant set-up D the mean wait grows by (2 D + lambda D^2) / (2 (1 + lambda D))."""
    load, setup = 0.6, 0.5e-3
    rate = load / SERVICE_S

    def build(plant: Plant) -> Path:
        exponential_step(plant)
        plant.host("machine")
        plant.loop("station", host="machine", wake_s=setup, poll_s=0)
        return [serve("work", on="station")]

    values = latencies(build, poisson(4, rate, REQUESTS))
    exact = SERVICE_S / (1 - load) + (2 * setup + rate * setup**2) / (2 * (1 + rate * setup))
    hold(values, lambda rows: rows.mean(axis=1), exact, 0.03)


def test_closed_network_against_mean_value_analysis() -> None:
    """Exact MVA (Reiser and Lavenberg 1980) of one queue with exponential service and a think time."""
    sessions, think_s, per_session = 20, 0.02, 30_000
    residence = queue = 0.0
    for population in range(1, sessions + 1):
        residence = SERVICE_S * (1 + queue)
        queue = population / (residence + think_s) * residence
    random = np.random.Generator(np.random.Philox(7))
    zeros = np.zeros((sessions, per_session), np.int64)
    thinks = random.exponential(think_s * 1e9, (sessions, per_session)).astype(np.int64)
    values = latencies(fifo(1), None, 5, Sessions(zeros, zeros, zeros, thinks), end_s=500)
    hold(values, lambda rows: rows.mean(axis=1), residence, 0.04)


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_lognormal_table_moments(cv: float) -> None:
    """The table's mean is exact and its second moment within 2 % of the lognormal's, tail included."""
    values = latencies(lambda plant: _delay(plant, cv), poisson(8, 1000.0, REQUESTS))
    assert np.mean(values) == pytest.approx(SERVICE_S, rel=0.02)
    assert np.quantile(values, 0.99) == pytest.approx(
        stats.lognorm.ppf(0.99, math.sqrt(math.log1p(cv**2)), scale=SERVICE_S / math.sqrt(1 + cv**2)), rel=0.03
    )


def _delay(plant: Plant, cv: float) -> Path:
    plant.wait("wait", lognormal_from_mean_cv(SERVICE_S * 1e9, cv))
    return [delay("wait")]
