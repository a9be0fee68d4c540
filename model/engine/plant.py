"""Declaring a platform: hosts, stations, pools, queues, costs, waits and paths, by name.

A `Plant` is the mutable draft that a platform module fills in; `DataPlane` compiles it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from model.engine import layout as c
from model.engine.compiler import Compiler, Group, Keyed
from model.engine.program import LONGEST_S, Path
from model.engine.tables import exponential_from_mean, lognormal_from_mean_cv
from model.spec import InputError

FloatArray = npt.NDArray[np.float64]
Discipline = Literal["fcfs", "sharing"]
Eviction = Literal["lru", "fifo"]
Key = Literal["user", "target"]
Law = Literal["lognormal", "exponential"]
DISCIPLINES: tuple[str, ...] = get_args(Discipline)
EVICTIONS: tuple[str, ...] = get_args(Eviction)
LAWS: tuple[str, ...] = get_args(Law)
KEYS = {"user": c.J_USER, "target": c.J_TARGET}
MOST_RATE_PER_S = 1e7


@dataclass(frozen=True)
class Background:
    """A job that runs from the start: a relay, a worker, a poll."""

    path: Path
    lane: int = 0
    server: int = -1


@dataclass
class Plant:
    """A platform under construction. Names are unique per kind; a path refers to groups, queues, steps and waits."""

    hosts: list[int] = field(default_factory=list)
    """Cores of each host."""
    shared: list[int] = field(default_factory=list)
    """Of each host, 1 where its cores are shared by all tasks alike."""
    host_rows: dict[str, int] = field(default_factory=dict)
    stations: list[list[int]] = field(default_factory=list)
    station_names: list[str] = field(default_factory=list)
    station_kinds: list[str] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    caches: dict[str, Keyed] = field(default_factory=dict)
    cache_specs: list[tuple[int, int, bool]] = field(default_factory=list)
    """Capacity, time to live in ns, whether use counts, of each cache."""
    limiters: dict[str, Keyed] = field(default_factory=dict)
    limiter_rows: list[list[int]] = field(default_factory=list)
    coalescers: dict[str, Keyed] = field(default_factory=dict)
    switches: dict[str, int] = field(default_factory=dict)
    switch_states: list[int] = field(default_factory=list)
    step_names: list[str] = field(default_factory=list)
    step_rows: dict[str, int] = field(default_factory=dict)
    costs: list[list[float]] = field(default_factory=list)
    wait_names: list[str] = field(default_factory=list)
    wait_rows: dict[str, int] = field(default_factory=dict)
    tables: list[FloatArray] = field(default_factory=list)
    endpoints: list[Path] = field(default_factory=list)
    endpoint_names: list[str] = field(default_factory=list)
    """Of those endpoints that have one; the others are endpoint0, endpoint1, ..."""
    backgrounds: list[Background] = field(default_factory=list)
    jobs: dict[str, Path] = field(default_factory=dict)
    """What a control process starts: a refresh, a repair."""
    _shape_rows: dict[tuple[Law, float], int] = field(default_factory=dict)

    def host(self, name: str, cores: int = 1, discipline: Discipline = "fcfs") -> None:
        """A machine whose cores its processes share.

        "fcfs": a free core goes to the process that has waited longest, which keeps it until it blocks. "sharing":
        all are served at the same time, each at an equal part of the cores (processor sharing).
        """
        _once("host", name, self.host_rows)
        if cores < 1:
            raise InputError(f"host {name!r}: cores is {cores}; it must be at least 1")
        if discipline not in DISCIPLINES:
            raise InputError(f"host {name!r}: discipline is {discipline!r}; allowed: {', '.join(DISCIPLINES)}")
        self.host_rows[name] = len(self.hosts)
        self.hosts.append(cores)
        self.shared.append(int(discipline == "sharing"))

    def fifo(self, group: str, count: int = 1, servers: int = 1, selector: int = c.SEL_FIRST, kind: str = "") -> None:
        """Stations with servers of their own, first come first served."""
        self._group(group, count, selector, kind or group, [c.K_FIFO, -1, servers, 0, 0])

    def loop(
        self,
        group: str,
        *,
        host: str,
        wake_s: float,
        poll_s: float,
        count: int = 1,
        selector: int = c.SEL_FIRST,
        kind: str = "",
    ) -> None:
        """Single-threaded processes on a host, serving what is ready in gated batches: `wake_s` at the start of a busy
        period, `poll_s` before each further batch."""
        row = [c.K_LOOP, self._host(host), 1, _ns(wake_s, "wake_s"), _ns(poll_s, "poll_s")]
        self._group(group, count, selector, kind or group, row)

    def multi(
        self, group: str, *, host: str, wake_s: float, count: int = 1, selector: int = c.SEL_FIRST, kind: str = ""
    ) -> None:
        """Servers that give each visit a process of its own on the host (PostgreSQL backends)."""
        self._group(group, count, selector, kind or group, [c.K_MULTI, self._host(host), 1, _ns(wake_s, "wake_s"), 0])

    def pool(self, group: str, size: int, count: int = 1, selector: int = c.SEL_FIRST) -> None:
        """Pools of `size` tokens (connections)."""
        self._group(group, count, selector, "", [c.K_POOL, -1, size, 0, 0])

    def group_commit(self, group: str, wait: str, kind: str = "", *, leader: bool = False) -> None:
        """A log whose flush serves all that wait; a flush takes the calibrated wait `wait`."""
        if wait not in self.wait_rows:
            raise InputError(f"wait {wait!r} is not defined; defined: {', '.join(self.wait_rows) or 'none'}")
        self._group(group, 1, c.SEL_FIRST, kind, [c.K_BATCH, -1, 1, 0, 0])
        self.stations[-1][c.S_GATE] = 1 if leader else 0
        self.groups[group] = dataclasses.replace(self.groups[group], led=leader)
        self.stations[-1][c.S_TABLE] = self.wait_rows[wait]

    def alias(self, group: str, of: str, offset: int, selector: int) -> None:
        """Another name for the stations of a group, selected otherwise."""
        if of not in self.groups:
            raise InputError(f"station {of!r} is not defined; defined: {', '.join(self.groups) or 'none'}")
        base = self.groups[of]
        self.groups[group] = Group(base.first + offset, selector, base.size, is_alias=True)

    def cache(
        self, name: str, capacity: int, *, key: Key = "target", ttl_s: float = 0.0, evicts: Eviction = "lru"
    ) -> None:
        """A cache of `capacity` entries of one size; an entry expires `ttl_s` after it was stored (0: never).

        A full one evicts the entry that was used ("lru") or stored ("fifo") the longest time ago.
        """
        _once("cache", name, self.caches)
        if capacity < 1:
            raise InputError(f"cache {name!r}: capacity is {capacity}; it must be at least 1")
        if evicts not in EVICTIONS:
            raise InputError(f"cache {name!r}: evicts is {evicts!r}; allowed: {', '.join(EVICTIONS)}")
        self.caches[name] = Keyed(len(self.cache_specs), _key_column(key))
        self.cache_specs.append((capacity, _ns(ttl_s, "ttl_s"), evicts == "lru"))

    def limiter(self, name: str, rate_per_s: float, burst: int = 1, *, key: Key = "user", keys: int = 1) -> None:
        """Token buckets, `keys` of them, chosen by the key modulo their number: `rate_per_s` requests in the long run
        (to a whole number of ns between two) and `burst` at once."""
        _once("limiter", name, self.limiters)
        if not (np.isfinite(rate_per_s) and 0 < rate_per_s <= MOST_RATE_PER_S):
            raise InputError(f"limiter {name!r}: rate_per_s is {rate_per_s}; it must be above 0, at most 1e7")
        if burst < 1 or keys < 1:
            raise InputError(f"limiter {name!r}: burst is {burst} and keys is {keys}; both must be at least 1")
        period = round(1e9 / rate_per_s)
        first = sum(row[c.B_KEYS] for row in self.limiter_rows)
        self.limiters[name] = Keyed(len(self.limiter_rows), _key_column(key))
        self.limiter_rows.append([first, keys, period, (burst - 1) * period, 0])

    def coalescer(self, name: str, *, key: Key = "target") -> None:
        """Requests for one key wait for the one that is fetching it already."""
        _once("coalescer", name, self.coalescers)
        self.coalescers[name] = Keyed(len(self.coalescers), _key_column(key))

    def switch(self, name: str, *, on: bool = False) -> None:
        """Something that a control process turns on or off, and paths look at."""
        _once("switch", name, self.switches)
        self.switches[name] = len(self.switch_states)
        self.switch_states.append(int(on))

    def endpoint(self, name: str, path: Path) -> None:
        """What requests of one kind go through; another path for a name that is there replaces it."""
        if name in self.endpoint_names:
            self.endpoints[self.endpoint_names.index(name)] = path
            return
        if len(self.endpoint_names) != len(self.endpoints):
            raise InputError(f"endpoint {name!r}: {len(self.endpoints)} endpoints are there that have no name")
        self.endpoint_names.append(name)
        self.endpoints.append(path)

    def job(self, name: str, path: Path) -> None:
        """Work that begins when a control process says so (`Running.start`), and that no client waits for."""
        _once("job", name, self.jobs)
        self.jobs[name] = path

    def queue(self, name: str) -> None:
        """A queue of messages."""
        _once("queue", name, self.queues)
        self.queues[name] = len(self.queues)

    def step(
        self, name: str, base_s: float, per_item_s: float = 0.0, cv: float = 0.0, *, law: Law = "lognormal"
    ) -> None:
        """The CPU cost of a step: ``base_s + per_item_s * items``, times a factor of mean 1 that is drawn per visit.

        The factor is lognormal with coefficient of variation `cv`, or exponential, where `cv` is 1 and may be left out.
        """
        _once("step", name, self.step_rows)
        for what, value in (("base_s", base_s), ("per_item_s", per_item_s), ("cv", cv)):
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"step {name}: {what} is {value}; it must be finite and not negative")
            if value > LONGEST_S:
                raise InputError(f"step {name}: {what} is {value:g}; it must be at most {LONGEST_S:g}")
        if law not in LAWS:
            raise InputError(f"step {name}: law is {law!r}; allowed: {', '.join(LAWS)}")
        if law == "exponential" and cv not in (0, 1):
            raise InputError(f"step {name}: cv is {cv:g}; that of an exponential is 1")
        self.step_rows[name] = len(self.costs)
        self.step_names.append(name)
        self.costs.append([base_s * 1e9, per_item_s * 1e9, self._shape(law, cv)])

    def _shape(self, law: Law, cv: float) -> int:
        """The row of the table of a factor of mean 1; -1 where it is 1."""
        if law == "lognormal" and cv == 0:
            return -1
        shape = (law, 1.0 if law == "exponential" else cv)
        if shape not in self._shape_rows:
            self._shape_rows[shape] = len(self.tables)
            exponential = law == "exponential"
            self.tables.append(exponential_from_mean(1.0) if exponential else lognormal_from_mean_cv(1.0, cv))
            self.wait_names.append(law if exponential else f"cv {cv:g}")
        return self._shape_rows[shape]

    def wait(self, name: str, table_ns: FloatArray) -> None:
        """A delay as a quantile table in nanoseconds."""
        _once("wait", name, self.wait_rows)
        if np.shape(table_ns) != (c.TABLE_STRIDE,):
            raise InputError(f"wait {name}: a quantile table has {c.TABLE_STRIDE} values, not {np.shape(table_ns)}")
        if not (np.isfinite(table_ns).all() and (table_ns >= 0).all()):
            raise InputError(f"wait {name}: its quantiles must be finite and not negative")
        self.wait_rows[name] = len(self.tables)
        self.wait_names.append(name)
        self.tables.append(table_ns)

    def compile(self) -> tuple[Compiler, list[int], list[int], dict[str, int]]:
        """The compiler with all rows, the entry of each endpoint, of each background job and of each job by name."""
        compiler = Compiler(
            self.step_rows, self.wait_rows, self.groups, self.queues, self.caches, self.limiters, self.coalescers,
            self.switches,
        )  # fmt: skip
        entries = [compiler.request(path) for path in self.endpoints]
        backgrounds = [compiler.background(job.path) for job in self.backgrounds]
        jobs = {name: compiler.background(path) for name, path in self.jobs.items()}
        return compiler, entries, backgrounds, jobs

    def stations_of(self, kind: str) -> list[int]:
        """Rows of the stations that are processes of this kind."""
        return [row for row, other in enumerate(self.station_kinds) if other == kind]

    def _group(self, group: str, count: int, selector: int, kind: str, row: Sequence[int]) -> None:
        _once("station", group, self.groups)
        if count < 1 or row[2] < 1:
            raise InputError(f"station {group!r}: count is {count}, servers (or size) {row[2]}; at least 1 each")
        self.groups[group] = Group(len(self.stations), selector, count)
        for i in range(count):
            station = [0] * c.STATION_COLUMNS
            station[c.S_KIND], station[c.S_HOST], station[c.S_SERVERS] = row[0], row[1], row[2]
            station[c.S_WAKE_NS], station[c.S_POLL_NS] = row[3], row[4]
            station[c.S_HEAD] = station[c.S_TAIL] = station[c.S_NEXT] = station[c.S_FLIGHT] = -1
            station[c.S_SLOWDOWN_PPM] = 1_000_000
            self.stations.append(station)
            self.station_names.append(f"{group}{i}" if count > 1 else group)
            self.station_kinds.append(kind)

    def _host(self, name: str) -> int:
        if name not in self.host_rows:
            raise InputError(f"host {name!r} is not defined; defined: {', '.join(self.host_rows)}")
        return self.host_rows[name]


def _once(kind: str, name: str, defined: Mapping[str, object]) -> None:
    if name in defined:
        raise InputError(f"{kind} {name!r} is defined twice")


def _key_column(key: str) -> int:
    if key not in KEYS:
        raise InputError(f"key is {key!r}; allowed: {', '.join(KEYS)}")
    return KEYS[key]


def _ns(seconds: float, what: str) -> int:
    if not (np.isfinite(seconds) and seconds >= 0):
        raise InputError(f"{what} is {seconds}; it must be finite and not negative")
    return round(seconds * 1e9)
