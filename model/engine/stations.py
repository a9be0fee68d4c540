"""Stations: how a job comes to one, is served and leaves it, and how the processes of a host share its cores.

The recurrences are written down in ARCHITECTURE.md ("Stations").
"""

from __future__ import annotations

from model.engine.events import LAST_BRANCH, ZERO, event_code, schedule, tie_of
from model.engine.layout import (
    BLOCKED, C_BASE_NS, C_ITEM_NS, C_TABLE, EVENT_FLUSH, H_FREE, H_HEAD, H_SHARED, H_SLOWDOWN_PPM, H_STALL_NS,
    H_STALL_UNTIL, H_TAIL, J_ATTEMPT, J_BRANCH, J_ENTITY, J_ITEMS, J_NEXT, J_PC, J_READY, J_SERVER, J_STALL,
    J_STATION, K_FIFO, K_LOOP, K_MULTI, RUNNABLE, RUNNING, STOPPED, S_BUSY, S_BUSY_NS, S_FLIGHT, S_GATE, S_HEAD,
    S_HOST, S_KIND, S_LENGTH, S_NEXT, S_PAUSED, S_POLL_NS, S_SERVERS, S_SLOWDOWN_PPM, S_STATE, S_TABLE, S_TAIL,
    S_VISITS, S_WAKES, S_WAKE_NS,
)  # fmt: skip
from model.engine.sharing import begin_share
from model.engine.tables import table_value
from model.rng.compiled import inlined, subroutine, unsigned
from model.rng.philox import u01


@inlined
def start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, setup):  # type: ignore[no-untyped-def]
    """Begin the service of `job` at `station` after `setup` ns and schedule its end."""
    j, at = unsigned(job), unsigned(station)
    pc = jobs[j, J_PC]
    cost = unsigned(program[unsigned(pc), 3])
    mean = costs[cost, C_BASE_NS] + costs[cost, C_ITEM_NS] * jobs[j, J_ITEMS]
    table = int(costs[cost, C_TABLE])
    if table >= 0:
        u = u01(keys[cost], jobs[j, J_ENTITY], jobs[j, J_ATTEMPT], jobs[j, J_BRANCH])
        mean *= table_value(tables, unsigned(table), u)
    if stations[at, S_SLOWDOWN_PPM] != 1_000_000:
        mean *= stations[at, S_SLOWDOWN_PPM] * 1e-6
    service = setup + int(mean + 0.5)
    host = stations[at, S_HOST]
    if host >= 0 and hosts[host, H_SLOWDOWN_PPM] != 1_000_000:
        service = int(service * (hosts[host, H_SLOWDOWN_PPM] * 1e-6) + 0.5)
    stations[at, S_BUSY_NS] += service
    stations[at, S_VISITS] += 1
    end = now + service
    if host >= 0:
        if hosts[host, H_SHARED] != 0:
            begin_share(x, heap, jobs, hosts, host, job, service, now)
            return
        if hosts[host, H_STALL_UNTIL] > now:
            end = hosts[host, H_STALL_UNTIL] + service
        jobs[j, J_STALL] = hosts[host, H_STALL_NS]
    schedule(x, heap, end, tie_of(jobs[j, J_ENTITY], pc, jobs[j, J_BRANCH]), job)


@inlined
def enqueue_task(stations, hosts, jobs, host, task):  # type: ignore[no-untyped-def]
    """Append to the host's run queue: a task is a loop (its station) or, above them, one job."""
    tail = hosts[host, H_TAIL]
    count = stations.shape[0]
    if tail < 0:
        hosts[host, H_HEAD] = task
    elif tail < count:
        stations[tail, S_NEXT] = task
    else:
        jobs[tail - count, J_NEXT] = task
    if task < count:
        stations[task, S_NEXT] = -1
    else:
        jobs[task - count, J_NEXT] = -1
    hosts[host, H_TAIL] = task


@inlined
def pop_waiting(stations, jobs, station):  # type: ignore[no-untyped-def]
    """Take the first job of a station's queue."""
    at = unsigned(station)
    job = stations[at, S_HEAD]
    following = jobs[unsigned(job), J_NEXT]
    stations[at, S_HEAD] = following
    if following < 0:
        stations[at, S_TAIL] = -1
    stations[at, S_LENGTH] -= 1
    return job


@inlined
def push_waiting(stations, jobs, station, job):  # type: ignore[no-untyped-def]
    jobs[job, J_NEXT] = -1
    tail = stations[station, S_TAIL]
    if tail < 0:
        stations[station, S_HEAD] = job
    else:
        jobs[tail, J_NEXT] = job
    stations[station, S_TAIL] = job
    stations[station, S_LENGTH] += 1


@inlined
def push_first(stations, jobs, station, job):  # type: ignore[no-untyped-def]
    jobs[job, J_NEXT] = stations[station, S_HEAD]
    if stations[station, S_HEAD] < 0:
        stations[station, S_TAIL] = job
    stations[station, S_HEAD] = job
    stations[station, S_LENGTH] += 1


@inlined
def dispatch(x, heap, jobs, stations, hosts, program, costs, tables, keys, host, now):  # type: ignore[no-untyped-def]
    """Give free cores of a host to the tasks that wait, in order; a stopped process gives its turn up."""
    count = stations.shape[0]
    while hosts[host, H_FREE] > 0 and hosts[host, H_HEAD] >= 0:
        task = hosts[host, H_HEAD]
        following = stations[task, S_NEXT] if task < count else jobs[task - count, J_NEXT]
        hosts[host, H_HEAD] = following
        if following < 0:
            hosts[host, H_TAIL] = -1
        if task < count:
            if stations[task, S_PAUSED] != 0:
                stations[task, S_STATE] = STOPPED
                continue
            station = task
            stations[station, S_STATE] = RUNNING
            stations[station, S_GATE] = stations[station, S_LENGTH]
            job = pop_waiting(stations, jobs, station)
        else:
            job = task - count
            station = jobs[job, J_STATION]
        hosts[host, H_FREE] -= 1
        stations[station, S_WAKES] += 1
        setup = stations[station, S_WAKE_NS]
        start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, setup)


@inlined
def visit(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now):  # type: ignore[no-untyped-def]
    """A job comes to a station that serves."""
    j, at = unsigned(job), unsigned(station)
    jobs[j, J_STATION] = station
    jobs[j, J_READY] = now
    kind = stations[at, S_KIND]
    if kind == K_FIFO:
        if stations[at, S_BUSY] < stations[at, S_SERVERS] and stations[at, S_PAUSED] == 0:
            stations[at, S_BUSY] += 1
            start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, ZERO)
        else:
            push_waiting(stations, jobs, station, job)
        return
    host = stations[at, S_HOST]
    if kind == K_MULTI:
        enqueue_task(stations, hosts, jobs, host, stations.shape[0] + job)
    else:
        push_waiting(stations, jobs, station, job)
        if stations[at, S_STATE] != BLOCKED:
            return
        if stations[at, S_PAUSED] != 0:
            stations[at, S_STATE] = STOPPED
            return
        stations[at, S_STATE] = RUNNABLE
        enqueue_task(stations, hosts, jobs, host, station)
    dispatch(x, heap, jobs, stations, hosts, program, costs, tables, keys, host, now)


@inlined
def go_on(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, now):  # type: ignore[no-untyped-def]
    """A station whose job has just left takes the next one."""
    at = unsigned(station)
    kind = stations[at, S_KIND]
    more = stations[at, S_LENGTH] > 0
    setup = ZERO
    if kind == K_FIFO:
        # More are busy than there are servers where some have been taken away.
        spare = stations[at, S_BUSY] > stations[at, S_SERVERS]
        if not more or stations[at, S_PAUSED] != 0 or spare:
            stations[at, S_BUSY] -= 1
            return
    elif kind == K_LOOP and stations[at, S_PAUSED] == 0 and more:
        stations[at, S_GATE] -= 1
        if stations[at, S_GATE] <= 0:
            stations[at, S_GATE] = stations[at, S_LENGTH]
            setup = stations[at, S_POLL_NS]
    else:
        if kind == K_LOOP:
            stations[at, S_STATE] = STOPPED if more else BLOCKED
        host = stations[at, S_HOST]
        hosts[host, H_FREE] += 1
        dispatch(x, heap, jobs, stations, hosts, program, costs, tables, keys, host, now)
        return
    job = pop_waiting(stations, jobs, station)
    start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, setup)


@subroutine
def begin_flush(x, heap, jobs, stations, tables, keys, first_table_key, station, now):  # type: ignore[no-untyped-def]
    """Group commit: one flush covers all that wait; those who come meanwhile wait for the next."""
    head = stations[station, S_HEAD]
    stations[station, S_FLIGHT] = head
    stations[station, S_HEAD] = -1
    stations[station, S_TAIL] = -1
    stations[station, S_LENGTH] = 0
    stations[station, S_BUSY] = 1
    table = stations[station, S_TABLE]
    entity = jobs[head, J_ENTITY]
    # The primary and each standby flush the same commit, and draw each for itself.
    u = u01(keys[first_table_key + table], entity, jobs[head, J_ATTEMPT], jobs[head, J_SERVER] + 1)
    duration = int(table_value(tables, table, u) + 0.5)
    stations[station, S_BUSY_NS] += duration
    stations[station, S_VISITS] += 1
    schedule(x, heap, now + duration, tie_of(entity, jobs[head, J_PC], LAST_BRANCH), event_code(EVENT_FLUSH, station))
