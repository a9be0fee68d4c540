"""The compiled event loop of the data plane.

One function takes the earliest event (an arrival or the head of the event list), finishes the visit it ends, lets
the job run through its program until it has to wait, and lets the station go on with the next job. The recurrences of
each station are written down in ARCHITECTURE.md ("The data plane"). Nothing here knows a social platform: paths are
rows of `program`, and the few operations on its data are in effects.py.
"""

# ruff: noqa: PLR0912, PLR0915, C901  one loop, kept in one place so that the compiler sees all of it
from __future__ import annotations

import math

import numpy as np

from model.engine.effects import effect, spread
from model.engine.heap import heap_pop, heap_push, heap_replace_root
from model.engine.layout import (
    BLOCKED, C_BASE_NS, C_ITEM_NS, C_TABLE, H_FREE, H_HEAD, H_SLOWDOWN_PPM, H_STALL_COUNT, H_STALL_NS,
    H_STALL_UNTIL, H_TAIL,
    JOB_COLUMNS, J_ARRIVED, J_ATTEMPT, J_BRANCH, J_CURSOR, J_ENDPOINT, J_ENTITY, J_FLAG, J_ITEMS, J_JOINED, J_LANE,
    J_LSN, J_NEXT, J_OUTCOME, J_PARENT, J_PC, J_PENDING, J_READY, J_SERVER, J_SESSION, J_SHARD, J_STALL,
    J_STAMP, J_STATION,
    J_TARGET, J_USER, K_FIFO, K_LOOP, K_MULTI, LOG_REQUEST, L_KIND, L_LABEL, L_ORDINAL, L_TIME, L_VALUE, L_WEIGHT,
    M_ENTITY, M_NEXT, M_STAMP, M_TARGET, M_USER, OP_ACQUIRE, OP_BRANCH, OP_DELAY, OP_EFFECT, OP_END, OP_EXIT, OP_FLUSH,
    OP_GET, OP_JOIN, OP_JUMP, OP_PUT, OP_RELEASE, OP_SCATTER, OP_SERVE, OP_SPAWN, OP_START, OP_UNLOCK,
    OP_UNTIL_STAMP, Q_HEAD,
    Q_LENGTH, Q_PUT, Q_TAIL, Q_WAIT_HEAD, Q_WAIT_TAIL, Q_WATCH, RUNNABLE, RUNNING, R_GROW, R_LOG, R_NEED_BLOCK,
    R_UNTIL, R_WATCH, SEL_FIRST, SEL_KEY, SEL_LANE, SEL_SERVER, SEL_SHARD, SET_HORIZON_NS, SET_LANES, SET_SERVERS,
    SET_TIMEOUT_NS, STOPPED, S_BUSY, S_BUSY_NS, S_FLIGHT, S_GATE, S_HEAD, S_HOST, S_KIND, S_LENGTH, S_NEXT, S_PAUSED,
    S_POLL_NS, S_SERVERS, S_SLOWDOWN_PPM, S_STATE, S_TABLE, S_TAIL, S_VISITS, S_WAKES, S_WAKE_NS, X_ARRIVAL,
    X_ARRIVALS, X_ARRIVED, X_BLOCK_DONE, X_COMPLETED, X_ENTITY, X_EVENTS, X_FAILED, X_HEAP, X_IN_FLIGHT, X_JOB_COUNT,
    X_JOB_FREE, X_LOG, X_MESSAGE_COUNT, X_MESSAGE_FREE, X_NOW, X_ORDINAL, X_WATCHED,
)  # fmt: skip
from model.engine.tables import table_value
from model.rng.compiled import inlined, njit, subroutine
from model.rng.philox import u01

NEVER = 1 << 62
MARGIN = 8192
"""Free rows of jobs, messages and event list that one event may at most need; fewer make the loop return. The largest
event is a flush that releases `RELEASED` transactions, each starting its replication to several standbys."""
RELEASED = 512
"""Jobs that one event of a group commit lets go on; the rest follow in further events of the same instant."""
LOG_MARGIN = 1 << 14
"""The same for the log: a relay moves one batch of messages, at most 10 000, at once."""
# numba compiles a function again for each literal argument; numbers with a type are not literals.
ZERO = np.int64(0)
STALL_ENTITY = np.int64(1 << 39)
LAST_BRANCH = np.int64(255)
STALL = -1
FLUSH = -2
"""Event codes below zero: STALL - 2 * host, FLUSH - 2 * station."""


@inlined
def tie_of(entity, operation, branch):  # type: ignore[no-untyped-def]
    """Order among events of one instant: by entity, then step, then branch."""
    return (entity << 22) | (operation << 8) | branch


@inlined
def start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, setup):  # type: ignore[no-untyped-def]
    """Begin the service of `job` at `station` after `setup` ns and schedule its end."""
    pc = jobs[job, J_PC]
    cost = program[pc, 3]
    mean = costs[cost, C_BASE_NS] + costs[cost, C_ITEM_NS] * jobs[job, J_ITEMS]
    table = int(costs[cost, C_TABLE])
    if table >= 0:
        u = u01(keys[cost], jobs[job, J_ENTITY], jobs[job, J_ATTEMPT], jobs[job, J_BRANCH])
        mean *= table_value(tables, table, u)
    if stations[station, S_SLOWDOWN_PPM] != 1_000_000:
        mean *= stations[station, S_SLOWDOWN_PPM] * 1e-6
    service = setup + int(mean + 0.5)
    host = stations[station, S_HOST]
    if host >= 0 and hosts[host, H_SLOWDOWN_PPM] != 1_000_000:
        service = int(service * (hosts[host, H_SLOWDOWN_PPM] * 1e-6) + 0.5)
    end = now + service
    if host >= 0:
        if hosts[host, H_STALL_UNTIL] > now:
            end = hosts[host, H_STALL_UNTIL] + service
        jobs[job, J_STALL] = hosts[host, H_STALL_NS]
    stations[station, S_BUSY_NS] += service
    stations[station, S_VISITS] += 1
    schedule(x, heap, end, tie_of(jobs[job, J_ENTITY], pc, jobs[job, J_BRANCH]), job)


@inlined
def schedule(x, heap, time, tie, what):  # type: ignore[no-untyped-def]
    """Add an event; the first one after an event was taken replaces the root instead of sifting twice."""
    if x[X_HEAP] < 0:  # the root is a hole
        x[X_HEAP] = -x[X_HEAP]
        heap_replace_root(heap, x[X_HEAP], time, tie, what)
    else:
        heap_push(heap, x[X_HEAP], time, tie, what)
        x[X_HEAP] += 1


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
    job = stations[station, S_HEAD]
    stations[station, S_HEAD] = jobs[job, J_NEXT]
    if jobs[job, J_NEXT] < 0:
        stations[station, S_TAIL] = -1
    stations[station, S_LENGTH] -= 1
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
    jobs[job, J_STATION] = station
    jobs[job, J_READY] = now
    kind = stations[station, S_KIND]
    if kind == K_FIFO:
        if stations[station, S_BUSY] < stations[station, S_SERVERS] and stations[station, S_PAUSED] == 0:
            stations[station, S_BUSY] += 1
            start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, ZERO)
        else:
            push_waiting(stations, jobs, station, job)
        return
    host = stations[station, S_HOST]
    if kind == K_MULTI:
        enqueue_task(stations, hosts, jobs, host, stations.shape[0] + job)
    else:
        push_waiting(stations, jobs, station, job)
        if stations[station, S_STATE] != BLOCKED:
            return
        if stations[station, S_PAUSED] != 0:
            stations[station, S_STATE] = STOPPED
            return
        stations[station, S_STATE] = RUNNABLE
        enqueue_task(stations, hosts, jobs, host, station)
    dispatch(x, heap, jobs, stations, hosts, program, costs, tables, keys, host, now)


@inlined
def go_on(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, now):  # type: ignore[no-untyped-def]
    """A station whose job has just left takes the next one."""
    kind = stations[station, S_KIND]
    more = stations[station, S_LENGTH] > 0
    setup = ZERO
    if kind == K_FIFO:
        if not more or stations[station, S_PAUSED] != 0:
            stations[station, S_BUSY] -= 1
            return
    elif kind == K_LOOP and stations[station, S_PAUSED] == 0 and more:
        stations[station, S_GATE] -= 1
        if stations[station, S_GATE] <= 0:
            stations[station, S_GATE] = stations[station, S_LENGTH]
            setup = stations[station, S_POLL_NS]
    else:
        if kind == K_LOOP:
            stations[station, S_STATE] = STOPPED if more else BLOCKED
        host = stations[station, S_HOST]
        hosts[host, H_FREE] += 1
        dispatch(x, heap, jobs, stations, hosts, program, costs, tables, keys, host, now)
        return
    job = pop_waiting(stations, jobs, station)
    start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, setup)


@inlined
def new_job(x, jobs, now):  # type: ignore[no-untyped-def]
    """A cleared row of the job table."""
    job = x[X_JOB_FREE]
    x[X_JOB_FREE] = jobs[job, J_NEXT]
    x[X_JOB_COUNT] += 1
    for column in range(JOB_COLUMNS):
        jobs[job, column] = 0
    jobs[job, J_PARENT] = -1
    jobs[job, J_SESSION] = -1
    jobs[job, J_SERVER] = -1
    jobs[job, J_ARRIVED] = now
    return job


@inlined
def free_job(x, jobs, job):  # type: ignore[no-untyped-def]
    jobs[job, J_NEXT] = x[X_JOB_FREE]
    x[X_JOB_FREE] = job
    x[X_JOB_COUNT] -= 1


@inlined
def member(jobs, settings, job, first, selector, size):  # type: ignore[no-untyped-def]
    """Which station of a group serves this job."""
    if selector == SEL_FIRST:
        return first
    if selector == SEL_LANE:
        return first + jobs[job, J_LANE]
    if selector == SEL_SHARD:
        return first + jobs[job, J_SHARD]
    if selector == SEL_SERVER:
        return first + jobs[job, J_SERVER] + 1
    if selector == SEL_KEY:
        return first + ((jobs[job, J_USER] * 2654435761) >> 7) % size
    return first + jobs[job, J_LANE] * settings[SET_SERVERS] + jobs[job, J_SERVER] + 1


@subroutine
def take_message(x, jobs, messages, queue_row, job):  # type: ignore[no-untyped-def]
    """Move the head message of a queue into a job."""
    message = queue_row[Q_HEAD]
    queue_row[Q_HEAD] = messages[message, M_NEXT]
    if messages[message, M_NEXT] < 0:
        queue_row[Q_TAIL] = -1
    queue_row[Q_LENGTH] -= 1
    jobs[job, J_ENTITY] = messages[message, M_ENTITY]
    jobs[job, J_USER] = messages[message, M_USER]
    jobs[job, J_TARGET] = messages[message, M_TARGET]
    jobs[job, J_STAMP] = messages[message, M_STAMP]
    jobs[job, J_ATTEMPT] = 0
    jobs[job, J_CURSOR] = 0
    messages[message, M_NEXT] = x[X_MESSAGE_FREE]
    x[X_MESSAGE_FREE] = message
    x[X_MESSAGE_COUNT] -= 1


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
    schedule(x, heap, now + duration, tie_of(entity, jobs[head, J_PC], LAST_BRANCH), FLUSH - 2 * station)


@njit
def advance(s, until):  # type: ignore[no-untyped-def]
    """Process every event before `until` (ns); returns the reason why it stopped."""
    x, heap, jobs, stations, hosts = s.x, s.heap, s.jobs, s.stations, s.hosts
    program, costs, tables, keys = s.program, s.costs, s.tables, s.keys
    queues, messages, log, todo, visits = s.queues, s.messages, s.log, s.todo, s.visits
    arrivals, settings = s.arrivals, s.settings
    timeout = settings[SET_TIMEOUT_NS]
    n_costs = costs.shape[0]
    n_tables = tables.shape[0]
    while True:
        # One place checks that the largest event fits, so that nothing below has to.
        if x[X_HEAP] + MARGIN > heap.shape[0] or x[X_JOB_COUNT] + MARGIN > jobs.shape[0]:
            return R_GROW
        if x[X_MESSAGE_COUNT] + MARGIN > messages.shape[0]:
            return R_GROW
        if x[X_LOG] + LOG_MARGIN > log.shape[0]:
            return R_LOG
        next_arrival = NEVER
        if x[X_ARRIVAL] < x[X_ARRIVALS]:
            next_arrival = arrivals[0, x[X_ARRIVAL]]
        elif x[X_BLOCK_DONE] == 0:
            return R_NEED_BLOCK
        next_event = heap[0, 0] if x[X_HEAP] > 0 else NEVER
        now = min(next_arrival, next_event)
        if now >= until:
            x[X_NOW] = until
            return R_UNTIL
        x[X_NOW] = now
        x[X_EVENTS] += 1
        leaving = -1
        pending = 0  # jobs in todo
        if next_event <= next_arrival:
            what = heap[0, 2]
            x[X_HEAP] = -x[X_HEAP]  # the root is now a hole
            if what >= 0:
                job = what
                pc = jobs[job, J_PC]
                if program[pc, 0] == OP_SERVE:
                    leaving = jobs[job, J_STATION]
                    host = stations[leaving, S_HOST]
                    if host >= 0 and hosts[host, H_STALL_NS] != jobs[job, J_STALL]:
                        # The core was taken away meanwhile: the rest of the service happens that much later.
                        late = hosts[host, H_STALL_NS] - jobs[job, J_STALL]
                        jobs[job, J_STALL] = hosts[host, H_STALL_NS]
                        schedule(x, heap, now + late, tie_of(jobs[job, J_ENTITY], pc, jobs[job, J_BRANCH]), job)
                        continue
                    cost = program[pc, 3]
                    visits[cost, 0] += 1
                    visits[cost, 1] += jobs[job, J_ITEMS]
                    visits[cost, 2] += now - jobs[job, J_READY]
                elif program[pc, 0] == OP_START and program[pc, 1] != 0:
                    jobs[job, J_ARRIVED] = now
                    x[X_ARRIVED] += 1
                    x[X_IN_FLIGHT] += 1
                jobs[job, J_PC] = pc + 1
                todo[0] = job
                pending = 1
            elif (-what) & 1 == 1:  # STALL - 2 * host
                host = (STALL - what) // 2
                hosts[host, H_STALL_COUNT] += 1
                ordinal = hosts[host, H_STALL_COUNT]
                table = int(s.stalls[1])
                length = int(table_value(tables, table, u01(keys[n_costs + n_tables], host, ZERO, ordinal)))
                hosts[host, H_STALL_NS] += length
                hosts[host, H_STALL_UNTIL] = now + length
                gap = int(-math.log(u01(keys[n_costs + n_tables + 1], host, ZERO, ordinal)) / s.stalls[0])
                schedule(x, heap, now + length + gap, tie_of(STALL_ENTITY, host, ZERO), what)
            else:  # FLUSH - 2 * station
                station = (FLUSH - what) // 2
                job = stations[station, S_FLIGHT]
                led = stations[station, S_GATE] == 1 and stations[station, S_STATE] == BLOCKED
                # Where the leader holds a lock while it flushes, it must get its turn before anybody else goes on.
                most = 1 if led else RELEASED
                while job >= 0 and pending < most:
                    # Only a leader has its lock to give back; its visit ends with that.
                    if led:
                        jobs[job, J_PC] += 1
                    else:
                        cost = program[jobs[job, J_PC], 3]
                        visits[cost, 0] += 1
                        visits[cost, 2] += now - jobs[job, J_JOINED]
                        jobs[job, J_PC] += program[jobs[job, J_PC], 4]
                    todo[pending] = job
                    pending += 1
                    job = jobs[job, J_NEXT]
                stations[station, S_FLIGHT] = job
                if led:
                    stations[station, S_STATE] = RUNNING
                    stations[station, S_NEXT] = todo[0]
                elif job >= 0:
                    schedule(x, heap, now, tie_of(jobs[job, J_ENTITY], jobs[job, J_PC], LAST_BRANCH), what)
                elif stations[station, S_LENGTH] > 0 and stations[station, S_GATE] == 1:
                    # The first who waited takes the lock, once it has had its turn: it goes one step back for that.
                    stations[station, S_STATE] = BLOCKED
                    waiter = pop_waiting(stations, jobs, station)
                    stations[station, S_NEXT] = waiter
                    jobs[waiter, J_PC] -= 1
                    todo[pending] = waiter
                    pending += 1
                elif stations[station, S_LENGTH] > 0:
                    stations[station, S_STATE] = BLOCKED
                    begin_flush(x, heap, jobs, stations, tables, keys, n_costs, station, now)
                else:
                    stations[station, S_STATE] = BLOCKED
                    stations[station, S_BUSY] = 0
        else:
            row = x[X_ARRIVAL]
            x[X_ARRIVAL] += 1
            job = new_job(x, jobs, now)
            jobs[job, J_ENTITY] = x[X_ORDINAL] + row
            jobs[job, J_ENDPOINT] = arrivals[1, row]
            jobs[job, J_USER] = arrivals[2, row]
            jobs[job, J_TARGET] = arrivals[3, row]
            jobs[job, J_LANE] = jobs[job, J_ENTITY] % settings[SET_LANES]
            jobs[job, J_PC] = s.entry[jobs[job, J_ENDPOINT]]
            x[X_ARRIVED] += 1
            x[X_IN_FLIGHT] += 1
            todo[0] = job
            pending = 1

        done = 0
        while done < pending:
            job = todo[done]
            done += 1
            while True:  # run the job until it waits or ends
                pc = jobs[job, J_PC]
                code = program[pc, 0]
                a = program[pc, 1]
                b = program[pc, 2]
                if code == OP_SERVE:
                    station = member(jobs, settings, job, a, b, program[pc, 4])
                    visit(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now)
                    break
                if code == OP_EFFECT:
                    effect(s, job, a, b, program[pc, 3], program[pc, 4], now)
                elif code == OP_DELAY:
                    length = b
                    if a >= 0:
                        u = u01(keys[n_costs + a], jobs[job, J_ENTITY], jobs[job, J_ATTEMPT], jobs[job, J_BRANCH])
                        length += int(table_value(tables, a, u) + 0.5)
                    if length > 0:
                        schedule(x, heap, now + length, tie_of(jobs[job, J_ENTITY], pc, jobs[job, J_BRANCH]), job)
                        break
                elif code == OP_BRANCH:
                    if jobs[job, J_FLAG] == 0:
                        jobs[job, J_PC] = a
                        continue
                elif code == OP_JUMP:
                    jobs[job, J_PC] = a
                    jobs[job, J_ATTEMPT] += b
                    continue
                elif code == OP_ACQUIRE:
                    pool = member(jobs, settings, job, a, b, ZERO)
                    if stations[pool, S_BUSY] < stations[pool, S_SERVERS]:
                        stations[pool, S_BUSY] += 1
                    else:
                        jobs[job, J_READY] = now
                        push_waiting(stations, jobs, pool, job)
                        break
                elif code == OP_RELEASE:
                    pool = member(jobs, settings, job, a, b, ZERO)
                    if stations[pool, S_LENGTH] > 0:
                        waiter = pop_waiting(stations, jobs, pool)
                        jobs[waiter, J_PC] += 1
                        todo[pending] = waiter
                        pending += 1
                    else:
                        stations[pool, S_BUSY] -= 1
                elif code == OP_FLUSH:
                    log_device = member(jobs, settings, job, a, b, ZERO)
                    leads = stations[log_device, S_NEXT] == job and stations[log_device, S_STATE] == BLOCKED
                    if leads:
                        stations[log_device, S_NEXT] = -1
                        push_first(stations, jobs, log_device, job)
                    else:
                        jobs[job, J_JOINED] = now
                        push_waiting(stations, jobs, log_device, job)
                    if leads or stations[log_device, S_BUSY] == 0:
                        begin_flush(x, heap, jobs, stations, tables, keys, n_costs, log_device, now)
                    break
                elif code == OP_UNLOCK:
                    if stations[a, S_NEXT] == job and stations[a, S_STATE] == RUNNING:
                        visits[program[pc, 3], 0] += 1
                        visits[program[pc, 3], 2] += now - jobs[job, J_JOINED]
                        stations[a, S_NEXT] = -1
                        stations[a, S_STATE] = RUNNABLE
                        schedule(x, heap, now, tie_of(jobs[job, J_ENTITY], pc, LAST_BRANCH), FLUSH - 2 * a)
                elif code == OP_SCATTER:
                    spread(s, job, a)
                    branches = 0
                    for shard in range(len(s.scratch)):
                        items = s.scratch[shard]
                        if items == 0:
                            continue
                        child = new_job(x, jobs, now)
                        for column in range(JOB_COLUMNS):
                            jobs[child, column] = jobs[job, column]
                        branches += 1
                        jobs[child, J_BRANCH] = branches
                        jobs[child, J_PARENT] = job
                        jobs[child, J_SHARD] = shard
                        jobs[child, J_ITEMS] = items
                        jobs[child, J_PC] = b
                        todo[pending] = child
                        pending += 1
                    if branches > 0:
                        jobs[job, J_PENDING] = branches
                        break
                elif code == OP_JOIN:
                    parent = jobs[job, J_PARENT]
                    free_job(x, jobs, job)
                    jobs[parent, J_PENDING] -= 1
                    if jobs[parent, J_PENDING] == 0:
                        jobs[parent, J_PC] += 1
                        todo[pending] = parent
                        pending += 1
                    break
                elif code == OP_SPAWN:
                    for ordinal in range(b):
                        child = new_job(x, jobs, now)
                        for column in range(JOB_COLUMNS):
                            jobs[child, column] = jobs[job, column]
                        jobs[child, J_PARENT] = -1
                        # Beside the parent, whose branch is 0, each draws for itself.
                        jobs[child, J_BRANCH] = ordinal + 1
                        jobs[child, J_SERVER] = ordinal
                        jobs[child, J_PC] = a
                        todo[pending] = child
                        pending += 1
                elif code == OP_PUT:
                    line = queues[a]
                    line[Q_PUT] += 1
                    message = x[X_MESSAGE_FREE]
                    x[X_MESSAGE_FREE] = messages[message, M_NEXT]
                    x[X_MESSAGE_COUNT] += 1
                    messages[message, M_NEXT] = -1
                    messages[message, M_ENTITY] = jobs[job, J_ENTITY]
                    messages[message, M_USER] = jobs[job, J_USER]
                    messages[message, M_TARGET] = jobs[job, J_TARGET]
                    messages[message, M_STAMP] = jobs[job, J_STAMP]
                    if line[Q_TAIL] < 0:
                        line[Q_HEAD] = message
                    else:
                        messages[line[Q_TAIL], M_NEXT] = message
                    line[Q_TAIL] = message
                    line[Q_LENGTH] += 1
                elif code == OP_GET:
                    line = queues[a]
                    if line[Q_LENGTH] == 0:
                        jobs[job, J_NEXT] = -1
                        if line[Q_WAIT_TAIL] < 0:
                            line[Q_WAIT_HEAD] = job
                        else:
                            jobs[line[Q_WAIT_TAIL], J_NEXT] = job
                        line[Q_WAIT_TAIL] = job
                        break
                    take_message(x, jobs, messages, line, job)
                elif code == OP_UNTIL_STAMP:
                    wake = jobs[job, J_STAMP] + s.replay_delay[jobs[job, J_SERVER]]
                    if wake > now:
                        schedule(x, heap, wake, tie_of(jobs[job, J_ENTITY], pc, jobs[job, J_BRANCH]), job)
                        break
                elif code == OP_END:
                    latency = now - jobs[job, J_ARRIVED]
                    outcome = jobs[job, J_OUTCOME]
                    if timeout > 0 and latency > timeout:
                        latency = timeout  # the client has long gone; the work was done all the same
                        outcome = 3
                    x[X_COMPLETED] += 1
                    x[X_IN_FLIGHT] -= 1
                    if outcome != 0:
                        x[X_FAILED] += 1
                    entry = x[X_LOG]
                    x[X_LOG] += 1
                    log[entry, L_KIND] = LOG_REQUEST
                    log[entry, L_LABEL] = jobs[job, J_ENDPOINT]
                    log[entry, L_TIME] = jobs[job, J_ARRIVED]
                    log[entry, L_VALUE] = latency
                    log[entry, L_WEIGHT] = outcome
                    log[entry, L_ORDINAL] = jobs[job, J_ENTITY]
                    if jobs[job, J_LSN] > 0:
                        s.session_lsn[jobs[job, J_USER]] = max(s.session_lsn[jobs[job, J_USER]], jobs[job, J_LSN])
                    session = jobs[job, J_SESSION]
                    if session < 0:
                        free_job(x, jobs, job)
                        break
                    next_request(x, heap, jobs, s.sessions, s.entry, settings, job, session, now)
                    break
                elif code == OP_EXIT:
                    free_job(x, jobs, job)
                    break
                jobs[job, J_PC] += 1
            # A message may be there for a worker that waits.
            for q in range(queues.shape[0]):
                while queues[q, Q_LENGTH] > 0 and queues[q, Q_WAIT_HEAD] >= 0:
                    waiter = queues[q, Q_WAIT_HEAD]
                    queues[q, Q_WAIT_HEAD] = jobs[waiter, J_NEXT]
                    if jobs[waiter, J_NEXT] < 0:
                        queues[q, Q_WAIT_TAIL] = -1
                    take_message(x, jobs, messages, queues[q], waiter)
                    jobs[waiter, J_PC] += 1
                    todo[pending] = waiter
                    pending += 1
        if leaving >= 0:
            go_on(x, heap, jobs, stations, hosts, program, costs, tables, keys, leaving, now)
        if x[X_HEAP] < 0:  # nothing took the place of the event
            x[X_HEAP] = -x[X_HEAP]
            heap_pop(heap, x[X_HEAP])
            x[X_HEAP] -= 1
        for q in range(queues.shape[0]):
            if queues[q, Q_WATCH] >= 0 and queues[q, Q_LENGTH] > queues[q, Q_WATCH]:
                queues[q, Q_WATCH] = -1
                x[X_WATCHED] = q
                return R_WATCH


@subroutine
def next_request(x, heap, jobs, sessions, entry, settings, job, session, now):  # type: ignore[no-untyped-def]
    """Closed mode: load a session's next request and think before it; past the last one the session ends."""
    k = jobs[job, J_CURSOR]
    entity = session * sessions.shape[2] + k
    if k >= sessions.shape[2]:
        free_job(x, jobs, job)
        return
    endpoint = sessions[0, session, k]
    arrival = now + sessions[3, session, k]
    if settings[SET_HORIZON_NS] > 0 and arrival >= settings[SET_HORIZON_NS]:
        free_job(x, jobs, job)
        return
    for column in range(JOB_COLUMNS):
        jobs[job, column] = 0
    jobs[job, J_PARENT] = -1
    jobs[job, J_SERVER] = -1
    jobs[job, J_SESSION] = session
    jobs[job, J_CURSOR] = k + 1
    jobs[job, J_ENTITY] = entity
    jobs[job, J_ENDPOINT] = endpoint
    jobs[job, J_USER] = sessions[1, session, k]
    jobs[job, J_TARGET] = sessions[2, session, k]
    jobs[job, J_LANE] = entity % settings[SET_LANES]
    # The operation before an endpoint's entry is its arrival: it counts the request when it fires.
    jobs[job, J_PC] = entry[endpoint] - 1
    schedule(x, heap, arrival, tie_of(entity, jobs[job, J_PC], ZERO), job)


@njit
def open_session(x, heap, jobs, sessions, entry, settings, session):  # type: ignore[no-untyped-def]
    """Closed mode: at time 0 a user comes, thinks and sends the first request."""
    next_request(x, heap, jobs, sessions, entry, settings, new_job(x, jobs, ZERO), session, ZERO)


@njit
def spawn_background(x, heap, jobs, pc, lane, server):  # type: ignore[no-untyped-def]
    """Start a background loop (relay, worker, poll) at operation `pc`, at time 0."""
    job = new_job(x, jobs, ZERO)
    x[X_ENTITY] += 1
    jobs[job, J_ENTITY] = x[X_ENTITY]
    jobs[job, J_PC] = pc - 1
    jobs[job, J_LANE] = lane
    jobs[job, J_SERVER] = server
    schedule(x, heap, ZERO, tie_of(x[X_ENTITY], pc - 1, ZERO), job)


@njit
def start_stalls(x, heap, key, rate_per_ns, host):  # type: ignore[no-untyped-def]
    """Schedule the first stall of a host."""
    gap = int(-math.log(u01(key, host, ZERO, ZERO)) / rate_per_ns)
    schedule(x, heap, gap, tie_of(STALL_ENTITY, host, ZERO), STALL - 2 * host)


@njit
def resume(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, now):  # type: ignore[no-untyped-def]
    """A stopped process goes on."""
    stations[station, S_PAUSED] = 0
    if stations[station, S_KIND] == K_LOOP and stations[station, S_STATE] == STOPPED:
        if stations[station, S_LENGTH] == 0:
            stations[station, S_STATE] = BLOCKED
            return
        stations[station, S_STATE] = RUNNABLE
        host = stations[station, S_HOST]
        enqueue_task(stations, hosts, jobs, host, station)
        dispatch(x, heap, jobs, stations, hosts, program, costs, tables, keys, host, now)
    elif stations[station, S_KIND] == K_FIFO:
        while stations[station, S_LENGTH] > 0 and stations[station, S_BUSY] < stations[station, S_SERVERS]:
            stations[station, S_BUSY] += 1
            job = pop_waiting(stations, jobs, station)
            start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, ZERO)
