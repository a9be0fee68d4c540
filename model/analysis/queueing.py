"""Closed forms of queueing theory, to hold a simulation to.

Times are in seconds, rates per second, `servers` and `population` numbers. An arrival process is Poisson and
independent of the services, which are independent of one another, where nothing else is said. *Residence time* is
waiting plus service. Each function raises InputError where its model has no steady state or an argument makes no sense.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.spec import InputError

FloatArray = npt.NDArray[np.float64]
_BISECTIONS = 200


def utilisation(*, rate_per_s: float, service_s: float, servers: int = 1) -> float:
    """Share of the servers that is busy, ``rate * service / servers`` (the utilisation law, Denning and Buzen 1978).

    Raises InputError unless it is below 1: a queue without a limit has no steady state otherwise.
    """
    for what, value in (("rate_per_s", rate_per_s), ("service_s", service_s)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{what} is {value}; it must be finite and not negative")
    if servers < 1:
        raise InputError(f"servers is {servers}; it must be at least 1")
    load = rate_per_s * service_s / servers
    if load >= 1:
        raise InputError(f"the utilisation is {load:g}; a steady state needs less than 1")
    return load


# One station, exponential service


def mm1_mean_s(*, rate_per_s: float, service_s: float) -> float:
    """M/M/1: mean residence time (Kleinrock 1975, eq. 3.26)."""
    return service_s / (1 - utilisation(rate_per_s=rate_per_s, service_s=service_s))


def mm1_quantile_s(p: float, *, rate_per_s: float, service_s: float) -> float:
    """M/M/1 first come first served: the p-quantile of the residence time, which is exponential (Kleinrock 1975)."""
    return -math.log1p(-_share(p)) * mm1_mean_s(rate_per_s=rate_per_s, service_s=service_s)


def erlang_b(*, servers: int, offered: float) -> float:
    """M/G/c/c: the probability that an arrival finds all servers busy and is lost (Erlang 1917).

    `offered` is the arrival rate times the mean service time (erlangs), of any size. The law of the service time does
    not matter (Sevastyanov 1957).
    """
    if servers < 1 or not (math.isfinite(offered) and offered >= 0):
        raise InputError(f"servers is {servers} and offered is {offered}; allowed: at least 1, and not negative")
    blocked = 1.0
    for busy in range(1, servers + 1):
        blocked = offered * blocked / (busy + offered * blocked)
    return blocked


def erlang_c(*, servers: int, offered: float) -> float:
    """M/M/c: the probability that an arrival has to wait (Erlang 1917); `offered` erlangs are below `servers`."""
    load = utilisation(rate_per_s=offered, service_s=1.0, servers=servers)
    blocked = erlang_b(servers=servers, offered=offered)
    return blocked / (1 - load * (1 - blocked))


def mmc_mean_s(*, rate_per_s: float, service_s: float, servers: int) -> float:
    """M/M/c: mean residence time, ``S + C S / (c (1 - rho))`` (Kleinrock 1975, section 3.5)."""
    load = utilisation(rate_per_s=rate_per_s, service_s=service_s, servers=servers)
    waits = erlang_c(servers=servers, offered=rate_per_s * service_s)
    return service_s + waits * service_s / (servers * (1 - load))


def mmc_quantile_s(p: float, *, rate_per_s: float, service_s: float, servers: int) -> float:
    """M/M/c first come first served: the p-quantile of the residence time, to machine precision.

    Who need not wait stays for an exponential of mean S; the others, a share C (`erlang_c`), wait for an exponential of
    mean ``S / (c (1 - rho))`` before it (Gross and Harris 1998, section 2.3). The survival function is inverted by
    bisection.
    """
    tail = 1 - _share(p)
    load = utilisation(rate_per_s=rate_per_s, service_s=service_s, servers=servers)
    if service_s == 0:
        return 0.0
    waits = erlang_c(servers=servers, offered=rate_per_s * service_s)
    served, drained = 1 / service_s, servers * (1 - load) / service_s

    def too_late(time_s: float) -> float:
        # e^(-mu t) + C mu (e^(-theta t) - e^(-mu t)) / (mu - theta), so that the difference of the rates may vanish
        # and nothing overflows.
        apart = abs(served - drained) * time_s
        both = -math.expm1(-apart) / apart if apart else 1.0
        slower = math.exp(-min(served, drained) * time_s)
        return math.exp(-served * time_s) + waits * served * time_s * slower * both - tail

    return _root(too_late, high=2 * math.log(2 / tail) * (1 / served + 1 / drained))


# One station, general service


def mg1_fcfs_mean_s(*, rate_per_s: float, service_s: float, cv: float) -> float:
    """M/G/1 first come first served: mean residence time (Pollaczek 1930, Khinchine 1932).

    `cv` is the coefficient of variation of the service time.
    """
    load = utilisation(rate_per_s=rate_per_s, service_s=service_s)
    return service_s * (1 + load * (1 + cv * cv) / (2 * (1 - load)))


def mg1_ps_mean_s(*, rate_per_s: float, service_s: float, size_s: float | None = None) -> float:
    """M/G/1 processor sharing: mean residence time ``S / (1 - rho)``, whatever the law of the service time.

    With `size_s`, of those whose own service takes that long: ``size / (1 - rho)`` (Kleinrock 1967; Sakata, Noguchi,
    Oizumi 1969).
    """
    return (service_s if size_s is None else size_s) / (1 - utilisation(rate_per_s=rate_per_s, service_s=service_s))


def mg1_setup_mean_s(*, rate_per_s: float, service_s: float, cv: float, setup_s: float) -> float:
    """M/G/1 first come first served with a constant set-up at the start of each busy period: mean residence time.

    Welch (1964): the wait grows by ``(2 D + lambda D^2) / (2 (1 + lambda D))``.
    """
    added = (2 * setup_s + rate_per_s * setup_s**2) / (2 * (1 + rate_per_s * setup_s))
    return mg1_fcfs_mean_s(rate_per_s=rate_per_s, service_s=service_s, cv=cv) + added


# Networks


def traffic_per_s(external_per_s: Sequence[float], routing: Sequence[Sequence[float]]) -> FloatArray:
    """Arrival rates [stations] of an open network: ``lambda = gamma + P^T lambda`` (Jackson 1957).

    `external_per_s` [stations] comes from outside; `routing` [stations, stations] holds the probability of going from
    one to another. Raises InputError where it is no such matrix, or where what is inside never leaves.
    """
    gamma, p = np.asarray(external_per_s, np.float64), np.asarray(routing, np.float64)
    if p.shape != (len(gamma), len(gamma)) or (p < 0).any() or (p.sum(axis=1) > 1 + 1e-12).any():
        raise InputError("routing must be square, not negative, and its rows must add up to at most 1")
    if max(abs(np.linalg.eigvals(p)), default=0.0) > 1 - 1e-12:
        raise InputError("routing lets no one leave: some stations only lead to each other")
    rates: FloatArray = np.linalg.solve(np.eye(len(gamma)) - p.T, gamma).astype(np.float64)
    return rates


def product_form_mean_s(
    *, rates_per_s: Sequence[float], services_s: Sequence[float], servers: Sequence[int], external_per_s: float
) -> tuple[FloatArray, float]:
    """Open network of first-come-first-served stations with exponential service: mean residence of a visit [stations],
    and of a customer from the first visit to the last.

    In equilibrium each station behaves as an M/M/c of its own (Jackson 1957). The same holds where each class of
    customers has a fixed route, however often it passes a station (Kelly 1975): only the total rates count.
    """
    visits_s: FloatArray = np.array(
        [
            mmc_mean_s(rate_per_s=rate, service_s=service, servers=count)
            for rate, service, count in zip(rates_per_s, services_s, servers, strict=True)
        ]
    )
    # Little's law for the whole: what is inside, over what comes in.
    return visits_s, float(np.dot(rates_per_s, visits_s) / external_per_s)


@dataclass(frozen=True)
class ClosedNetwork:
    """What mean value analysis says of a closed network."""

    throughput_per_s: float
    """Cycles per second of the whole population."""
    residence_s: tuple[float, ...]
    """Per station and cycle."""
    customers: tuple[float, ...]
    """Mean number at each station."""


def mean_value_analysis(*, demands_s: Sequence[float], think_s: float, population: int) -> ClosedNetwork:
    """Closed network of single-server stations with exponential service and a think time of any law: exact MVA.

    `demands_s` is visits times service of each station in one cycle. Reiser and Lavenberg (1980): an arrival sees the
    network as it is with one customer less.
    """
    if population < 1 or think_s < 0 or min(demands_s, default=0.0) < 0:
        raise InputError(f"population is {population} and think_s is {think_s}; allowed: at least 1, and not negative")
    demands: FloatArray = np.asarray(demands_s, np.float64)
    residence = demands
    customers: FloatArray = np.zeros(len(demands))
    throughput = 0.0
    for present in range(1, population + 1):
        residence = demands * (1 + customers)
        throughput = present / (think_s + float(residence.sum()))
        customers = throughput * residence
    return ClosedNetwork(throughput, tuple(residence.tolist()), tuple(customers.tolist()))


# Caches


def zipf(keys: int, exponent: float) -> FloatArray:
    """Probabilities [keys] in proportion to ``rank^-exponent``."""
    weights = np.arange(1, keys + 1, dtype=np.float64) ** -exponent
    shares: FloatArray = weights / weights.sum()
    return shares


def che_hit_ratio(popularity: Sequence[float] | FloatArray, capacity: int) -> float:
    """LRU cache under independent requests: hit ratio by Che's approximation (Che, Tung, Wang 2002).

    `popularity` [keys] are probabilities. A key is in the cache if it was asked for within the last T requests, and T
    is such that ``sum(1 - exp(-p T))`` keys are: the capacity. With these shares the error is below a percentage point
    (Fricker, Robert, Roberts 2012).
    """
    shares = np.asarray(popularity, np.float64)
    if capacity < 1:
        raise InputError(f"capacity is {capacity}; it must be at least 1")
    if capacity >= np.count_nonzero(shares):
        return 1.0

    def missing(log_window: float) -> float:
        return float(capacity + np.expm1(-shares * math.exp(log_window)).sum())

    window = math.exp(_root(missing, high=math.log(capacity / shares[shares > 0].min()) + 10))
    return float(-(shares * np.expm1(-shares * window)).sum())


def _share(p: float) -> float:
    if not 0 <= p < 1:
        raise InputError(f"p is {p}; it must be at least 0 and below 1")
    return p


def _root(falling: Callable[[float], float], *, high: float) -> float:
    """Where a falling function that is not negative at 0 and not positive at `high` crosses 0."""
    low = 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
