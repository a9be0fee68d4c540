"""Stations and hosts, as ARCHITECTURE.md ("Stations") has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

import simpy

from tests.reference.clock import LAST_BRANCH, Clock
from tests.reference.jobs import Job, Visit
from tests.reference.numbers import quantile, uniform

STALL_ENTITY, SHARE_ENTITY = (1 << 39) + 1, 1 << 39
SHARE = 1 << 16
"""Parts of a nanosecond in which shares are counted."""
RELEASED = 512
"""As many jobs go on in one event of a group commit or a landed flight."""
NORMAL_PPM = 1_000_000

Leave = Callable[[Visit], None]
"""Told of a visit that ends."""


class Task(Protocol):
    """What waits for a core of a host."""

    def take_core(self) -> bool:
        """Begin; False where it gives its turn up."""


class Cores:
    """A host, first come first served: a task that has a core keeps it until it gives it up."""

    def __init__(self, clock: Clock, row: int, cores: int) -> None:
        self.clock, self.row, self.free = clock, row, float(cores)
        self.tasks: deque[Task] = deque()
        self.slowdown_ppm = NORMAL_PPM
        self.stalled_ns = 0
        self.stalled_until_ns = 0

    def join(self, task: Task) -> None:
        self.tasks.append(task)
        self._dispatch()

    def give_back(self) -> None:
        self.free += 1
        self._dispatch()

    def _dispatch(self) -> None:
        while self.free and self.tasks:
            if self.tasks.popleft().take_core():
                self.free -= 1

    def slowed(self, service_ns: int) -> int:
        if self.slowdown_ppm == NORMAL_PPM:
            return service_ns
        return int(service_ns * (self.slowdown_ppm * 1e-6) + 0.5)

    def serve(self, visit: Visit, service_ns: int, then: Callable[[], None]) -> None:
        """Call `then` when the service is done."""
        visit.stalled_ns = self.stalled_ns
        begin_ns = max(self.clock.now_ns, self.stalled_until_ns)
        self.clock.at(begin_ns + service_ns, visit.tie, lambda: self._due(visit, then))

    def _due(self, visit: Visit, then: Callable[[], None]) -> None:
        late_ns = self.stalled_ns - visit.stalled_ns
        if late_ns:
            visit.stalled_ns = self.stalled_ns
            self.clock.at(self.clock.now_ns + late_ns, visit.tie, lambda: self._due(visit, then))
        else:
            then()

    def stall(self, length_ns: int) -> None:
        """Its cores are gone from now on for so long."""
        self.stalled_ns += length_ns
        self.stalled_until_ns = self.clock.now_ns + length_ns


class SharedCores(Cores):
    """A host whose cores are shared by all tasks alike."""

    def __init__(self, clock: Clock, row: int, cores: int) -> None:
        super().__init__(clock, row, cores)
        self.cores, self.free = cores, float("inf")
        self._tasks: list[tuple[int, tuple[int, int, int], int, Callable[[], None]]] = []
        """Share at which each ends, tie, order of beginning."""
        self._begun = 0
        self._share = 0
        self._since_ns = 0
        self._version = 0

    def _share_now(self) -> int:
        length_ns = max(0, self.clock.now_ns - self._since_ns)
        if not self._tasks:
            return self._share
        return self._share + length_ns * SHARE * min(self.cores, len(self._tasks)) // len(self._tasks)

    def _settle(self) -> None:
        self._share = self._share_now()
        self._since_ns = max(self._since_ns, self.clock.now_ns)

    def serve(self, visit: Visit, service_ns: int, then: Callable[[], None]) -> None:
        self._settle()
        self._begun += 1
        self._tasks.append((self._share + service_ns * SHARE, visit.tie, self._begun, then))
        self._look_again()

    def stall(self, length_ns: int) -> None:
        self._settle()
        self._since_ns = self.clock.now_ns + length_ns
        self._look_again()

    def _look_again(self) -> None:
        """The next end is at the first instant at which the share has grown enough."""
        self._version += 1
        if self._tasks:
            version = self._version
            need = max(0, min(self._tasks)[0] - self._share)
            per_ns = min(self.cores, len(self._tasks)) * SHARE
            end_ns = self._since_ns - (-need * len(self._tasks) // per_ns)
            self.clock.at(end_ns, (SHARE_ENTITY, self.row, 0), lambda: self._due_one(version))

    def _due_one(self, version: int) -> None:
        if version != self._version:
            return
        self._settle()
        first = min(self._tasks)
        self._tasks.remove(first)
        self._look_again()
        first[-1]()


class Station(ABC):
    """What serves visits. `leave` is told of each that ends."""

    def __init__(self, clock: Clock, leave: Leave, servers: int = 1) -> None:
        self.clock, self.leave, self.servers = clock, leave, servers
        self.waiting: deque[Visit] = deque()
        self.paused = False
        self.slowdown_ppm = NORMAL_PPM
        self.busy_ns = self.visits = self.wakes = 0

    @abstractmethod
    def come(self, visit: Visit) -> None:
        """A job comes."""

    @abstractmethod
    def go_on(self) -> None:
        """Take the next job, after one has left."""

    def resume(self) -> None:
        self.paused = False

    def _service_ns(self, visit: Visit, host: Cores | None = None, setup_ns: int = 0) -> int:
        step, job = visit.step, visit.job
        mean_ns = step.base_ns + step.per_item_ns * job.items
        if step.table is not None:
            mean_ns *= quantile(step.table, uniform(step.key, job.entity, job.attempt, job.branch))
        if self.slowdown_ppm != NORMAL_PPM:
            mean_ns *= self.slowdown_ppm * 1e-6
        service_ns = setup_ns + int(mean_ns + 0.5)
        if host is not None:
            service_ns = host.slowed(service_ns)
        self.busy_ns += service_ns
        self.visits += 1
        return service_ns

    def _ended(self, visit: Visit) -> None:
        self.leave(visit)
        visit.done.succeed()
        self.clock.next_job(self.go_on)


class Fifo(Station):
    """Servers of its own, first come first served."""

    busy = 0

    def come(self, visit: Visit) -> None:
        if self.busy < self.servers and not self.paused:
            self._begin(visit)
        else:
            self.waiting.append(visit)

    def _begin(self, visit: Visit) -> None:
        self.busy += 1
        self.clock.at(self.clock.now_ns + self._service_ns(visit), visit.tie, lambda: self._ended(visit))

    def go_on(self) -> None:
        self.busy -= 1
        if self.waiting and not self.paused and self.busy < self.servers:
            self._begin(self.waiting.popleft())

    def resume(self) -> None:
        self.paused = False
        self._fill()

    def resize(self, servers: int) -> None:
        self.servers = servers
        self._fill()

    def _fill(self) -> None:
        while self.waiting and self.busy < self.servers and not self.paused:
            self._begin(self.waiting.popleft())


class Loop(Station):
    """A single-threaded process on a host that serves what is ready in gated batches."""

    def __init__(self, clock: Clock, leave: Leave, host: Cores, wake_ns: int, poll_ns: int) -> None:
        super().__init__(clock, leave)
        self.host, self.wake_ns, self.poll_ns = host, wake_ns, poll_ns
        self.state = "blocked"
        self.gate = 0

    def come(self, visit: Visit) -> None:
        self.waiting.append(visit)
        if self.state == "blocked":
            self._become_ready()

    def _become_ready(self) -> None:
        if self.paused:
            self.state = "stopped"
        else:
            self.state = "runnable"
            self.host.join(self)

    def take_core(self) -> bool:
        if self.paused:
            self.state = "stopped"
            return False
        self.state = "running"
        self.wakes += 1
        self.gate = len(self.waiting)
        self._begin(self.wake_ns)
        return True

    def _begin(self, setup_ns: int) -> None:
        visit = self.waiting.popleft()
        self.host.serve(visit, self._service_ns(visit, self.host, setup_ns), lambda: self._ended(visit))

    def go_on(self) -> None:
        self.gate -= 1
        if not self.waiting or self.paused:
            self.state = "stopped" if self.waiting else "blocked"
            self.host.give_back()
        elif self.gate > 0:
            self._begin(0)
        else:
            self.gate = len(self.waiting)
            self._begin(self.poll_ns)

    def resume(self) -> None:
        self.paused = False
        if self.state == "stopped":
            self.state = "blocked"
            if self.waiting:
                self._become_ready()


class Multi(Station):
    """A process per visit."""

    def __init__(self, clock: Clock, leave: Leave, host: Cores, wake_ns: int) -> None:
        super().__init__(clock, leave)
        self.host, self.wake_ns = host, wake_ns

    def come(self, visit: Visit) -> None:
        self.host.join(_Process(self, visit))

    def begin(self, visit: Visit) -> None:
        self.wakes += 1
        service_ns = self._service_ns(visit, self.host, self.wake_ns)
        self.host.serve(visit, service_ns, lambda: self._ended(visit))

    def go_on(self) -> None:
        self.host.give_back()


class _Process:
    def __init__(self, station: Multi, visit: Visit) -> None:
        self.station, self.visit = station, visit

    def take_core(self) -> bool:
        self.station.begin(self.visit)
        return True


class Pool:
    """Tokens; who finds none waits in order."""

    def __init__(self, clock: Clock, size: int) -> None:
        self.clock, self.size, self.taken = clock, size, 0
        self.waiting: deque[tuple[Job, int, simpy.Event, Callable[[], None]]] = deque()

    def acquire(
        self, job: Job, place: int, most_waiting: int | None, waited: Callable[[int], None]
    ) -> Generator[simpy.Event, Any, None]:
        """Have a token, or the flag. `waited` is told since when, as soon as one that was waited for is there."""
        since_ns = self.clock.now_ns
        if self.taken < self.size:
            self.taken += 1
        elif most_waiting is not None and len(self.waiting) >= most_waiting:
            job.flag = True
            return
        else:
            token = simpy.Event(self.clock)
            self.waiting.append((job, place, token, lambda: waited(since_ns)))
            yield token
        if most_waiting is not None:
            job.flag = False

    def release(self) -> None:
        if self.waiting and self.taken <= self.size:
            _, _, token, got = self.waiting.popleft()
            got()
            token.succeed()
        else:
            self.taken -= 1

    def resize(self, size: int) -> None:
        """Who gets a token by it goes on in the order of the event list, not in that of the queue."""
        self.size = size
        while self.waiting and self.taken < size:
            self.taken += 1
            job, place, token, got = self.waiting.popleft()
            got()
            self.clock.at(self.clock.now_ns, job.tie(place), lambda token=token: token.succeed())  # type: ignore[misc]


class Ticket:
    """A job that waits for its commit to be flushed. `woken` says what it is to do next."""

    def __init__(self, clock: Clock, job: Job, place: int, released: Callable[[Ticket], None]) -> None:
        self.job, self.place, self.since_ns, self.released = job, place, clock.now_ns, released
        self.woken = simpy.Event(clock)

    def wake(self, clock: Clock, role: str) -> None:
        event, self.woken = self.woken, simpy.Event(clock)
        event.succeed(role)


class GroupCommit:
    """One flush serves all that waited for it; where it has a leader, that one lets the others go on.

    A ticket is woken as "done" by the end of its flush, or as its leader, which has to `unlock`; and as the "next"
    leader, which has to `lead`.
    """

    def __init__(self, clock: Clock, key: int, table: list[float], *, has_leader: bool) -> None:
        self.clock, self.key, self.table, self.has_leader = clock, key, table, has_leader
        self.busy = False
        self.waiting: deque[Ticket] = deque()
        self.covered: deque[Ticket] = deque()
        self.busy_ns = self.visits = 0

    def come(self, ticket: Ticket) -> None:
        self.waiting.append(ticket)
        if not self.busy:
            self._flush()

    def lead(self, ticket: Ticket) -> None:
        """The next leader has had its turn: it flushes for all who wait now."""
        self.waiting.appendleft(ticket)
        self._flush()

    def unlock(self, leader: Ticket, place: int) -> None:
        """The leader has had its turn: in an event of its own the others go on."""
        self.clock.at(self.clock.now_ns, (leader.job.entity, place, LAST_BRANCH), self._release)

    def _flush(self) -> None:
        self.busy = True
        self.covered, self.waiting = self.waiting, deque()
        first = self.covered[0]
        u = uniform(self.key, first.job.entity, first.job.attempt, first.job.server + 1)
        duration_ns = int(quantile(self.table, u) + 0.5)
        self.busy_ns += duration_ns
        self.visits += 1
        self._event(first, duration_ns, self._wake_leader if self.has_leader else self._release)

    def _event(self, ticket: Ticket, delay_ns: int, then: Callable[[], None]) -> None:
        self.clock.at(self.clock.now_ns + delay_ns, (ticket.job.entity, ticket.place, LAST_BRANCH), then)

    def _wake_leader(self) -> None:
        self.covered.popleft().wake(self.clock, "leader")

    def _release(self) -> None:
        for _ in range(min(RELEASED, len(self.covered))):
            ticket = self.covered.popleft()
            ticket.released(ticket)
            ticket.wake(self.clock, "done")
        if self.covered:
            self._event(self.covered[0], 0, self._release)
        elif not self.waiting:
            self.busy = False
        elif self.has_leader:
            self.waiting.popleft().wake(self.clock, "next")
        else:
            self._flush()
