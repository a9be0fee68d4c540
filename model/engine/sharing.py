"""Processor sharing: the tasks on a shared host are served at the same time, each at an equal part of its cores.

Kleinrock, "Time-shared systems: a theoretical treatment" (1967). What counts is the service that a task gets which is
there all the time, its *share*: with n tasks on c cores it grows by min(1, c / n) per unit of time. A service of
length S that begins when the share is A is done when it is A + S, so the tasks end in the order of that sum, whoever
comes and goes meanwhile. Shares are whole numbers of 2^-SHARE_BITS ns, so that two implementations agree to the bit.
"""

from __future__ import annotations

import numpy as np

from model.engine.events import NEVER, SHARE_ENTITY, ZERO, event_code, schedule, tie_of
from model.engine.layout import (
    EVENT_SHARE, H_CORES, H_EVENT, H_ROOT, H_SERVED, H_SHARING, H_SINCE, J_BRANCH, J_ENTITY, J_FINISH, J_NEXT, J_PC,
    J_RIGHT, J_STALL, SHARE_BITS, X_SCHEDULED,
)  # fmt: skip
from model.rng.compiled import subroutine

NOBODY = np.int64(-1)


@subroutine
def share_at(hosts, host, now):  # type: ignore[no-untyped-def]
    """A shared host's share at `now`, no earlier than its last change."""
    tasks = hosts[host, H_SHARING]
    length = max(ZERO, now - hosts[host, H_SINCE])
    if tasks == 0 or length == 0:
        return hosts[host, H_SERVED]
    return hosts[host, H_SERVED] + (length << SHARE_BITS) * min(hosts[host, H_CORES], tasks) // tasks


@subroutine
def settle(hosts, host, now):  # type: ignore[no-untyped-def]
    """Write the share down before its growth changes: when a task comes or goes, or a stall begins. Only then, since
    it is rounded down each time."""
    hosts[host, H_SERVED] = share_at(hosts, host, now)
    hosts[host, H_SINCE] = max(hosts[host, H_SINCE], now)


@subroutine
def look_again(x, heap, jobs, hosts, host):  # type: ignore[no-untyped-def]
    """Make sure that there is an event at the next end of a service, the first instant at which the share reaches it.

    An event that is there earlier stays: it will find nothing and look again.
    """
    root = hosts[host, H_ROOT]
    if root < 0:
        return
    need = max(ZERO, jobs[root, J_FINISH] - hosts[host, H_SERVED])
    tasks = hosts[host, H_SHARING]
    speed = min(hosts[host, H_CORES], tasks) << SHARE_BITS
    # ceil(need * tasks / speed), in two parts that do not overflow
    end = hosts[host, H_SINCE] + need // speed * tasks + (need % speed * tasks + speed - 1) // speed
    if end < hosts[host, H_EVENT]:
        hosts[host, H_EVENT] = end
        schedule(x, heap, end, tie_of(SHARE_ENTITY, host, ZERO), event_code(EVENT_SHARE, host))


@subroutine
def begin_share(x, heap, jobs, hosts, host, job, service, now):  # type: ignore[no-untyped-def]
    """A service of length `service` ns begins on a shared host."""
    settle(hosts, host, now)
    jobs[job, J_FINISH] = hosts[host, H_SERVED] + (service << SHARE_BITS)
    jobs[job, J_STALL] = x[X_SCHEDULED]
    x[X_SCHEDULED] += 1
    jobs[job, J_NEXT] = -1
    jobs[job, J_RIGHT] = -1
    hosts[host, H_ROOT] = meld(jobs, hosts[host, H_ROOT], job)
    hosts[host, H_SHARING] += 1
    look_again(x, heap, jobs, hosts, host)


@subroutine
def end_share(x, heap, jobs, hosts, host, now):  # type: ignore[no-untyped-def]
    """The event of a shared host: returns the job whose service ends at `now`, or -1 where none does."""
    if hosts[host, H_EVENT] != now:
        return NOBODY  # an event that an earlier one has replaced
    hosts[host, H_EVENT] = NEVER
    root = hosts[host, H_ROOT]
    if root >= 0 and jobs[root, J_FINISH] <= share_at(hosts, host, now):
        settle(hosts, host, now)
        hosts[host, H_ROOT] = meld(jobs, jobs[root, J_NEXT], jobs[root, J_RIGHT])
        hosts[host, H_SHARING] -= 1
    else:
        root = NOBODY
    look_again(x, heap, jobs, hosts, host)
    return root


@subroutine
def meld(jobs, a, b):  # type: ignore[no-untyped-def]
    """Two heaps become one: a skew heap (Sleator and Tarjan, "Self-adjusting heaps", 1986), top down."""
    if a < 0:
        return b
    if b < 0:
        return a
    if _later(jobs, a, b):
        a, b = b, a
    root = a
    while True:
        right = jobs[a, J_RIGHT]
        jobs[a, J_RIGHT] = jobs[a, J_NEXT]
        if right < 0:
            jobs[a, J_NEXT] = b
            return root
        if _later(jobs, right, b):
            right, b = b, right
        jobs[a, J_NEXT] = right
        a = right


@subroutine
def _later(jobs, a, b):  # type: ignore[no-untyped-def]
    if jobs[a, J_FINISH] != jobs[b, J_FINISH]:
        return jobs[a, J_FINISH] > jobs[b, J_FINISH]
    first = tie_of(jobs[a, J_ENTITY], jobs[a, J_PC], jobs[a, J_BRANCH])
    second = tie_of(jobs[b, J_ENTITY], jobs[b, J_PC], jobs[b, J_BRANCH])
    return first > second or (first == second and jobs[a, J_STALL] > jobs[b, J_STALL])
