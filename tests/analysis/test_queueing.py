"""Closed forms against independent computations: chains cut off, convolution, sums, simulation of a cache."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import linalg, optimize, stats

from model.analysis import queueing
from model.rng import generator
from model.spec import InputError

FloatArray = npt.NDArray[np.float64]


def birth_death(rates: FloatArray, departures: FloatArray) -> FloatArray:
    """Stationary distribution of a chain that is cut off where its rates end."""
    weights = np.concatenate(([1.0], np.cumprod(rates / departures)))
    shares: FloatArray = weights / weights.sum()
    return shares


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (3, 0.7), (4, 0.9), (25, 0.8)])
def test_mmc_against_a_truncated_chain(servers: int, load: float) -> None:
    rate = load * servers
    states = 4000
    busy = np.minimum(np.arange(1, states + 1), servers).astype(float)
    p = birth_death(np.full(states, rate), busy)
    number = float(p @ np.arange(states + 1))
    known = {"rate_per_s": rate, "service_s": 1.0, "servers": servers}
    assert queueing.mmc_mean_s(**known) == pytest.approx(number / rate, rel=1e-9)  # type: ignore[arg-type]
    assert queueing.erlang_c(servers=servers, offered=rate) == pytest.approx(p[servers:].sum(), rel=1e-9)
    # Who finds n waits for n - c + 1 departures, each at rate c, and is then served.
    for quantile in (0.0, 0.01, 0.5, 0.95, 0.99, 0.9999):
        time_s = queueing.mmc_quantile_s(quantile, **known)  # type: ignore[arg-type]
        assert _residence_cdf(time_s, p, servers) == pytest.approx(quantile, abs=2e-7)


def _residence_cdf(time_s: float, p: FloatArray, servers: int) -> float:
    at_once = float(p[:servers].sum()) * -math.expm1(-time_s)
    waits = np.arange(1, len(p) - servers + 1)
    # P(Gamma(k, c) + Exp(1) <= t), by quadrature over the wait.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    points = (nodes + 1) / 2 * time_s
    densities = stats.gamma.pdf(points[:, None], waits[None, :200], scale=1 / servers) @ p[servers:][:200]
    rest = float(p[servers:][200:].sum())
    assert rest < 1e-7
    return at_once + float((weights * densities * -np.expm1(-(time_s - points))).sum() * time_s / 2)


def test_mmc_quantile_of_one_server_and_of_nobody_waiting() -> None:
    for p in (0.5, 0.95, 0.999):
        one = queueing.mmc_quantile_s(p, rate_per_s=0.8, service_s=1.0, servers=1)
        assert one == pytest.approx(queueing.mm1_quantile_s(p, rate_per_s=0.8, service_s=1.0), rel=1e-12)
        none = queueing.mmc_quantile_s(p, rate_per_s=1.0, service_s=1.0, servers=60)
        assert none == pytest.approx(-math.log1p(-p), rel=1e-12)
    near_1 = queueing.mmc_quantile_s(0.99, rate_per_s=0.9999, service_s=1.0, servers=1)
    assert near_1 == pytest.approx(queueing.mm1_quantile_s(0.99, rate_per_s=0.9999, service_s=1.0), rel=1e-9)
    # Here the wait drains at the rate of one service, where the usual formula divides by zero.
    for servers, load in ((2, 0.5), (4, 0.75)):
        near = [
            queueing.mmc_quantile_s(0.99, rate_per_s=servers * x, service_s=1.0, servers=servers)
            for x in (load - 1e-9, load, load + 1e-9)
        ]
        assert near == sorted(near)
        assert near[2] / near[0] == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(("servers", "offered"), [(1, 0.5), (8, 6.0), (100, 120.0)])
def test_erlang_b_by_summation(servers: int, offered: float) -> None:
    logs = np.arange(servers + 1) * math.log(offered) - np.array([math.lgamma(k + 1) for k in range(servers + 1)])
    weights = np.exp(logs - logs.max())
    blocked = queueing.erlang_b(servers=servers, offered=offered)
    assert blocked == pytest.approx(weights[-1] / weights.sum(), rel=1e-12)


def test_mg1_against_the_embedded_chain_of_md1() -> None:
    """The numbers left behind in M/D/1, whose mean is that of the number in the system; Little's law gives the rest."""
    load, states = 0.7, 120
    arrivals = stats.poisson.pmf(np.arange(states), load)
    p = np.zeros((states, states))
    p[0] = arrivals
    for i in range(1, states):
        p[i, i - 1 :] = arrivals[: states - i + 1]
    p /= p.sum(axis=1, keepdims=True)
    stationary = linalg.null_space((p - np.eye(states)).T)[:, 0]
    number = float(stationary @ np.arange(states) / stationary.sum())
    assert queueing.mg1_fcfs_mean_s(rate_per_s=load, service_s=1.0, cv=0.0) == pytest.approx(number / load, rel=1e-9)
    assert queueing.mg1_fcfs_mean_s(rate_per_s=load, service_s=1.0, cv=1.0) == pytest.approx(1 / (1 - load), rel=1e-12)


def test_set_up_against_a_recursion() -> None:
    """Lindley's recursion with an exceptional first service, driven by a few million draws."""
    rate, setup = 0.6, 0.5
    random = generator(1, "test set-up")
    n = 2_000_000
    gaps, services = random.exponential(1 / rate, n), random.exponential(1.0, n)
    free_at, now, total = 0.0, 0.0, 0.0
    for gap, service in zip(gaps.tolist(), services.tolist(), strict=True):
        now += gap
        free_at = free_at + service if free_at > now else now + setup + service
        total += free_at - now
    exact = queueing.mg1_setup_mean_s(rate_per_s=rate, service_s=1.0, cv=1.0, setup_s=setup)
    assert total / n == pytest.approx(exact, rel=0.01)
    none = queueing.mg1_setup_mean_s(rate_per_s=rate, service_s=1.0, cv=1.0, setup_s=0.0)
    assert none == queueing.mg1_fcfs_mean_s(rate_per_s=rate, service_s=1.0, cv=1.0)


def test_processor_sharing_of_sizes_adds_up() -> None:
    sizes, shares = np.array([0.5, 3.0]), np.array([0.8, 0.2])
    mean = float(sizes @ shares)
    each = [queueing.mg1_ps_mean_s(rate_per_s=0.7, service_s=mean, size_s=float(size)) for size in sizes]
    assert shares @ each == pytest.approx(queueing.mg1_ps_mean_s(rate_per_s=0.7, service_s=mean), rel=1e-12)


def test_open_network_against_its_chain() -> None:
    """Two single-server stations with feedback, as one Markov chain of both numbers, cut off."""
    gamma, services, routing = (0.3, 0.1), (1.0, 1.25), ((0.1, 0.6), (0.2, 0.0))
    rates = queueing.traffic_per_s(gamma, routing)
    most = 60
    q = np.zeros((most * most, most * most))
    for a in range(most):
        for b in range(most):
            moves = [((a + 1, b), gamma[0]), ((a, b + 1), gamma[1])]
            if a:
                leave = 1 / services[0]
                moves += [((a - 1, b + 1), leave * routing[0][1]), ((a - 1, b), leave * (1 - sum(routing[0])))]
            if b:
                leave = 1 / services[1]
                moves += [((a + 1, b - 1), leave * routing[1][0]), ((a, b - 1), leave * (1 - sum(routing[1])))]
            for (x, y), rate in moves:
                if x < most and y < most:
                    q[a * most + b, x * most + y] += rate
    q -= np.diag(q.sum(axis=1))
    q[:, 0] = 1.0
    p = np.linalg.solve(q.T, np.eye(most * most)[0]).reshape(most, most)
    numbers = float(p.sum(axis=1) @ np.arange(most)), float(p.sum(axis=0) @ np.arange(most))
    visits, whole = queueing.product_form_mean_s(
        rates_per_s=rates.tolist(), services_s=services, servers=(1, 1), external_per_s=sum(gamma)
    )
    assert rates * visits == pytest.approx(numbers, rel=1e-5)
    assert whole == pytest.approx(sum(numbers) / sum(gamma), rel=1e-5)


@pytest.mark.parametrize(("demands", "think", "population"), [((1.0,), 5.0, 8), ((1.0, 0.6, 0.3), 4.0, 20)])
def test_mean_values_against_convolution(demands: tuple[float, ...], think: float, population: int) -> None:
    """Buzen's algorithm (1973): normalising constants, with the think time as a station without a queue."""
    constants = np.array([think**n / math.factorial(n) for n in range(population + 1)])
    for demand in demands:
        for n in range(1, population + 1):
            constants[n] += demand * constants[n - 1]
    throughput = constants[-2] / constants[-1]
    found = queueing.mean_value_analysis(demands_s=demands, think_s=think, population=population)
    assert found.throughput_per_s == pytest.approx(throughput, rel=1e-12)
    for demand, number in zip(demands, found.customers, strict=True):
        expected = sum(demand**k * constants[population - k] / constants[-1] for k in range(1, population + 1))
        assert number == pytest.approx(expected, rel=1e-12)
    cycle_s = think + sum(found.residence_s)
    assert found.throughput_per_s * cycle_s == pytest.approx(population, rel=1e-12)


def test_che_solves_its_own_equation_and_is_near_a_simulated_lru() -> None:
    popularity, capacity = queueing.zipf(300, 0.9), 40
    window = optimize.brentq(lambda t: (1 - np.exp(-popularity * t)).sum() - capacity, 1, 1e6, xtol=1e-9)
    solved = float((popularity * (1 - np.exp(-popularity * window))).sum())
    assert queueing.che_hit_ratio(popularity, capacity) == pytest.approx(solved, rel=1e-9)
    drawn = generator(1, "test lru").choice(300, 200_000, p=popularity).tolist()
    cached: dict[int, None] = {}
    hits = 0
    for number, key in enumerate(drawn):
        if key in cached:
            del cached[key]
            hits += number >= 20_000
        elif len(cached) == capacity:
            del cached[next(iter(cached))]
        cached[key] = None
    assert hits / 180_000 == pytest.approx(solved, abs=0.01)
    assert queueing.che_hit_ratio(popularity, 300) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: queueing.mm1_mean_s(rate_per_s=2.0, service_s=0.5), "the utilisation is 1; a steady state needs less"),
        (lambda: queueing.mm1_mean_s(rate_per_s=math.nan, service_s=0.5), "rate_per_s is nan"),
        (lambda: queueing.mm1_quantile_s(1.0, rate_per_s=1.0, service_s=0.5), "p is 1.0; it must be at least 0"),
        (lambda: queueing.mmc_mean_s(rate_per_s=1.0, service_s=0.5, servers=0), "servers is 0"),
        (lambda: queueing.erlang_b(servers=2, offered=-1.0), "offered is -1.0"),
        (lambda: queueing.traffic_per_s((1.0, 0.0), ((0.0, 1.0), (1.0, 0.0))), "routing lets no one leave"),
        (lambda: queueing.traffic_per_s((1.0,), ((1.5,),)), "its rows must add up to at most 1"),
        (lambda: queueing.mean_value_analysis(demands_s=(1.0,), think_s=0.0, population=0), "population is 0"),
        (lambda: queueing.che_hit_ratio((0.5, 0.5), 0), "capacity is 0"),
    ],
)
def test_what_has_no_steady_state_or_no_sense(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
