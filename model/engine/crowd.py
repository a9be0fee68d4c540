"""What a path does to the timelines of a large population: reads, fills, and the fan-out in batches.

A timeline is a seat of `seats`: its number of entries and whether the cache holds it. The followers of an author are
runs of seats where the population is implicit (`model.workload.implicit`), else the listed accounts. Every follower is
one delivery: to a timeline that the cache holds, or to one that it does not (then nothing is stored, but the entry is
there for a rebuild).
"""

from __future__ import annotations

import numpy as np

from model.engine import layout as c
from model.engine.decisions import key_hash
from model.engine.layout import (
    J_BRANCH, J_CURSOR, J_END, J_ENTITY, J_FLAG, J_ITEMS, J_SHARD, J_STAMP, J_TARGET, J_USER, L_KIND, L_LABEL,
    L_ORDINAL, L_TIME, L_VALUE, L_WEIGHT, SET_PAGE, SET_TIMELINE_CAP, X_DUE, X_EXPECTED, X_HITS, X_LOG, X_MISSES,
    X_POSTS, X_UNCACHED,
)  # fmt: skip
from model.policy import sharding
from model.rng.compiled import inlined, subroutine
from model.workload.implicit.columns import (
    SEAT_CACHED, SEAT_LENGTH, U_CLASSES, U_IMPLICIT, U_PULLED, U_REPLICAS, U_SHARDS,
)  # fmt: skip
from model.workload.implicit.followers import follows, followers_of, runs_of
from model.workload.implicit.permutation import seat_of

# Effects, numbered behind those of `effects`.
E_SEAT = 64  # flag: the user's timeline is not in the cache; items: entries read; a shard of one of the replicas
E_SEAT_SIZE = 65  # items: all entries of the user's timeline
E_SEAT_FILL = 66
E_SEAT_PULLED = 67  # flag and items: pulled authors that the user follows
E_POSTED = 68  # the post exists: its deliveries are due; flag: it is pushed
E_TASK = 69  # flag: followers are left that no task has; the next a of them are this one's
E_TASK_BATCH = 70  # flag and items: the next batch of the task, at most a followers
E_TASK_DELIVER = 71  # the batch has been pushed
E_PULLED_SHARD = 72  # a shard of one of the replicas for the author's own list

SPREAD_SEATS = 16  # the batch over all shards of all replicas

LOG_DELIVERY = np.int64(c.LOG_DELIVERY)
KEY_TIMELINE, KEY_HOT = sharding.KEY_TIMELINE, sharding.KEY_HOT
_TASK_BITS = 10


@inlined
def seat(crowd, user):  # type: ignore[no-untyped-def]
    """An account's seat; where followers are listed its number."""
    return seat_of(crowd, user) if crowd[U_IMPLICIT] != 0 else user


@inlined
def shard_of_seat(crowd, where):  # type: ignore[no-untyped-def]
    """Which server of a replica holds a timeline."""
    return key_hash(KEY_TIMELINE, where) % crowd[U_SHARDS]


@inlined
def one_replica(crowd, shard, entity):  # type: ignore[no-untyped-def]
    """Requests take turns among the replicas."""
    return entity % crowd[U_REPLICAS] * crowd[U_SHARDS] + shard


@subroutine
def audience(crowd, law, follower_offsets, author):  # type: ignore[no-untyped-def]
    """How many followers an author has."""
    if crowd[U_IMPLICIT] != 0:
        return followers_of(crowd, law, author)
    return follower_offsets[author + 1] - follower_offsets[author]


@subroutine
def spread_seats(jobs, job, counts, crowd, law, class_begins, runs, follower_offsets, followers):  # type: ignore[no-untyped-def]
    """How many followers of the job's batch each shard holds, the same in every replica."""
    author = jobs[job, J_USER]
    begin = jobs[job, J_CURSOR]
    end = begin + jobs[job, J_ITEMS]
    shards = crowd[U_SHARDS]
    if crowd[U_IMPLICIT] == 0:
        for k in range(follower_offsets[author] + begin, follower_offsets[author] + end):
            counts[shard_of_seat(crowd, np.int64(followers[k]))] += 1
    else:
        runs_of(crowd, law, class_begins, author, followers_of(crowd, law, author), runs)
        before = np.int64(0)
        for which in range(crowd[U_CLASSES]):
            first, size = class_begins[which], class_begins[which + 1] - class_begins[which]
            for k in range(max(begin - before, 0), min(end - before, runs[which, 1])):
                where = runs[which, 0] + k
                counts[shard_of_seat(crowd, first + (where - size if where >= size else where))] += 1
            before += runs[which, 1]
    for replica in range(1, crowd[U_REPLICAS]):
        for shard in range(shards):
            counts[replica * shards + shard] = counts[shard]


@inlined
def deliver_run(seats, begin, end, cap):  # type: ignore[no-untyped-def]
    """One more entry on the timelines from `begin` to `end`; returns how many of them the cache holds."""
    cached = np.int64(0)
    for k in range(begin, end):
        value = seats[k]
        cached += value >> 15
        seats[k] = value + np.uint16((value & SEAT_LENGTH) < cap)
    return cached


@subroutine
def deliver_seats(jobs, job, cap, seats, crowd, law, class_begins, runs, follower_offsets, followers):  # type: ignore[no-untyped-def]
    """The batch's followers have the post; returns how many of their timelines the cache holds."""
    author = jobs[job, J_USER]
    begin = jobs[job, J_CURSOR]
    end = begin + jobs[job, J_ITEMS]
    cached = np.int64(0)
    if crowd[U_IMPLICIT] == 0:
        for k in range(follower_offsets[author] + begin, follower_offsets[author] + end):
            cached += deliver_run(seats, np.int64(followers[k]), np.int64(followers[k]) + 1, cap)
        return cached
    runs_of(crowd, law, class_begins, author, followers_of(crowd, law, author), runs)
    before = np.int64(0)
    for which in range(crowd[U_CLASSES]):
        first, size = class_begins[which], class_begins[which + 1] - class_begins[which]
        low = runs[which, 0] + max(begin - before, 0)
        high = runs[which, 0] + min(end - before, runs[which, 1])
        # A run goes on at its class's first seat when it comes to the last one.
        cached += deliver_run(seats, first + low, first + min(high, size), cap)
        cached += deliver_run(seats, first + max(low - size, 0), first + max(high - size, 0), cap)
        before += runs[which, 1]
    return cached


@subroutine
def pulled_followees(crowd, class_begins, pulled_runs, pulled_offsets, pulled_authors, user):  # type: ignore[no-untyped-def]
    """How many pulled authors the user follows."""
    if crowd[U_IMPLICIT] == 0:
        return pulled_offsets[user + 1] - pulled_offsets[user]
    where = seat_of(crowd, user)
    found = np.int64(0)
    for author in range(crowd[U_PULLED]):
        if follows(crowd, class_begins, where, pulled_runs[author]):
            found += 1
    return found


@subroutine
def crowd_effect(s, job, which, a, now):  # type: ignore[no-untyped-def]
    """Apply effect `which` of `job` at `now` (ns)."""
    if which < E_POSTED:
        read_effect(s, job, which)
    else:
        fan_out_effect(s, job, which, a, now)


@subroutine
def read_effect(s, job, which):  # type: ignore[no-untyped-def]
    """What reads do."""
    jobs, x, crowd = s.jobs, s.x, s.crowd
    user = jobs[job, J_USER]
    if which == E_SEAT:
        where = seat(crowd, user)
        jobs[job, J_SHARD] = one_replica(crowd, shard_of_seat(crowd, where), jobs[job, J_ENTITY])
        value = np.int64(s.seats[where])
        if value & SEAT_CACHED:
            x[X_HITS] += 1
            jobs[job, J_FLAG] = 0
            jobs[job, J_ITEMS] = min(s.settings[SET_PAGE], value & SEAT_LENGTH)
        else:
            x[X_MISSES] += 1
            jobs[job, J_FLAG] = 1
            jobs[job, J_ITEMS] = 0
    elif which == E_SEAT_SIZE:
        jobs[job, J_ITEMS] = np.int64(s.seats[seat(crowd, user)]) & SEAT_LENGTH
    elif which == E_SEAT_FILL:
        where = seat(crowd, user)
        s.seats[where] = np.int64(s.seats[where]) | SEAT_CACHED
        jobs[job, J_ITEMS] = min(s.settings[SET_PAGE], np.int64(s.seats[where]) & SEAT_LENGTH)
    elif which == E_SEAT_PULLED:
        found = pulled_followees(crowd, s.class_begins, s.pulled_runs, s.hot_offsets, s.hot_authors, user)
        jobs[job, J_ITEMS] = found
        jobs[job, J_FLAG] = 1 if found > 0 else 0


@subroutine
def fan_out_effect(s, job, which, a, now):  # type: ignore[no-untyped-def]
    """What posts do, from their row to the last of their followers."""
    jobs, x, crowd = s.jobs, s.x, s.crowd
    user = jobs[job, J_USER]
    if which == E_POSTED:
        x[X_POSTS] += 1
        jobs[job, J_STAMP] = now
        jobs[job, J_CURSOR] = 0
        jobs[job, J_END] = 0
        pulled = user < crowd[U_PULLED] if crowd[U_IMPLICIT] != 0 else s.pulled[user]
        jobs[job, J_FLAG] = 0 if pulled else 1
        if not pulled:
            x[X_DUE] += audience(crowd, s.law, s.follower_offsets, user)
    elif which == E_TASK:
        count = audience(crowd, s.law, s.follower_offsets, user)
        begin = jobs[job, J_END]
        jobs[job, J_CURSOR] = begin
        jobs[job, J_END] = min(begin + a, count)
        jobs[job, J_FLAG] = 1 if begin < count else 0
        # Each task's branches draw for themselves, and stand apart where they are simultaneous.
        task = begin // a
        jobs[job, J_BRANCH] = (task << _TASK_BITS) + task
    elif which == E_TASK_BATCH:
        left = jobs[job, J_END] - jobs[job, J_CURSOR]
        jobs[job, J_ITEMS] = min(left, a)
        jobs[job, J_FLAG] = 1 if left > 0 else 0
    elif which == E_TASK_DELIVER:
        cached = deliver_seats(
            jobs, job, s.settings[SET_TIMELINE_CAP], s.seats, crowd, s.law, s.class_begins, s.runs,
            s.follower_offsets, s.followers,
        )  # fmt: skip
        x[X_EXPECTED] += cached
        x[X_UNCACHED] += jobs[job, J_ITEMS] - cached
        jobs[job, J_CURSOR] += jobs[job, J_ITEMS]
        if cached > 0:
            row = s.log[x[X_LOG]]
            x[X_LOG] += 1
            row[L_KIND] = LOG_DELIVERY
            row[L_LABEL] = 0
            row[L_TIME] = now
            row[L_VALUE] = now - jobs[job, J_STAMP]
            row[L_WEIGHT] = cached
            row[L_ORDINAL] = jobs[job, J_TARGET]
    elif which == E_PULLED_SHARD:
        shard = key_hash(KEY_HOT, user) % crowd[U_SHARDS]
        jobs[job, J_SHARD] = one_replica(crowd, shard, jobs[job, J_ENTITY])
