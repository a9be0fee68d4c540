"""The reference model: a platform's declaration interpreted part by part, one SimPy process per job.

It is slow and plain, and shares nothing with the compiled engine but the declaration (`Plant` and the parts of a path)
and the decisions of `model.policy`. ARCHITECTURE.md ("The data plane") is its specification.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

import simpy

from model.engine import layout as c
from model.engine.plant import Plant
from model.engine.program import (
    Acquire,
    Admit,
    Attempt,
    Coalesce,
    Delay,
    Effect,
    Fail,
    Flush,
    Forever,
    Forget,
    Get,
    Lookup,
    Put,
    Release,
    Scatter,
    Serve,
    Spawn,
    Store,
    Switch,
    UntilReplayDelay,
    When,
    While,
)  # fmt: skip
from tests.reference.clock import LAST_BRANCH, Clock
from tests.reference.feed import MISSING, Feed
from tests.reference.jobs import Job, Message, Step, Visit
from tests.reference.keyed import Cache, Limiter, Passenger
from tests.reference.numbers import key_of, quantile, uniform
from tests.reference.paths import Node, Nodes, Numbering, Route
from tests.reference.stations import (
    NORMAL_PPM,
    RELEASED,
    STALL_ENTITY,
    Cores,
    Fifo,
    GroupCommit,
    Loop,
    Multi,
    Pool,
    SharedCores,
    Station,
    Ticket,
)  # fmt: skip

Running: TypeAlias = Generator[simpy.Event, Any, None]
Row: TypeAlias = tuple[int, int | str, int, int, int, int]
"""Kind, label, time, value, weight, ordinal, as in the engine's log; the label of a step is its name."""

BACKGROUND_ENTITY = 1 << 40
OUTCOMES = {"missing": MISSING, "timeout": 3, "rejected": 5}
OK, TIMEOUT = 0, 3
TRY_BRANCHES = 256
"""Branches from one try of an attempt to the next."""


class Failed(Exception):
    """A job fails where it is: its path, branch, attempt or coalesced body ends."""


class Queue:
    """Messages, and the jobs that wait for one."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.waiting: deque[tuple[Job, simpy.Event]] = deque()


class Reference:
    """A platform in motion. Arguments as those of the engine's DataPlane; `log` is what happened, in order."""

    def __init__(
        self,
        plant: Plant,
        seed: int,
        *,
        requests: Sequence[tuple[int, int, int, int]] = (),
        sessions: Sequence[Sequence[tuple[int, int, int, int]]] = (),
        data: Mapping[str, Any] | None = None,
        settings: Mapping[int, int] | None = None,
        stalls: tuple[float, str] | None = None,
        shards: int = 1,
    ) -> None:
        """`requests` are (time in ns, endpoint, user, target) in order; `sessions` the same with think times."""
        self.plant = plant
        self.clock = Clock()
        self.clock.after_each = self._hand_over
        self.log: list[Row] = []
        self.settings = {c.SET_LANES: 1, c.SET_TRACE_MASK: -1, **(settings or {})}
        self.steps = self._steps(seed)
        self.wait_keys = [key_of(seed, name) for name in plant.wait_names]
        self.tables = [[float(value) for value in table] for table in plant.tables]
        shared = zip(plant.hosts, plant.shared, strict=True)
        self.hosts = [(SharedCores if s else Cores)(self.clock, row, n) for row, (n, s) in enumerate(shared)]
        self.stations = [self._station(row) for row in plant.stations]
        self.queues = [Queue() for _ in plant.queues]
        self.caches = [Cache(size, ttl_ns, use_counts=use) for size, ttl_ns, use in plant.cache_specs]
        self.limiters = [
            Limiter(row[c.B_PERIOD_NS], row[c.B_TOLERANCE_NS], row[c.B_KEYS]) for row in plant.limiter_rows
        ]
        self.flights: dict[tuple[str, int], deque[Passenger]] = {}
        self.switches = [bool(state) for state in plant.switch_states]
        messages = [queue.messages for queue in self.queues]
        self.feed = Feed(data, self.settings, messages, self._note, shards) if data else None
        numbering = Numbering()
        self.endpoints = [numbering.route(path) for path in plant.endpoints]
        routes = [numbering.route(background.path) for background in plant.backgrounds]
        for number, (background, route) in enumerate(zip(plant.backgrounds, routes, strict=True), 1):
            job = Job(BACKGROUND_ENTITY + number, lane=background.lane, server=background.server)
            self.clock.at(0, job.tie(route.start), self._starter(self._ending(job, route.nodes)))
        for session, wishes in enumerate(sessions):
            self.clock.process(self._session(session, wishes))
        self._requests = deque(enumerate(requests))
        self._next_arrival()
        if stalls is not None and stalls[0] > 0:
            self._stall_keys = key_of(seed, "stall"), key_of(seed, "stall gap")
            self._stall_rate_per_ns, self._stall_table = stalls[0] / 1e9, self.tables[plant.wait_rows[stalls[1]]]
            for host in self.hosts:
                self._next_stall(host, 0, 0)

    # Control, as the engine's data plane offers it.

    def advance(self, until_ns: int) -> None:
        """Process every event before `until_ns`."""
        self.clock.advance(until_ns)

    def pause(self, station: int) -> None:
        self._serving(station).paused = True

    def resume(self, station: int) -> None:
        self._serving(station).resume()

    def slow_down(self, station: int, factor: float) -> None:
        self._serving(station).slowdown_ppm = round(factor * NORMAL_PPM)

    def slow_down_host(self, host: str, factor: float) -> None:
        self.hosts[self.plant.host_rows[host]].slowdown_ppm = round(factor * NORMAL_PPM)

    def set_servers(self, station: int, servers: int) -> None:
        resized = self.stations[station]
        assert isinstance(resized, Fifo | Pool)
        resized.resize(servers)

    def switch(self, name: str, on: bool) -> None:
        self.switches[self.plant.switches[name]] = on

    # Building.

    def _steps(self, seed: int) -> dict[str, Step]:
        steps = {}
        for name, (base_ns, per_item_ns, table) in zip(self.plant.step_names, self.plant.costs, strict=True):
            factors = [float(value) for value in self.plant.tables[int(table)]] if table >= 0 else None
            steps[name] = Step(name, base_ns, per_item_ns, factors, key_of(seed, name))
        return steps

    def _station(self, row: list[int]) -> Station | Pool | GroupCommit:
        kind, wake_ns, poll_ns = row[c.S_KIND], row[c.S_WAKE_NS], row[c.S_POLL_NS]
        match kind:
            case c.K_FIFO:
                return Fifo(self.clock, self._left, row[c.S_SERVERS])
            case c.K_LOOP:
                return Loop(self.clock, self._left, self.hosts[row[c.S_HOST]], wake_ns, poll_ns)
            case c.K_MULTI:
                return Multi(self.clock, self._left, self.hosts[row[c.S_HOST]], wake_ns)
            case c.K_POOL:
                return Pool(self.clock, row[c.S_SERVERS])
        table = row[c.S_TABLE]
        return GroupCommit(self.clock, self.wait_keys[table], self.tables[table], has_leader=row[c.S_GATE] == 1)

    def _member(self, name: str, job: Job) -> Station | Pool | GroupCommit:
        """The station of a group that serves a job."""
        group = self.plant.groups[name]
        servers = self.settings.get(c.SET_SERVERS, 0)
        offset = {
            c.SEL_FIRST: 0,
            c.SEL_LANE: job.lane,
            c.SEL_SHARD: job.shard,
            c.SEL_SERVER: job.server + 1,
            c.SEL_LANE_SERVER: job.lane * servers + job.server + 1,
            c.SEL_KEY: (job.user * 2654435761 >> 7) % group.size,
        }[group.selector]
        return self.stations[group.first + offset]

    def _serving(self, row: int) -> Station:
        station = self.stations[row]
        assert isinstance(station, Station)
        return station

    # What comes from outside.

    def _starter(self, running: Running) -> Callable[[], None]:
        return lambda: self._begin(running)

    def _begin(self, running: Running) -> None:
        self.clock.process(running)

    def _next_arrival(self) -> None:
        if self._requests:
            self.clock.arrival(self._requests[0][1][0], self._arrive)

    def _arrive(self) -> None:
        ordinal, (_, endpoint, user, target) = self._requests.popleft()
        self._begin(self._request(self._new(ordinal, endpoint, user, target), self.endpoints[endpoint].nodes))
        self._next_arrival()

    def _new(self, ordinal: int, endpoint: int, user: int, target: int) -> Job:
        mask = self.settings[c.SET_TRACE_MASK]
        return Job(
            ordinal, user, target, lane=ordinal % self.settings[c.SET_LANES], endpoint=endpoint,
            traced=mask >= 0 and ordinal & mask == 0,
        )  # fmt: skip

    def _session(self, session: int, wishes: Sequence[tuple[int, int, int, int]]) -> Running:
        """Closed mode: a user thinks, asks, waits for the answer, and thinks again."""
        horizon_ns = self.settings.get(c.SET_HORIZON_NS, 0)
        for number, (endpoint, user, target, think_ns) in enumerate(wishes):
            sent_ns = self.clock.now_ns + think_ns
            if 0 < horizon_ns <= sent_ns:
                return
            route: Route = self.endpoints[endpoint]
            job = self._new(session * len(wishes) + number, endpoint, user, target)
            yield self.clock.at(sent_ns, job.tie(route.start))
            yield from self._request(job, route.nodes)

    def _next_stall(self, host: Cores, ordinal: int, length_ns: int) -> None:
        gap = uniform(self._stall_keys[1], host.row, 0, ordinal)
        begin_ns = self.clock.now_ns + length_ns + int(-math.log(gap) / self._stall_rate_per_ns)
        self.clock.at(begin_ns, (STALL_ENTITY, host.row, 0), lambda: self._stall(host, ordinal + 1))

    def _stall(self, host: Cores, ordinal: int) -> None:
        length_ns = int(quantile(self._stall_table, uniform(self._stall_keys[0], host.row, 0, ordinal)))
        host.stall(length_ns)
        self._next_stall(host, ordinal, length_ns)

    # Books.

    def _note(self, kind: int, label: int, time_ns: int, value: int, weight: int) -> None:
        self.log.append((kind, label, time_ns, value, weight, 0))

    def _trace(self, job: Job, name: str, since_ns: int, until_ns: int) -> None:
        if job.traced:
            self.log.append((c.LOG_STEP, name, since_ns, until_ns - since_ns, job.branch, job.entity))

    def _left(self, visit: Visit) -> None:
        """A visit has ended."""
        step = visit.step
        step.visits += 1
        step.items += visit.job.items
        step.residence_ns += self.clock.now_ns - visit.came_ns
        self._trace(visit.job, step.name, visit.came_ns, self.clock.now_ns)

    def _flushed(self, ticket: Ticket, name: str) -> None:
        """A commit is durable, and its job goes on."""
        step = self.steps[name]
        step.visits += 1
        step.residence_ns += self.clock.now_ns - ticket.since_ns
        self._trace(ticket.job, name, ticket.since_ns, self.clock.now_ns)

    def _hand_over(self) -> None:
        """Messages go to the jobs that wait for one."""
        for queue in self.queues:
            while queue.messages and queue.waiting:
                job, taken = queue.waiting.popleft()
                _take(job, queue.messages.popleft())
                taken.succeed()

    # Jobs.

    def _request(self, job: Job, nodes: Nodes) -> Running:
        job.arrived_ns = self.clock.now_ns
        yield from self._ending(job, nodes)
        latency_ns, outcome = self.clock.now_ns - job.arrived_ns, job.outcome
        limit_ns = self.settings.get(c.SET_TIMEOUT_NS, 0)
        if 0 < limit_ns < latency_ns:
            latency_ns, outcome = limit_ns, TIMEOUT
        self.log.append((c.LOG_REQUEST, job.endpoint, job.arrived_ns, latency_ns, outcome, job.entity))
        if self.feed is not None:
            self.feed.answered(job)

    def _ending(self, job: Job, nodes: Nodes) -> Running:
        """Go through a path that ends where the job fails."""
        with contextlib.suppress(Failed):
            yield from self._through(job, nodes)

    def _through(self, job: Job, nodes: Nodes) -> Running:
        for node in nodes:
            yield from self._part(job, node)

    def _part(self, job: Job, node: Node) -> Running:  # noqa: C901, PLR0912, PLR0915  one line per kind of part
        now_ns = self.clock.now_ns
        match node.part:
            case Serve(step, on):
                yield from self._serve(job, step, on, node.places[0])
            case Delay(wait, fixed_ns):
                yield from self._delay(job, wait, fixed_ns, node.places[0])
            case Flush():
                yield from self._flush(job, node.part, node.places)
            case Acquire(name, most_waiting):
                pool = self._member(name, job)
                assert isinstance(pool, Pool)
                yield from pool.acquire(
                    job, node.places[0], most_waiting,
                    lambda since_ns: self._trace(job, name, since_ns, self.clock.now_ns),
                )  # fmt: skip
            case Release(name):
                pool = self._member(name, job)
                assert isinstance(pool, Pool)
                pool.release()
            case Effect(which, a, b):
                self._feed.apply(which, a, b, job, now_ns)
            case When():
                yield from self._through(job, node.bodies[0 if job.flag else 1])
            case Scatter(spread, _):
                yield from self._scatter(job, spread, node.bodies[0])
            case Spawn(_, count):
                for ordinal in range(count):
                    child = job.child(ordinal + 1)
                    child.server = ordinal
                    self._begin(self._ending(child, node.bodies[0]))
            case While(condition, _):
                while True:
                    self._feed.apply(condition.which, condition.a, condition.b, job, self.clock.now_ns)
                    if not job.flag:
                        break
                    yield from self._through(job, node.bodies[0])
                    job.attempt += 1
            case Forever():
                while True:
                    yield from self._through(job, node.bodies[0])
                    job.attempt += 1
            case Put(name):
                message = Message(job.entity, job.user, job.target, job.stamp_ns)
                self.queues[self.plant.queues[name]].messages.append(message)
            case Get(name):
                queue = self.queues[self.plant.queues[name]]
                if queue.messages:
                    _take(job, queue.messages.popleft())
                else:
                    taken = simpy.Event(self.clock)
                    queue.waiting.append((job, taken))
                    yield taken
            case UntilReplayDelay():
                wake_ns = job.stamp_ns + self._feed.replay_delay_ns[job.server]
                if wake_ns > now_ns:
                    yield self.clock.at(wake_ns, job.tie(node.places[0]))
            case Fail(outcome):
                job.outcome = OUTCOMES[outcome]
                raise Failed
            case Lookup(name):
                job.flag = not self.caches[self.plant.caches[name].row].holds(self._key(job, name, "cache"), now_ns)
            case Store(name):
                self.caches[self.plant.caches[name].row].store(self._key(job, name, "cache"), now_ns)
            case Forget(name):
                self.caches[self.plant.caches[name].row].forget(self._key(job, name, "cache"))
            case Admit(name):
                limiter = self.limiters[self.plant.limiters[name].row]
                job.flag = not limiter.admits(self._key(job, name, "limiter"), now_ns)
            case Switch(name):
                job.flag = self.switches[self.plant.switches[name]]
            case Coalesce(name, _):
                yield from self._coalesce(job, name, node)
            case Attempt():
                yield from self._attempt(job, node.part, node)

    @property
    def _feed(self) -> Feed:
        assert self.feed is not None, "a path with effects needs data"
        return self.feed

    def _key(self, job: Job, name: str, kind: str) -> int:
        keyed = {"cache": self.plant.caches, "limiter": self.plant.limiters, "coalescer": self.plant.coalescers}
        return {c.J_USER: job.user, c.J_TARGET: job.target}[keyed[kind][name].key_column]

    def _serve(self, job: Job, step: str, on: str, place: int) -> Running:
        visit = Visit(self.clock, job, self.steps[step], place)
        station = self._member(on, job)
        assert isinstance(station, Station)
        station.come(visit)
        yield visit.done

    def _delay(self, job: Job, wait: str, fixed_ns: int, place: int) -> Running:
        length_ns = fixed_ns
        if wait:
            table = self.plant.wait_rows[wait]
            u = uniform(self.wait_keys[table], job.entity, job.attempt, job.branch)
            length_ns += int(quantile(self.tables[table], u) + 0.5)
        if length_ns > 0:
            self._trace(job, wait or "delay", self.clock.now_ns, self.clock.now_ns + length_ns)
            yield self.clock.at(self.clock.now_ns + length_ns, job.tie(place))

    def _flush(self, job: Job, part: Flush, places: tuple[int, ...]) -> Running:
        commit = self._member(part.on, job)
        assert isinstance(commit, GroupCommit)
        if part.turn is None:
            (place,) = places
        else:
            before, place, again, waits, after, unlocking = places
        ticket = Ticket(self.clock, job, place, lambda ticket: self._flushed(ticket, part.step))
        commit.come(ticket)
        role = yield ticket.woken
        turn = part.turn
        if turn is None:
            return
        if role == "next":
            yield from self._serve(job, turn.step, turn.on, before)
            commit.lead(ticket)
            role = yield ticket.woken
        if role == "leader" and turn.then_wait:
            yield from self._serve(job, turn.step, turn.on, again)
            yield from self._delay(job, turn.then_wait, 0, waits)
        yield from self._serve(job, turn.step, turn.on, after)
        if role == "leader":
            self._flushed(ticket, part.step)
            commit.unlock(ticket, unlocking)

    def _scatter(self, job: Job, spread: int, nodes: Nodes) -> Running:
        children: list[Job] = []
        for shard, items in enumerate(self._feed.spread(spread, job)):
            if items:
                child = job.child(len(children) + 1)
                child.shard, child.items = shard, items
                children.append(child)
        if not children:
            return
        all_back = simpy.Event(self.clock)
        running = len(children)

        def branch(child: Job) -> Running:
            nonlocal running
            yield from self._ending(child, nodes)
            running -= 1
            if running == 0:
                all_back.succeed()

        for child in children:
            self._begin(branch(child))
        yield all_back

    def _coalesce(self, job: Job, name: str, node: Node) -> Running:
        key = (name, self._key(job, name, "coalescer"))
        if key in self.flights:
            me = Passenger(job, node.places[0], self.clock.now_ns, simpy.Event(self.clock))
            self.flights[key].append(me)
            yield me.landed
            return
        self.flights[key] = deque()
        yield from self._ending(job, node.bodies[0])
        self._land(self.flights.pop(key), name, job.child(0))

    def _land(self, waiting: deque[Passenger], name: str, answer: Job) -> None:
        """Those who wait go on with what was brought."""
        for _ in range(min(RELEASED, len(waiting))):
            passenger = waiting.popleft()
            other = passenger.job
            other.flag, other.outcome, other.items = answer.flag, answer.outcome, answer.items
            self._trace(other, name, passenger.since_ns, self.clock.now_ns)
            passenger.landed.succeed()
        if waiting:
            tie = (waiting[0].job.entity, waiting[0].place, LAST_BRANCH)
            self.clock.at(self.clock.now_ns, tie, lambda: self._land(waiting, name, answer))

    def _attempt(self, job: Job, part: Attempt, node: Node) -> Running:
        limit_ns, backoff_ns = round(part.timeout_s * 1e9), round(part.backoff_s * 1e9)
        again, gives_up = node.places
        for tries in range(part.retries + 1):
            if tries:
                job.outcome = OK
                wait_ns = backoff_ns * 2 ** (tries - 1)
                if wait_ns > 0:
                    yield self.clock.at(self.clock.now_ns + wait_ns, job.tie(again))
            child = job.child(tries * TRY_BRANCHES)
            if child.outcome > MISSING:
                child.outcome = OK
            answer = simpy.Event(self.clock)
            self._begin(self._try(child, answer, node.bodies[0]))
            if limit_ns > 0:
                self.clock.at(self.clock.now_ns + limit_ns, job.tie(gives_up), lambda answer=answer: _give_up(answer))  # type: ignore[misc]
            in_time = yield answer
            if in_time:
                for what in ("outcome", "server", "shard", "items", "stamp_ns", "lsn", "wrote_ns", "cursor", "page"):
                    setattr(job, what, getattr(child, what))
                job.attempt = child.attempt
                job.flag = child.outcome > MISSING
            else:
                job.flag, job.outcome = True, TIMEOUT
            if not job.flag:
                return

    def _try(self, child: Job, answer: simpy.Event, nodes: Nodes) -> Running:
        yield from self._ending(child, nodes)
        if not answer.triggered:
            answer.succeed(True)


def _give_up(answer: simpy.Event) -> None:
    if not answer.triggered:
        answer.succeed(False)


def _take(job: Job, message: Message) -> None:
    """A worker turns to a message: it draws as the request that sent it."""
    job.entity, job.user, job.target, job.stamp_ns = message.entity, message.user, message.target, message.stamp_ns
    job.attempt = job.cursor = job.outcome = 0
