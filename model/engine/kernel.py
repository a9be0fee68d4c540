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

from model.engine import layout as c
from model.engine.caches import forget, look_up, store
from model.engine.decisions import admitted, full_again_ns
from model.engine.effects import append_log, effect, spread
from model.engine.events import (
    LAST_BRANCH, NEVER, ONE, STALL_ENTITY, ZERO, event_code, schedule, tie_of, what_of,
)  # fmt: skip
from model.engine.flights import join_flight, land, leave_flight
from model.engine.heap import heap_pop
from model.engine.layout import (
    BLOCKED, B_FIRST, B_KEYS, B_PERIOD_NS, B_REFUSED, B_TOLERANCE_NS, EVENT_DEADLINE, EVENT_FLUSH, EVENT_KINDS,
    EVENT_LAND, EVENT_SHARE, EVENT_STALL, F_HEAD, H_SINCE, H_STALL_COUNT, H_STALL_NS, H_STALL_UNTIL,
    JOB_COLUMNS, J_ARRIVED, J_ATTEMPT, J_BRANCH, J_CHILD, J_CURSOR, J_DEADLINE, J_ENDPOINT, J_ENTITY, J_FLAG,
    J_ITEMS, J_JOINED, J_LANE, J_LSN, J_NEXT, J_OUTCOME, J_PARENT, J_PC, J_PENDING, J_READY, J_SERVER,
    J_SESSION, J_SHARD, J_STALL, J_STAMP, J_STATION, J_TARGET, J_TRACED, J_TRIES, J_USER, J_WROTE, K_FIFO,
    K_LOOP, LOG_REQUEST, L_KIND, L_LABEL, L_ORDINAL, L_TIME, L_VALUE, L_WEIGHT, M_ENTITY, M_NEXT, M_STAMP,
    M_TARGET, M_USER, OP_ACQUIRE, OP_ADMIT, OP_ATTEMPT, OP_BRANCH, OP_COALESCE, OP_DELAY, OP_EFFECT, OP_END,
    OP_EXIT, OP_FAIL, OP_FLUSH, OP_FORGET, OP_GET, OP_JOIN, OP_JUMP, OP_LAND, OP_LOOKUP, OP_PUT, OP_RELEASE,
    OP_RETRY, OP_RETURN, OP_SCATTER, OP_SERVE, OP_SPAWN, OP_START, OP_STORE, OP_SWITCH, OP_UNLOCK,
    OP_UNTIL_STAMP, OUTCOME_MISSING, OUTCOME_OK, OUTCOME_REJECTED, OUTCOME_TIMEOUT, Q_HEAD, Q_LENGTH, Q_PUT,
    Q_TAIL, Q_WAIT_HEAD, Q_WAIT_TAIL, Q_WATCH, RUNNABLE, RUNNING, R_ENDLESS, R_GROW, R_LOG, R_NEED_BLOCK,
    R_UNTIL, R_WATCH, SEL_FIRST, SEL_KEY, SEL_LANE, SEL_SERVER, SEL_SHARD, SET_HORIZON_NS, SET_LANES,
    SET_SERVERS, SET_TIMEOUT_NS, SET_TRACE_MASK, STOPPED, S_BUSY, S_FLIGHT, S_GATE, S_HOST, S_KIND, S_LENGTH,
    S_NEXT, S_PAUSED, S_SERVERS, S_STATE, X_ARRIVAL, X_ARRIVALS, X_ARRIVED, X_BLOCK_DONE, X_COMPLETED, X_ENTITY,
    X_EVENTS, X_FAILED, X_FLIGHT_COUNT, X_HEAP, X_IN_FLIGHT, X_JOB_COUNT, X_JOB_FREE, X_LOG, X_MESSAGE_COUNT,
    X_MESSAGE_FREE, X_NOW, X_ORDINAL, X_REJECTED, X_STUCK, X_WATCHED,
)  # fmt: skip
from model.engine.prefetch import prefetch
from model.engine.sharing import end_share, settle
from model.engine.stations import (
    begin_flush, dispatch, enqueue_task, go_on, pop_waiting, push_first, push_waiting, start, visit,
)  # fmt: skip
from model.engine.tables import table_value
from model.rng.compiled import inlined, njit, subroutine, unsigned
from model.rng.philox import u01

MARGIN = 8192
"""Free rows of jobs, messages, flights and event list that one event may at most need; fewer make the loop return. The
largest event is a flush that releases `RELEASED` transactions, each starting its replication to several standbys."""
RELEASED = 512
"""Jobs that one event of a group commit or of a landed flight lets go on; the rest follow in further events of the same
instant."""
LOG_MARGIN = 1 << 14
"""The same for the log: a relay moves one batch of messages, at most 10 000, at once."""
MOST_TURNS = 1_000_000
"""Rounds of loops that jobs may go through at one instant; more is a path that takes no time."""
TRY_BITS = 8
LOG_STEP = np.int64(c.LOG_STEP)


@inlined
def take_row(x, jobs):  # type: ignore[no-untyped-def]
    """A row of the job table, as its last owner left it."""
    job = x[X_JOB_FREE]
    x[X_JOB_FREE] = jobs[unsigned(job), J_NEXT]
    x[X_JOB_COUNT] += 1
    return job


@inlined
def new_job(x, jobs, now):  # type: ignore[no-untyped-def]
    """A cleared row of the job table."""
    job = take_row(x, jobs)
    j = unsigned(job)
    for column in range(JOB_COLUMNS):
        jobs[j, column] = 0
    jobs[j, J_PARENT] = -1
    jobs[j, J_SESSION] = -1
    jobs[j, J_SERVER] = -1
    jobs[j, J_ARRIVED] = now
    return job


@inlined
def copy_of(x, jobs, job):  # type: ignore[no-untyped-def]
    """A row of the job table that is like another."""
    child = take_row(x, jobs)
    j, k = unsigned(job), unsigned(child)
    for column in range(JOB_COLUMNS):
        jobs[k, column] = jobs[j, column]
    return child


@inlined
def free_job(x, jobs, job):  # type: ignore[no-untyped-def]
    jobs[unsigned(job), J_NEXT] = x[X_JOB_FREE]
    x[X_JOB_FREE] = job
    x[X_JOB_COUNT] -= 1


@inlined
def member(jobs, settings, job, first, selector, size):  # type: ignore[no-untyped-def]
    """Which station of a group serves this job."""
    j = unsigned(job)
    if selector == SEL_FIRST:
        return first
    if selector == SEL_LANE:
        return first + jobs[j, J_LANE]
    if selector == SEL_SHARD:
        return first + jobs[j, J_SHARD]
    if selector == SEL_SERVER:
        return first + jobs[j, J_SERVER] + 1
    if selector == SEL_KEY:
        return first + ((jobs[j, J_USER] * 2654435761) >> 7) % size
    return first + jobs[j, J_LANE] * settings[SET_SERVERS] + jobs[j, J_SERVER] + 1


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
    jobs[job, J_OUTCOME] = OUTCOME_OK
    messages[message, M_NEXT] = x[X_MESSAGE_FREE]
    x[X_MESSAGE_FREE] = message
    x[X_MESSAGE_COUNT] -= 1


@inlined
def is_traced(settings, entity):  # type: ignore[no-untyped-def]
    mask = settings[SET_TRACE_MASK]
    return 1 if mask >= 0 and entity & mask == 0 else 0


@inlined
def trace(x, jobs, log, job, operation, since, now):  # type: ignore[no-untyped-def]
    """Log how long a traced request was at a step."""
    if jobs[unsigned(job), J_TRACED] != 0:
        append_log(x, log, LOG_STEP, operation, since, now - since, jobs[job, J_BRANCH])
        log[x[X_LOG] - 1, L_ORDINAL] = jobs[job, J_ENTITY]


@inlined
def end_visit(x, jobs, program, visits, log, job, now):  # type: ignore[no-untyped-def]
    """Count a visit that ends."""
    j = unsigned(job)
    cost = unsigned(program[unsigned(jobs[j, J_PC]), 3])
    visits[cost, 0] += 1
    visits[cost, 1] += jobs[j, J_ITEMS]
    visits[cost, 2] += now - jobs[j, J_READY]
    trace(x, jobs, log, job, jobs[j, J_PC], jobs[j, J_READY], now)


@subroutine
def release(x, heap, jobs, program, log, flights, todo, flight, pending, now):  # type: ignore[no-untyped-def]
    """Let up to `RELEASED` of those who wait for a landed flight go on; the rest follow in another event of this
    instant. Returns the new length of `todo`."""
    for _ in range(RELEASED):
        job = flights[flight, F_HEAD]
        last = jobs[job, J_NEXT] < 0
        trace(x, jobs, log, job, jobs[job, J_PC], jobs[job, J_READY], now)
        jobs[job, J_PC] = program[jobs[job, J_PC], 3] + 1  # behind its own part, which need not be that of the fetcher
        todo[pending] = leave_flight(x, jobs, flights, flight)
        pending += 1
        if last:
            return pending
    first = flights[flight, F_HEAD]
    tie = tie_of(jobs[first, J_ENTITY], program[jobs[first, J_PC], 3], LAST_BRANCH)
    schedule(x, heap, now, tie, event_code(EVENT_LAND, flight))
    return pending


@subroutine
def begin_attempt(x, heap, jobs, job, child, entry, limit_ns, now):  # type: ignore[no-untyped-def]
    """A job of its own tries what the waiting job wants; its branch says which try it is."""
    jobs[child, J_BRANCH] += jobs[job, J_TRIES] << TRY_BITS
    jobs[child, J_TRIES] = 0
    jobs[child, J_PARENT] = job
    jobs[child, J_SESSION] = -1
    jobs[child, J_PC] = entry
    if jobs[job, J_OUTCOME] > OUTCOME_MISSING:
        jobs[child, J_OUTCOME] = OUTCOME_OK  # what failed before does not make this one fail
    jobs[job, J_CHILD] = child
    if limit_ns > 0:
        jobs[job, J_DEADLINE] = now + limit_ns
        tie = tie_of(jobs[job, J_ENTITY], jobs[job, J_PC], jobs[job, J_BRANCH])
        schedule(x, heap, now + limit_ns, tie, event_code(EVENT_DEADLINE, job))


@subroutine
def end_attempt(jobs, child):  # type: ignore[no-untyped-def]
    """An attempt has ended: the waiting job takes over what it found. Returns it, or -1 where nobody waits any more."""
    job = jobs[child, J_PARENT]
    if job >= 0:
        for column in (J_OUTCOME, J_SERVER, J_SHARD, J_ITEMS, J_STAMP, J_LSN, J_WROTE, J_CURSOR, J_ATTEMPT):
            jobs[job, column] = jobs[child, column]
        jobs[job, J_FLAG] = 1 if jobs[child, J_OUTCOME] > OUTCOME_MISSING else 0
        jobs[job, J_CHILD] = -1
        jobs[job, J_DEADLINE] = 0
        jobs[job, J_PC] += 1
    return job


@subroutine
def copy_page(pages, job, other):  # type: ignore[no-untyped-def]
    """The posts that `job` has chosen are those of `other` too."""
    for k in range(pages.shape[1]):
        pages[other, k] = pages[job, k]


@subroutine
def give_up(jobs, job):  # type: ignore[no-untyped-def]
    """The time limit of an attempt: what it does goes on, but nobody waits for it any more."""
    jobs[jobs[job, J_CHILD], J_PARENT] = -1
    jobs[job, J_CHILD] = -1
    jobs[job, J_DEADLINE] = 0
    jobs[job, J_FLAG] = 1
    jobs[job, J_OUTCOME] = OUTCOME_TIMEOUT
    jobs[job, J_PC] += 1


@subroutine
def refused(limiters, allowances, limiter, key, now):  # type: ignore[no-untyped-def]
    """Whether a token bucket has no token for `key`; one is taken otherwise."""
    row = limiters[limiter, B_FIRST] + key % limiters[limiter, B_KEYS]
    if not admitted(allowances[row], now, limiters[limiter, B_TOLERANCE_NS]):
        limiters[limiter, B_REFUSED] += 1
        return ONE
    allowances[row] = full_again_ns(allowances[row], now, limiters[limiter, B_PERIOD_NS])
    return ZERO


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
        if x[X_MESSAGE_COUNT] + MARGIN > messages.shape[0] or x[X_FLIGHT_COUNT] + MARGIN > s.flights.shape[0]:
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
            what = what_of(heap[0, 2])
            tie = heap[0, 1]
            if x[X_HEAP] > 4:  # one of the root's children will most likely be next
                prefetch(jobs, max(ZERO, what_of(heap[1, 2])), ZERO)
                prefetch(jobs, max(ZERO, what_of(heap[2, 2])), ZERO)
                prefetch(jobs, max(ZERO, what_of(heap[3, 2])), ZERO)
                prefetch(jobs, max(ZERO, what_of(heap[4, 2])), ZERO)
            x[X_HEAP] = -x[X_HEAP]  # the root is now a hole
            if what >= 0:
                job = what
                j = unsigned(job)
                pc = jobs[j, J_PC]
                code = program[unsigned(pc), 0]
                if code == OP_SERVE:
                    leaving = jobs[j, J_STATION]
                    host = stations[unsigned(leaving), S_HOST]
                    if host >= 0 and hosts[host, H_STALL_NS] != jobs[job, J_STALL]:
                        # The core was taken away meanwhile: the rest of the service happens that much later.
                        late = hosts[host, H_STALL_NS] - jobs[job, J_STALL]
                        jobs[job, J_STALL] = hosts[host, H_STALL_NS]
                        schedule(x, heap, now + late, tie_of(jobs[job, J_ENTITY], pc, jobs[job, J_BRANCH]), job)
                        continue
                    end_visit(x, jobs, program, visits, log, job, now)
                elif code == OP_START and program[pc, 1] != 0:
                    jobs[job, J_ARRIVED] = now
                    x[X_ARRIVED] += 1
                    x[X_IN_FLIGHT] += 1
                jobs[j, J_PC] = pc + 1
                todo[0] = job
                pending = 1
            elif (-1 - what) % EVENT_KINDS == EVENT_SHARE:
                job = end_share(x, heap, jobs, hosts, (-1 - what) // EVENT_KINDS, now)
                if job >= 0:
                    leaving = jobs[job, J_STATION]
                    end_visit(x, jobs, program, visits, log, job, now)
                    jobs[job, J_PC] += 1
                    todo[0] = job
                    pending = 1
            elif (-1 - what) % EVENT_KINDS == EVENT_DEADLINE:
                job = (-1 - what) // EVENT_KINDS
                # Else the attempt has ended before; the row may be another's now, who gives up at this very instant.
                mine = tie == tie_of(jobs[job, J_ENTITY], jobs[job, J_PC], jobs[job, J_BRANCH])
                if jobs[job, J_DEADLINE] == now and mine:
                    give_up(jobs, job)
                    todo[0] = job
                    pending = 1
            elif (-1 - what) % EVENT_KINDS == EVENT_LAND:
                pending = release(
                    x, heap, jobs, program, log, s.flights, todo, (-1 - what) // EVENT_KINDS, pending, now
                )
            elif (-1 - what) % EVENT_KINDS == EVENT_STALL:
                host = (-1 - what) // EVENT_KINDS
                hosts[host, H_STALL_COUNT] += 1
                ordinal = hosts[host, H_STALL_COUNT]
                table = int(s.stalls[1])
                length = int(table_value(tables, table, u01(keys[n_costs + n_tables], host, ZERO, ordinal)))
                hosts[host, H_STALL_NS] += length
                hosts[host, H_STALL_UNTIL] = now + length
                settle(hosts, host, now)
                hosts[host, H_SINCE] = now + length
                gap = int(-math.log(u01(keys[n_costs + n_tables + 1], host, ZERO, ordinal)) / s.stalls[0])
                schedule(x, heap, now + length + gap, tie_of(STALL_ENTITY, host, ZERO), what)
            else:  # EVENT_FLUSH
                station = (-1 - what) // EVENT_KINDS
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
                        trace(x, jobs, log, job, jobs[job, J_PC], jobs[job, J_JOINED], now)
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
            jobs[job, J_TRACED] = is_traced(settings, jobs[job, J_ENTITY])
            jobs[job, J_PC] = s.entry[jobs[job, J_ENDPOINT]]
            x[X_ARRIVED] += 1
            x[X_IN_FLIGHT] += 1
            todo[0] = job
            pending = 1

        done = 0
        turns = 0
        while done < pending:
            if 2 * pending > todo.shape[0]:  # the other half is for those that one job lets go on
                x[X_STUCK] = jobs[todo[done], J_PC]
                return R_ENDLESS
            job = todo[unsigned(done)]
            done += 1
            while True:  # run the job until it waits or ends
                pc = jobs[unsigned(job), J_PC]
                code = program[unsigned(pc), 0]
                a = program[unsigned(pc), 1]
                b = program[unsigned(pc), 2]
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
                        trace(x, jobs, log, job, pc, now, now + length)
                        break
                elif code == OP_BRANCH:
                    if jobs[job, J_FLAG] == 0:
                        jobs[job, J_PC] = a
                        continue
                elif code == OP_JUMP:
                    jobs[job, J_PC] = a
                    jobs[job, J_ATTEMPT] += b
                    turns += b
                    if turns > MOST_TURNS:
                        x[X_STUCK] = pc
                        return R_ENDLESS
                    continue
                elif code == OP_ACQUIRE:
                    pool = member(jobs, settings, job, a, b, program[pc, 4])
                    if stations[pool, S_BUSY] < stations[pool, S_SERVERS]:
                        stations[pool, S_BUSY] += 1
                        if program[pc, 3] > 0:
                            jobs[job, J_FLAG] = 0
                    elif program[pc, 3] > 0 and stations[pool, S_LENGTH] >= program[pc, 3] - 1:
                        jobs[job, J_FLAG] = 1
                    else:
                        jobs[job, J_READY] = now
                        push_waiting(stations, jobs, pool, job)
                        break
                elif code == OP_RELEASE:
                    pool = member(jobs, settings, job, a, b, program[pc, 4])
                    if stations[pool, S_LENGTH] > 0 and stations[pool, S_BUSY] <= stations[pool, S_SERVERS]:
                        waiter = pop_waiting(stations, jobs, pool)
                        if program[jobs[waiter, J_PC], 3] > 0:
                            jobs[waiter, J_FLAG] = 0
                        trace(x, jobs, log, waiter, jobs[waiter, J_PC], jobs[waiter, J_READY], now)
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
                        trace(x, jobs, log, job, pc, jobs[job, J_JOINED], now)
                        stations[a, S_NEXT] = -1
                        stations[a, S_STATE] = RUNNABLE
                        schedule(x, heap, now, tie_of(jobs[job, J_ENTITY], pc, LAST_BRANCH), event_code(EVENT_FLUSH, a))
                elif code == OP_SCATTER:
                    spread(s, job, a)
                    branches = 0
                    for shard in range(len(s.scratch)):
                        items = s.scratch[shard]
                        if items == 0:
                            continue
                        child = copy_of(x, jobs, job)
                        branches += 1
                        jobs[child, J_BRANCH] += branches
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
                    if x[X_JOB_COUNT] + b > jobs.shape[0]:
                        x[X_STUCK] = pc
                        return R_ENDLESS
                    for ordinal in range(b):
                        child = copy_of(x, jobs, job)
                        jobs[child, J_PARENT] = -1
                        # Beside the parent, whose branch is 0, each draws for itself.
                        jobs[child, J_BRANCH] += ordinal + 1
                        jobs[child, J_SERVER] = ordinal
                        jobs[child, J_PC] = a
                        todo[pending] = child
                        pending += 1
                elif code == OP_PUT:
                    line = queues[a]
                    line[Q_PUT] += 1
                    if x[X_MESSAGE_COUNT] >= messages.shape[0]:
                        x[X_STUCK] = pc
                        return R_ENDLESS
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
                elif code == OP_FAIL:
                    jobs[job, J_OUTCOME] = a
                elif code == OP_LOOKUP:
                    found = look_up(s.caches, s.slots, s.buckets, a, jobs[job, b], now)
                    jobs[job, J_FLAG] = 0 if found else 1
                elif code == OP_STORE:
                    store(s.caches, s.slots, s.buckets, a, jobs[job, b], now)
                elif code == OP_FORGET:
                    forget(s.caches, s.slots, s.buckets, a, jobs[job, b])
                elif code == OP_ADMIT:
                    jobs[job, J_FLAG] = refused(s.limiters, s.allowances, a, jobs[job, b], now)
                elif code == OP_SWITCH:
                    jobs[job, J_FLAG] = s.switches[a]
                elif code == OP_COALESCE:
                    if not join_flight(x, jobs, s.flights, s.flight_buckets, a, jobs[job, b], job):
                        jobs[job, J_READY] = now
                        break
                elif code == OP_LAND:
                    flight = land(x, jobs, s.flights, s.flight_buckets, a, jobs[job, b], job)
                    if flight >= 0:
                        pending = release(x, heap, jobs, program, log, s.flights, todo, flight, pending, now)
                elif code == OP_ATTEMPT:
                    if x[X_JOB_COUNT] >= jobs.shape[0]:
                        x[X_STUCK] = pc
                        return R_ENDLESS
                    child = copy_of(x, jobs, job)
                    begin_attempt(x, heap, jobs, job, child, a, b, now)
                    copy_page(s.job_page, job, child)
                    todo[pending] = child
                    pending += 1
                    break
                elif code == OP_RETURN:
                    parent = end_attempt(jobs, job)
                    if parent >= 0:
                        copy_page(s.job_page, job, parent)
                    free_job(x, jobs, job)
                    if parent >= 0:
                        todo[pending] = parent
                        pending += 1
                    break
                elif code == OP_RETRY:
                    if jobs[job, J_FLAG] != 0 and jobs[job, J_TRIES] < b:
                        jobs[job, J_TRIES] += 1
                        jobs[job, J_OUTCOME] = OUTCOME_OK
                        wait = program[pc, 3] << (jobs[job, J_TRIES] - 1)
                        if wait > 0:
                            jobs[job, J_PC] = a - 1
                            schedule(x, heap, now + wait, tie_of(jobs[job, J_ENTITY], a - 1, jobs[job, J_BRANCH]), job)
                            break
                        jobs[job, J_PC] = a
                        continue
                    jobs[job, J_TRIES] = 0
                elif code == OP_END:
                    latency = now - jobs[job, J_ARRIVED]
                    outcome = jobs[job, J_OUTCOME]
                    if timeout > 0 and latency > timeout:
                        latency = timeout  # the client has long gone; the work was done all the same
                        outcome = OUTCOME_TIMEOUT
                    x[X_COMPLETED] += 1
                    x[X_IN_FLIGHT] -= 1
                    if outcome != 0:
                        x[X_FAILED] += 1
                        if outcome == OUTCOME_REJECTED:
                            x[X_REJECTED] += 1
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
                    ordinal = jobs[job, J_SESSION]
                    if ordinal < 0:
                        free_job(x, jobs, job)
                        break
                    session = ordinal // s.sessions.shape[2]
                    k = ordinal % s.sessions.shape[2] + 1
                    next_request(x, heap, jobs, s.sessions, s.entry, settings, job, session, k, now)
                    break
                elif code == OP_EXIT:
                    free_job(x, jobs, job)
                    break
                jobs[unsigned(job), J_PC] += 1
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
def next_request(x, heap, jobs, sessions, entry, settings, job, session, k, now):  # type: ignore[no-untyped-def]
    """Closed mode: load a session's request `k` and think before it; past the last one the session ends."""
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
    jobs[job, J_SESSION] = entity
    jobs[job, J_ENTITY] = entity
    jobs[job, J_ENDPOINT] = endpoint
    jobs[job, J_USER] = sessions[1, session, k]
    jobs[job, J_TARGET] = sessions[2, session, k]
    jobs[job, J_LANE] = entity % settings[SET_LANES]
    jobs[job, J_TRACED] = is_traced(settings, entity)
    # The operation before an endpoint's entry is its arrival: it counts the request when it fires.
    jobs[job, J_PC] = entry[endpoint] - 1
    schedule(x, heap, arrival, tie_of(entity, jobs[job, J_PC], ZERO), job)


@njit
def open_session(x, heap, jobs, sessions, entry, settings, session):  # type: ignore[no-untyped-def]
    """Closed mode: at time 0 a user comes, thinks and sends the first request."""
    next_request(x, heap, jobs, sessions, entry, settings, new_job(x, jobs, ZERO), session, ZERO, ZERO)


@njit
def spawn_background(x, heap, jobs, pc, lane, server, now):  # type: ignore[no-untyped-def]
    """Start a job of its own (a relay, a worker, a refresh) at operation `pc`, at time `now`."""
    job = new_job(x, jobs, now)
    x[X_ENTITY] += 1
    jobs[job, J_ENTITY] = x[X_ENTITY]
    jobs[job, J_PC] = pc - 1
    jobs[job, J_LANE] = lane
    jobs[job, J_SERVER] = server
    schedule(x, heap, now, tie_of(x[X_ENTITY], pc - 1, ZERO), job)


@njit
def start_stalls(x, heap, key, rate_per_ns, host):  # type: ignore[no-untyped-def]
    """Schedule the first stall of a host."""
    gap = int(-math.log(u01(key, host, ZERO, ZERO)) / rate_per_ns)
    schedule(x, heap, gap, tie_of(STALL_ENTITY, host, ZERO), event_code(EVENT_STALL, host))


@njit
def resize(x, heap, jobs, stations, hosts, program, costs, tables, keys, log, station, servers, now):  # type: ignore[no-untyped-def]
    """A FIFO or a pool has another number of servers from `now` on; who waited for one gets it."""
    stations[station, S_SERVERS] = servers
    while stations[station, S_LENGTH] > 0 and stations[station, S_BUSY] < servers:
        if stations[station, S_KIND] == K_FIFO and stations[station, S_PAUSED] != 0:
            return
        stations[station, S_BUSY] += 1
        job = pop_waiting(stations, jobs, station)
        if stations[station, S_KIND] == K_FIFO:
            start(x, heap, jobs, stations, hosts, program, costs, tables, keys, station, job, now, ZERO)
        else:
            if program[jobs[job, J_PC], 3] > 0:
                jobs[job, J_FLAG] = 0
            trace(x, jobs, log, job, jobs[job, J_PC], jobs[job, J_READY], now)
            # It stands at its OP_ACQUIRE, and goes on behind it.
            schedule(x, heap, now, tie_of(jobs[job, J_ENTITY], jobs[job, J_PC], jobs[job, J_BRANCH]), job)


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
