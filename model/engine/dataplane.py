"""The data plane from Python: tables allocated from a Plant, advanced in time, grown and drained when they are full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.engine import kernel, layout as c
from model.engine.caches import cache_tables
from model.engine.events import NEVER
from model.engine.plant import Plant
from model.engine.reach import Reach, check_reach
from model.engine.state import IntArray, State, empty_jobs, grown
from model.rng.philox import purpose_key
from model.spec import InputError
from model.workload.implicit.columns import CROWD_COLUMNS, W_CLASS

BACKGROUND_ENTITY = 1 << 40
"""Entities of background jobs start here, above every request ordinal."""


MOST_SLOWDOWN = 1e4
"""The largest factor of a station's or a host's service times; the least is a millionth."""
TRACED = 1_000


def trace_mask(expected_requests: float) -> int:
    """The setting SET_TRACE_MASK by which 500 to 1000 requests are traced, evenly spread; all where there are fewer."""
    return (1 << max(0, int(np.ceil(np.log2(max(expected_requests, 1) / TRACED))))) - 1


class ArrivalBlock(Protocol):
    """Some consecutive requests of a Schedule, in order of time."""

    @property
    def ordinal(self) -> int: ...
    @property
    def time_ns(self) -> npt.NDArray[np.int64]: ...
    @property
    def endpoint(self) -> npt.NDArray[Any]: ...
    @property
    def user(self) -> npt.NDArray[Any]: ...
    @property
    def target(self) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True)
class Sessions:
    """Closed mode: what each session asks for, int64 [sessions, requests] each; think time in ns before a request."""

    endpoint: IntArray
    user: IntArray
    target: IntArray
    think_ns: IntArray


def no_data() -> dict[str, Any]:
    """The data structures of a platform whose paths use no effects; `data` has those of one that does."""
    one, flag = np.zeros(1, np.int64), np.zeros(1, np.bool_)
    offsets, short = np.zeros(2, np.int64), np.zeros(1, np.int32)
    return {
        "follower_offsets": offsets, "followers": short, "hot_offsets": offsets, "hot_authors": short, "pulled": flag,
        "timeline_exists": flag, "timeline_length": short, "timeline_shard": np.zeros(1, np.uint8),
        "hot_shard": np.zeros(1, np.uint8), "pages": np.zeros((1, 1), np.int64), "page_head": short, "hot_row": short,
        "hot_pages": np.zeros((1, 1), np.int64), "hot_head": short, "post_cached": flag, "post_exists": flag,
        "session_lsn": one, "replayed": one, "known": np.zeros((1, 1), np.int64), "replay_delay": one,
        "ring_points": one, "ring_owners": short, "seats": np.zeros(1, np.uint16),
        "crowd": np.zeros(CROWD_COLUMNS, np.int64), "law": np.zeros(W_CLASS + 1), "class_begins": offsets,
        "runs": np.zeros((1, 2), np.int64), "pulled_runs": np.zeros((1, 1, 2), np.int64),
    }  # fmt: skip


class DataPlane:
    """The compiled half of a simulation.

    `advance(until_ns)` processes every event before that instant. What happened is handed to `on_log` as rows
    int64 [n, LOG_COLUMNS] whenever the log is full, and by `drain`. `capacity` is how many rows the tables of jobs,
    messages and events begin with (at least `kernel.MARGIN`, the room that one event may need); they grow.
    """

    def __init__(
        self,
        plant: Plant,
        seed: int,
        *,
        blocks: Iterator[ArrivalBlock] | None = None,
        sessions: Sessions | None = None,
        data: Mapping[str, Any] | None = None,
        settings: Mapping[int, int] | None = None,
        stalls: tuple[float, str] | None = None,
        shards: int = 1,
        on_log: Callable[[IntArray], None] | None = None,
        capacity: int = 2 * kernel.MARGIN,
    ) -> None:
        self.plant = plant
        self._compiler, entries, backgrounds, self._jobs = plant.compile()
        self._blocks = blocks or iter(())
        self._queue_names = {row: name for name, row in plant.queues.items()}
        self._on_log = on_log or (lambda rows: None)
        self.watch_fired = ""
        values = np.zeros(c.SETTINGS, np.int64)
        values[c.SET_LANES] = 1
        values[c.SET_TRACE_MASK] = -1
        for column, value in (settings or {}).items():
            values[column] = value
        self._kinds = [row[c.S_KIND] for row in plant.stations]
        self._reach = Reach(
            lanes=int(values[c.SET_LANES]), shards=shards, servers=int(values[c.SET_STANDBYS]),
            database_servers=max(1, int(values[c.SET_SERVERS])),
        )  # fmt: skip
        for entry in entries:
            check_reach(self._compiler.uses_of(entry), self._kinds, self._reach)
        for job, entry in zip(plant.backgrounds, backgrounds, strict=True):
            self._check_job(entry, job.lane, job.server)
        capacity = max(capacity, kernel.MARGIN)
        jobs = empty_jobs(capacity)
        messages = np.zeros((capacity, c.MESSAGE_COLUMNS), np.int64)
        caches, slots, buckets = cache_tables(plant.cache_specs)
        steps, tables = len(plant.costs), len(plant.tables)
        names = [*plant.step_names, *plant.wait_names, "stall", "stall gap"]
        session_table = np.zeros((4, 1, 0), np.int64)
        if sessions is not None:
            session_table = np.stack([sessions.endpoint, sessions.user, sessions.target, sessions.think_ns])
        self.state = State(
            x=np.zeros(c.SCALARS, np.int64),
            heap=np.zeros((capacity, 3), np.int64),
            jobs=jobs,
            stations=np.array(plant.stations, np.int64).reshape(-1, c.STATION_COLUMNS),
            hosts=_hosts(plant),
            queues=np.array(
                [[-1, -1, 0, -1, -1, 0, -1] for _ in plant.queues] or np.zeros((0, c.QUEUE_COLUMNS)), np.int64
            ).reshape(-1, c.QUEUE_COLUMNS),
            messages=messages,
            log=np.zeros((1 << 16, c.LOG_COLUMNS), np.int64),
            program=self._compiler.program(),
            entry=np.array(entries or [0], np.int64),
            costs=np.array(plant.costs, np.float64).reshape(-1, c.COST_COLUMNS),
            tables=np.array(plant.tables, np.float64).reshape(-1, c.TABLE_STRIDE),
            keys=np.array([purpose_key(seed, name) for name in names], np.int64),
            visits=np.zeros((steps, 3), np.int64),
            caches=caches,
            slots=slots,
            buckets=buckets,
            limiters=np.array(plant.limiter_rows, np.int64).reshape(-1, c.LIMITER_COLUMNS),
            allowances=np.zeros(sum(row[c.B_KEYS] for row in plant.limiter_rows), np.int64),
            flights=np.zeros((capacity if plant.coalescers else 0, c.FLIGHT_COLUMNS), np.int64),
            flight_buckets=np.full(c.FLIGHT_BUCKETS, -1, np.int64),
            switches=np.array(plant.switch_states, np.int64),
            todo=np.zeros(2 * capacity + kernel.MARGIN, np.int64),
            arrivals=np.zeros((4, 0), np.int64),
            sessions=session_table,
            stalls=np.array([0.0, -1.0]),
            job_page=np.zeros((len(jobs), max(1, int(values[c.SET_PAGE]))), np.int64),
            scratch=np.zeros(shards, np.int64),
            settings=values,
            **{**no_data(), **(data or {})},
        )
        _link(self.state.jobs, c.J_NEXT, 0)
        _link(self.state.messages, c.M_NEXT, 0)
        if plant.coalescers:
            _link(self.state.flights, c.F_CHAIN, 0)
        else:
            # Nobody opens a flight, so the kernel needs no room for one.
            self.state.x[c.X_FLIGHT_COUNT] = -kernel.MARGIN
        self.state.x[c.X_ENTITY] = BACKGROUND_ENTITY
        self.state.x[c.X_BLOCK_DONE] = 0 if blocks is not None else 1
        if stalls is not None and stalls[0] > 0:
            self._start_stalls(stalls[0], plant.wait_rows[stalls[1]], steps + tables)
        s = self.state
        for job, entry in zip(plant.backgrounds, backgrounds, strict=True):
            kernel.spawn_background(s.x, s.heap, s.jobs, entry, job.lane, job.server, 0)
        if sessions is not None:
            for session in range(session_table.shape[1]):
                self._ensure_room()
                s = self.state
                kernel.open_session(s.x, s.heap, s.jobs, s.sessions, s.entry, s.settings, session)

    @property
    def now_ns(self) -> int:
        return int(self.state.x[c.X_NOW])

    @property
    def labels(self) -> dict[int, str]:
        """What a job does at the operations of the program at which it may stay: steps, waits, pools, coalescers."""
        return self._compiler.labels

    def scalar(self, column: int) -> int:
        """One of the X_ counters."""
        return int(self.state.x[column])

    def advance(self, until_ns: int) -> bool:
        """Process every event before `until_ns`; True when a watched queue stopped it early (see `watch_fired`)."""
        while True:
            reason = kernel.advance(self.state, until_ns)
            if reason == c.R_UNTIL:
                return False
            if reason == c.R_NEED_BLOCK:
                self._next_block()
            elif reason == c.R_GROW:
                self._ensure_room()
            elif reason == c.R_LOG:
                self.drain()
            elif reason == c.R_ENDLESS:
                part = self._compiler.describe(int(self.state.x[c.X_STUCK]))
                raise InputError(
                    f"a path never ends: at {self.now_ns / 1e9:g} s it goes round, or starts jobs and messages, without"
                    f" taking time ({part})"
                )
            else:
                self.watch_fired = self._queue_names[int(self.state.x[c.X_WATCHED])]
                return True

    def drain(self) -> None:
        """Hand the log to `on_log` and empty it."""
        count = int(self.state.x[c.X_LOG])
        if count:
            self._on_log(self.state.log[:count].copy())
            self.state.x[c.X_LOG] = 0

    def queue_length(self, queue: str) -> int:
        """Messages that stand in a queue."""
        return int(self.state.queues[self._queue(queue), c.Q_LENGTH])

    def watch(self, queue: str, above: int) -> None:
        """Stop `advance` at the event after which more than `above` messages stand in a queue; once."""
        self.state.queues[self._queue(queue), c.Q_WATCH] = above

    def _queue(self, name: str) -> int:
        if name not in self.plant.queues:
            raise InputError(f"queue {name!r} is not defined; defined: {', '.join(self.plant.queues) or 'none'}")
        return self.plant.queues[name]

    def start(self, job: str, *, lane: int = 0, server: int = -1) -> None:
        """Begin the plant's job of that name now."""
        if job not in self._jobs:
            raise InputError(f"job {job!r} is not defined; defined: {', '.join(self._jobs) or 'none'}")
        self._check_job(self._jobs[job], lane, server)
        self._ensure_room()
        s = self.state
        kernel.spawn_background(s.x, s.heap, s.jobs, self._jobs[job], lane, server, self.now_ns)

    def _check_job(self, entry: int, lane: int, server: int) -> None:
        """Raise InputError where a job of this lane and server may come to a station that is not there."""
        if lane < 0 or server < -1:
            raise InputError(f"a job's lane is {lane} and its server {server}; at least 0 and -1 are allowed")
        reach = replace(self._reach, lanes=lane + 1, servers=max(self._reach.servers, server + 1))
        check_reach(self._compiler.uses_of(entry), self._kinds, reach)

    def flush_cache(self, cache: str) -> None:
        """Empty a cache: what it held is missing from now on."""
        if cache not in self.plant.caches:
            raise InputError(f"cache {cache!r} is not defined; defined: {', '.join(self.plant.caches) or 'none'}")
        row = self.plant.caches[cache].row
        s, own = self.state, self.state.caches[row]
        empty, slots, buckets = cache_tables([self.plant.cache_specs[row]])
        first, capacity, begin, size = own[c.CA_FIRST], own[c.CA_CAPACITY], own[c.CA_BUCKETS], own[c.CA_MASK] + 1
        slots[:-1, c.V_CHAIN] += first
        s.slots[first : first + capacity] = slots
        s.buckets[begin : begin + size] = buckets[:size]
        own[[c.CA_NEWEST, c.CA_OLDEST, c.CA_FREE, c.CA_COUNT]] = -1, -1, empty[0, c.CA_FREE] + first, 0

    def switch(self, name: str, on: bool) -> None:
        """Turn a switch that paths look at on or off."""
        if name not in self.plant.switches:
            raise InputError(f"switch {name!r} is not defined; defined: {', '.join(self.plant.switches) or 'none'}")
        self.state.switches[self.plant.switches[name]] = int(on)

    def set_servers(self, station: int, servers: int) -> None:
        """Change how many servers a first-come-first-served station, or tokens a pool, has from now on.

        Where there are fewer than are busy, those in service finish first.
        """
        self._require(station, "resized", c.K_FIFO, c.K_POOL)
        if servers < 1:
            raise InputError(f"servers of {self.plant.station_names[station]!r} is {servers}; it must be at least 1")
        waiting = min(servers, int(self.state.stations[station, c.S_LENGTH]))
        self._ensure_room(events=waiting)
        s = self.state
        kernel.resize(
            s.x, s.heap, s.jobs, s.stations, s.hosts, s.program, s.costs, s.tables, s.keys, s.log, station, servers,
            self.now_ns,
        )  # fmt: skip

    def pause(self, station: int) -> None:
        """Stop a process after the segment it is serving."""
        self._require(station, "paused", c.K_FIFO, c.K_LOOP)
        self.state.stations[station, c.S_PAUSED] = 1

    def resume(self, station: int) -> None:
        """Let a paused process go on."""
        stations = self.state.stations
        self._ensure_room(events=int(min(stations[station, c.S_SERVERS], stations[station, c.S_LENGTH])))
        s = self.state
        kernel.resume(
            s.x, s.heap, s.jobs, s.stations, s.hosts, s.program, s.costs, s.tables, s.keys, station, self.now_ns
        )

    def slow_down(self, station: int, factor: float) -> None:
        """Multiply a station's service times from now on; 1 is normal."""
        self._require(station, "slowed down", c.K_FIFO, c.K_LOOP, c.K_MULTI)
        self.state.stations[station, c.S_SLOWDOWN_PPM] = _ppm(factor)

    def slow_down_host(self, host: str, factor: float) -> None:
        """Multiply what every service on a host takes, wake-ups included, by `factor` from now on; 1 is normal."""
        if host not in self.plant.host_rows:
            raise InputError(f"host {host!r} is not defined; defined: {', '.join(self.plant.host_rows)}")
        self.state.hosts[self.plant.host_rows[host], c.H_SLOWDOWN_PPM] = _ppm(factor)

    def _require(self, station: int, what: str, *kinds: int) -> None:
        if self.state.stations[station, c.S_KIND] not in kinds:
            raise InputError(f"station {self.plant.station_names[station]!r} cannot be {what}: it is no single process")

    def _start_stalls(self, rate_per_s: float, table: int, key: int) -> None:
        self.state.stalls[:] = (rate_per_s / 1e9, table)
        for host in range(len(self.plant.hosts)):
            kernel.start_stalls(self.state.x, self.state.heap, self.state.keys[key + 1], self.state.stalls[0], host)

    def _next_block(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self.state.x[c.X_BLOCK_DONE] = 1
            return
        rows = np.empty((4, len(block.time_ns)), np.int64)
        rows[0], rows[1], rows[2], rows[3] = block.time_ns, block.endpoint, block.user, block.target
        self.state = self.state._replace(arrivals=rows)
        self.state.x[c.X_ORDINAL] = block.ordinal
        self.state.x[c.X_ARRIVAL] = 0
        self.state.x[c.X_ARRIVALS] = rows.shape[1]
        most = int(rows[3].max(initial=0))
        if most >= len(self.state.post_exists) > 1:
            size = max(most + 1, 2 * len(self.state.post_exists))
            self.state = self.state._replace(
                post_exists=grown(self.state.post_exists, size), post_cached=grown(self.state.post_cached, size)
            )

    def _ensure_room(self, events: int = 0) -> None:
        """Double what is nearly full, or would be with so many more `events`.

        Nothing holds a reference to the old tables: the kernel has returned.
        """
        s = self.state
        if s.x[c.X_JOB_COUNT] + kernel.MARGIN > len(s.jobs):
            old = len(s.jobs)
            jobs = grown(s.jobs, 2 * old)
            _link(jobs, c.J_NEXT, old, onto=int(s.x[c.X_JOB_FREE]))
            s.x[c.X_JOB_FREE] = old
            # A job's number above the stations' names it as a task, so growing changes no number already given.
            s = s._replace(
                jobs=jobs, job_page=grown(s.job_page, 2 * old), todo=np.zeros(4 * old + kernel.MARGIN, np.int64)
            )
        while s.x[c.X_HEAP] + events + kernel.MARGIN > len(s.heap):
            s = s._replace(heap=grown(s.heap, 2 * len(s.heap)))
        while s.x[c.X_LOG] + events > len(s.log):
            s = s._replace(log=grown(s.log, 2 * len(s.log)))
        if s.x[c.X_MESSAGE_COUNT] + kernel.MARGIN > len(s.messages):
            old = len(s.messages)
            messages = grown(s.messages, 2 * old)
            _link(messages, c.M_NEXT, old, onto=int(s.x[c.X_MESSAGE_FREE]))
            s.x[c.X_MESSAGE_FREE] = old
            s = s._replace(messages=messages)
        if s.x[c.X_FLIGHT_COUNT] + kernel.MARGIN > len(s.flights):
            old = len(s.flights)
            flights = grown(s.flights, 2 * old)
            _link(flights, c.F_CHAIN, old, onto=int(s.x[c.X_FLIGHT_FREE]))
            s.x[c.X_FLIGHT_FREE] = old
            s = s._replace(flights=flights)
        self.state = s


def _hosts(plant: Plant) -> IntArray:
    rows = np.zeros((max(1, len(plant.hosts)), c.HOST_COLUMNS), np.int64)
    rows[:, [c.H_HEAD, c.H_TAIL, c.H_ROOT]] = -1
    rows[:, c.H_SLOWDOWN_PPM] = 1_000_000
    rows[:, c.H_EVENT] = NEVER
    for row, cores, shared in zip(rows, plant.hosts, plant.shared, strict=False):
        row[c.H_CORES] = cores
        row[c.H_FREE] = c.ANY_CORES if shared else cores
        row[c.H_SHARED] = shared
    return rows


def _ppm(factor: float) -> int:
    if not 1e-6 <= factor <= MOST_SLOWDOWN:
        raise InputError(f"slow_down factor is {factor}; it must be positive, at most {MOST_SLOWDOWN:g}")
    return round(factor * 1e6)


def _link(table: IntArray, column: int, begin: int, onto: int = -1) -> None:
    """Chain the rows from `begin` on into a free list that ends in the list `onto`."""
    table[begin:, column] = np.arange(begin + 1, len(table) + 1)
    table[-1, column] = onto
