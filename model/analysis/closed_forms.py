"""Which closed form applies to which station of a Plant, and which assumption fails where none does.

A formula is given only where all that it assumes can be read off the Plant: that arrivals are Poisson at the station,
what its service is, and that nothing else takes its server. Where arrivals come from other stations they are Poisson,
or as good as that, if all stations before are of the kinds whose output is (exponential first come first served, or
processor sharing: Burke 1956, Baskett et al. 1975, Kelly 1975); where one of these is fed back to, it still has the
distribution of the queue alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.analysis import queueing
from model.analysis.path_use import Use, groups_of, serves_of, use_of
from model.engine import layout as c
from model.engine.plant import Plant
from model.engine.program import Acquire, Delay, Fail, Part, Path, Release, Serve, When
from model.engine.tables import exponential_from_mean, table_cv, table_mean
from model.spec import InputError

QUANTILES = {"p95_s": 0.95, "p99_s": 0.99}
_EXPONENTIAL = exponential_from_mean(1.0)


@dataclass(frozen=True)
class ClosedForm:
    """A formula that holds for one station or pool."""

    station: str
    model: str
    """In Kendall's notation."""
    source: str
    parameters: Mapping[str, float]
    """``rate_per_s``, ``service_s``, ``servers``, ``utilisation`` (of a loss system ``offered``, in erlangs), and
    ``cv`` or ``setup_s`` where they matter."""
    results: Mapping[str, float]
    """Of a visit's residence: ``mean_s``, and ``p95_s``, ``p99_s`` where they are known; or the share ``blocked``."""


@dataclass(frozen=True)
class NoClosedForm:
    """A station for which none holds."""

    station: str
    because: str


@dataclass(frozen=True)
class _Service:
    mean_s: float
    cv: float
    exponential: bool
    servers: int
    shared: bool = False
    setup_s: float = 0.0

    @property
    def keeps_poisson(self) -> bool:
        """Whether what leaves such a station is Poisson if what comes is."""
        return self.setup_s == 0 and (self.shared or self.exponential)


def closed_forms(
    plant: Plant, rates_per_s: Sequence[float], *, unsteady: str = "", stalls: bool = False
) -> tuple[ClosedForm | NoClosedForm, ...]:
    """What theory says of each station and pool that the endpoints visit, in the order of the plant.

    `rates_per_s` has the rate of each endpoint, in open mode with Poisson arrivals; `unsteady` says why the arrivals
    are not a Poisson process of constant rate, if they are not. `stalls`: hosts lose their cores now and then. Raises
    InputError unless there is a rate, finite and not negative, for each endpoint.
    """
    if len(rates_per_s) != len(plant.endpoints) or not all(np.isfinite(rate) and rate >= 0 for rate in rates_per_s):
        raise InputError(
            f"rates_per_s is {list(rates_per_s)}; it must hold a finite rate, not negative, "
            f"for each of {len(plant.endpoints)} endpoints"
        )
    use = use_of(plant, [rate > 0 for rate in rates_per_s])
    found: list[ClosedForm | NoClosedForm] = []
    for row in sorted(use.visits.keys() | use.refused.keys()):
        name = plant.station_names[row]
        try:
            if unsteady:
                raise _Fails(unsteady)
            if plant.stations[row][c.S_KIND] == c.K_POOL:
                found.append(_loss_system(plant, use, rates_per_s, row))
            else:
                found.append(_station(plant, use, rates_per_s, row, stalls=stalls))
        except _Fails as failed:
            found.append(NoClosedForm(name, str(failed)))
    return tuple(found)


class _Fails(Exception):
    """An assumption that does not hold."""


# A station


def _station(plant: Plant, use: Use, rates_per_s: Sequence[float], row: int, *, stalls: bool) -> ClosedForm:
    if plant.stations[row][c.S_HOST] >= 0:
        _require_own_host(plant, use, row, stalls=stalls)
    if row in use.refused:
        raise _Fails(use.refused[row])
    service = _service(plant, use, rates_per_s, row, stalls=stalls)
    _require_poisson(plant, use, rates_per_s, row, service, stalls=stalls)
    rate = sum(rates_per_s[visit.endpoint] for visit in use.visits[row])
    known = {"rate_per_s": rate, "service_s": service.mean_s}
    load = rate * service.mean_s / service.servers
    if load >= 1:
        raise _Fails(f"its utilisation would be {load:.3g}: there is no steady state")
    shown: dict[str, float] = {**known, "servers": service.servers, "utilisation": load}
    name = plant.station_names[row]
    if service.setup_s > 0:
        mean = queueing.mg1_setup_mean_s(**known, cv=service.cv, setup_s=service.setup_s)
        model = ("M/M/1" if service.exponential else "M/G/1") + " with set-up"
        return ClosedForm(
            name, model, "Welch 1964", {**shown, "cv": service.cv, "setup_s": service.setup_s}, {"mean_s": mean}
        )
    if service.shared:
        mean = queueing.mg1_ps_mean_s(**known)
        return ClosedForm(name, "M/G/1-PS", "Sakata, Noguchi, Oizumi 1969", shown, {"mean_s": mean})
    if service.exponential:
        results = {"mean_s": queueing.mmc_mean_s(**known, servers=service.servers)}
        for label, p in QUANTILES.items():
            results[label] = queueing.mmc_quantile_s(p, **known, servers=service.servers)
        source = "Kleinrock 1975" if service.servers == 1 else "Erlang 1917"
        return ClosedForm(name, f"M/M/{service.servers}", source, shown, results)
    model = "M/D/1" if service.cv == 0 else "M/G/1"
    mean = queueing.mg1_fcfs_mean_s(**known, cv=service.cv)
    return ClosedForm(name, model, "Pollaczek 1930, Khinchine 1932", {**shown, "cv": service.cv}, {"mean_s": mean})


def _service(plant: Plant, use: Use, rates_per_s: Sequence[float], row: int, *, stalls: bool) -> _Service:
    """The service of a station: the law of what it serves, its servers and how they are shared."""
    station = plant.stations[row]
    servers, shared, setup_s, wake_s = station[c.S_SERVERS], False, 0.0, station[c.S_WAKE_NS] / 1e9
    if station[c.S_KIND] == c.K_BATCH:
        raise _Fails("a group commit serves all who wait at once")
    if station[c.S_HOST] >= 0:
        _require_own_host(plant, use, row, stalls=stalls)
        host = station[c.S_HOST]
        if station[c.S_KIND] == c.K_MULTI:
            servers, shared = plant.hosts[host], bool(plant.shared[host])
        elif station[c.S_POLL_NS] > 0:
            raise _Fails(f"it pays poll_s, {station[c.S_POLL_NS] / 1e9:g}, before each further batch")
        else:
            setup_s, wake_s = wake_s, 0.0
    if shared and servers > 1:
        raise _Fails(f"{servers} cores are shared by all: a formula is known for one only")
    # Moments of what comes: each endpoint's step in proportion to its rate.
    total = sum(rates_per_s[visit.endpoint] for visit in use.visits[row])
    mean_s = second_s2 = 0.0
    kinds = set()
    for visit in use.visits[row]:
        base_ns, per_item_ns, table = plant.costs[plant.step_rows[visit.step]]
        if per_item_ns > 0:
            raise _Fails(f"what step {visit.step!r} costs depends on its items")
        cv = table_cv(plant.tables[int(table)]) if table >= 0 else 0.0
        exponential = table >= 0 and np.array_equal(plant.tables[int(table)], _EXPONENTIAL)
        kinds.add((base_ns, exponential and wake_s == 0))
        share = rates_per_s[visit.endpoint] / total
        here_s = base_ns / 1e9 + wake_s
        mean_s += share * here_s
        second_s2 += share * (here_s**2 + (cv * base_ns / 1e9) ** 2)
    exponential = len(kinds) == 1 and next(iter(kinds))[1]
    if servers > 1 and not exponential:
        raise _Fails(f"it has {servers} servers, and its service is not one exponential")
    cv = float(np.sqrt(max(0.0, second_s2 / mean_s**2 - 1))) if mean_s > 0 else 0.0
    return _Service(mean_s, 0.0 if cv < 1e-6 else cv, exponential, servers, shared, setup_s)


def _require_own_host(plant: Plant, use: Use, row: int, *, stalls: bool) -> None:
    host = plant.stations[row][c.S_HOST]
    name = next(name for name, number in plant.host_rows.items() if number == host)
    others = [
        plant.station_names[other]
        for other in sorted(use.visits.keys() | use.refused.keys())
        if other != row and plant.stations[other][c.S_HOST] == host
    ]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise _Fails(f"it shares host {name!r} with {others[0]!r}{more}")
    if stalls:
        raise _Fails(f"host {name!r} stalls now and then")


def _require_poisson(
    plant: Plant, use: Use, rates_per_s: Sequence[float], row: int, service: _Service, *, stalls: bool
) -> None:
    """Raise _Fails unless the arrivals at a station are Poisson, or its queue is as if they were."""
    upstream, open_rows = set[int](), [row]
    while open_rows:
        current = open_rows.pop()
        for visit in use.visits[current]:
            if visit.broken:
                raise _Fails(f"its arrivals are not Poisson: {visit.broken}")
            fresh = set(visit.before) - upstream
            upstream |= fresh
            open_rows += sorted(fresh)
    for other in sorted(upstream):
        name = plant.station_names[other]
        if other == row:
            if not service.keeps_poisson:
                raise _Fails("its arrivals are not Poisson: requests come back to it")
            continue
        if other in use.refused:
            raise _Fails(f"its arrivals are not Poisson: they come from {name!r}, where {use.refused[other]}")
        try:
            before = _service(plant, use, rates_per_s, other, stalls=stalls)
        except _Fails as failed:
            raise _Fails(f"its arrivals are not Poisson: they come from {name!r}, where {failed}") from None
        if not before.keeps_poisson:
            raise _Fails(
                f"its arrivals are not Poisson: they come from {name!r}, "
                "which is neither exponential without set-up nor shared"
            )


# A pool without a queue


def _loss_system(plant: Plant, use: Use, rates_per_s: Sequence[float], row: int) -> ClosedForm:
    """Erlang's loss system: a pool whose token is held for a time that nobody else can stretch."""
    name, size = plant.station_names[row], plant.stations[row][c.S_SERVERS]
    if row in use.refused:
        raise _Fails(use.refused[row])
    offered = rate = 0.0
    for endpoint, path in enumerate(plant.endpoints):
        if rates_per_s[endpoint] == 0 or row not in {group.first for group in groups_of(plant, path)}:
            continue
        offered += rates_per_s[endpoint] * _held_s(plant, path, row)
        rate += rates_per_s[endpoint]
    results = {"blocked": queueing.erlang_b(servers=size, offered=offered)}
    shown = {"rate_per_s": rate, "service_s": offered / rate, "servers": float(size), "offered": offered}
    return ClosedForm(name, f"M/G/{size}/{size}", "Erlang 1917, Sevastyanov 1957", shown, results)


def _held_s(plant: Plant, path: Path, row: int) -> float:
    """How long the pool's token is held, on average. Raises _Fails unless the path is that of a loss system."""
    size = plant.stations[row][c.S_SERVERS]
    parts = list(path)
    while parts and isinstance(parts[0], Delay):
        parts.pop(0)
    match parts:
        case [Acquire(pool, 0), When([Fail()], [*body, Release(same)])] if pool == same:
            return sum(_passed_s(plant, part, pool, size) for part in body)
    raise _Fails("requests wait for it, or it is not all that they do")


def _passed_s(plant: Plant, part: Part, pool: str, size: int) -> float:
    """The mean time of a part that has no queue."""
    match part:
        case Delay(wait, fixed_ns):
            return (fixed_ns + (table_mean(plant.tables[plant.wait_rows[wait]]) if wait else 0.0)) / 1e9
        case Serve(step, on):
            group = plant.groups[on]
            station: Sequence[Any] = plant.stations[group.first]
            base_ns, per_item_ns, _ = plant.costs[plant.step_rows[step]]
            inside = all(on not in _served_outside(path, pool) for path in plant.endpoints)
            alone = inside and all(group not in groups_of(plant, job.path) for job in plant.backgrounds)
            if station[c.S_KIND] == c.K_FIFO and station[c.S_SERVERS] >= size and per_item_ns == 0 and alone:
                return base_ns / 1e9
    raise _Fails("who holds it may have to wait for something else")


def _served_outside(path: Path, pool: str) -> set[str]:
    """Stations that a path visits without a token of the pool, as far as `_held_s` takes paths."""
    if any(isinstance(part, Acquire) and part.pool == pool for part in path):
        return set()
    return {part.on for part in serves_of(path)}
