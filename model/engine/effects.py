"""What a path does to the platform's data besides taking time: look-ups, fills, routing, fan-out.

Each effect is one branch with up to three integer arguments from the program row. The decisions (which shard, which
server, pushed or pulled) are the functions of `model.policy`, the same that the real backend calls.
"""

from __future__ import annotations

import numpy as np

from model.engine import layout as c
from model.engine.crowd import E_SEAT, SPREAD_SEATS, crowd_effect, spread_seats
from model.engine.decisions import choose_server, key_hash, shard_of
from model.engine.events import ONE, ZERO
from model.engine.layout import (
    J_CURSOR, J_ENTITY, J_FLAG, J_ITEMS, J_LANE, J_LSN, J_OUTCOME, J_SERVER, J_SHARD, J_STAMP, J_TARGET,
    J_USER, J_WROTE, L_KIND, L_LABEL, L_ORDINAL, L_TIME, L_VALUE, L_WEIGHT, M_NEXT,
    M_STAMP, Q_HEAD, Q_LENGTH, Q_PUT, Q_TAIL, SET_PAGE, SET_ROUTING, SET_STANDBYS, SET_TIMELINE_CAP, X_COMMITTED,
    X_EXPECTED, X_HITS, X_LOG, X_MISSES, X_POSTS, X_PRIMARY_READS, X_STALE_READS, X_STANDBY_READS,
)  # fmt: skip
from model.policy import sharding
from model.rng.compiled import inlined, subroutine

# Effects.
E_TIMELINE_LOOKUP = 0  # flag: the user's timeline is missing; items: entries read; shard of the timeline
E_TIMELINE_FILL = 1
E_REBUILD_SIZE = 2  # items: entries a rebuild finds
E_HAS_HOT = 3  # flag: the user follows pulled authors
E_PAGE = 4  # choose the posts of the page; items: how many
E_PAGE_MISSING = 5  # flag and items: posts of the page without a cached hash
E_PAGE_FILL = 6
E_PAGE_ITEMS = 7
E_POST_LOOKUP = 8  # flag: the target's hash is not cached; shard of the post
E_POST_FILL = 9
E_POST_ABSENT = 10  # flag: the target does not exist (then the outcome is "missing")
E_ROUTE = 11  # server for a read by this user (a: 1 if it must see the user's own writes)
E_PRIMARY = 12
E_COMMIT = 13  # a commit on the primary: its number and time
E_POST_CREATED = 14
E_REPLAYED = 15  # standby `server` has replayed the job's commit
E_LEARN = 16  # this API process learns how far standby `server` is
E_TAKE = 17  # items: messages the relay takes from queue a, at most b; flag: any
E_MOVE = 18  # move the taken messages from queue a to queue b
E_FULL = 19  # flag: a full batch (a) was taken
E_FOLLOWERS = 20  # items: followers of the message's author; flag: the author is pushed
E_NEXT_BATCH = 21  # flag: followers are left; items: the size of the next batch (at most a)
E_DELIVER = 22  # the batch has been pushed
E_HOT_DELIVER = 23  # the pulled author's post is in the hot store; shard set by E_HOT_SHARD
E_HOT_SHARD = 24
E_ITEMS = 25  # items: a
E_WROTE = 27  # a row is written now
E_SINCE_WROTE = 28  # the stamp becomes the time at which the row was written
E_WORKER_SERVER = 26  # standby that a worker reads from, round robin; the primary without standbys

SPREAD_PAGE = 0  # posts of the page over their shards
SPREAD_HOT = 1  # pulled followees over their shards
SPREAD_BATCH = 2  # followers of the current batch over their timelines' shards
SPREAD_MISSING = 3  # posts of the page without a cached hash
SPREAD_EACH = 4  # one item on each shard

KEY_POST = sharding.KEY_POST
LOG_DELIVERY, LOG_OUTBOX, LOG_REPLICA = np.int64(c.LOG_DELIVERY), np.int64(c.LOG_OUTBOX), np.int64(c.LOG_REPLICA)


# Helpers take only the tables they touch: every table that crosses a call costs the compiler half a dozen arguments.


@subroutine
def post_shard(ring_points, ring_owners, post):  # type: ignore[no-untyped-def]
    """Which Redis shard holds a post's hash."""
    return shard_of(key_hash(KEY_POST, int(post)), ring_points, ring_owners)


@subroutine
def append_log(x, log, kind, label, time, value, weight):  # type: ignore[no-untyped-def]
    """A row that no request answers for."""
    row = log[x[X_LOG]]
    x[X_LOG] += 1
    row[L_KIND] = kind
    row[L_LABEL] = label
    row[L_TIME] = time
    row[L_VALUE] = value
    row[L_WEIGHT] = weight
    row[L_ORDINAL] = 0


@subroutine
def keep_newest(row, count, post):  # type: ignore[no-untyped-def]
    """Insert `post` among the first `count` of `row`, highest first; a full row loses its lowest. Returns the count."""
    if count == len(row):
        if post <= row[count - 1]:
            return count
        count -= 1
    i = count
    while i > 0 and row[i - 1] < post:
        row[i] = row[i - 1]
        i -= 1
    row[i] = post
    return count + 1


@subroutine
def choose_page(row, user, pages, page_head, length, hot_offsets, hot_authors, hot_row, hot_pages, hot_head):  # type: ignore[no-untyped-def]
    """Merge the timeline's newest entries with the hot posts of pulled followees into `row`, newest (highest id) first;
    the rest is 0. Returns the number of posts."""
    count = 0
    width = pages.shape[1]
    for k in range(min(width, length)):
        post = pages[user, (page_head[user] - 1 - k) % width]
        if post > 0:
            count = keep_newest(row, count, post)
    width = hot_pages.shape[1]
    for k in range(hot_offsets[user], hot_offsets[user + 1]):
        author = hot_row[hot_authors[k]]
        for i in range(width):
            post = hot_pages[author, (hot_head[author] - 1 - i) % width]
            if post <= 0:
                break
            count = keep_newest(row, count, post)
    row[count:] = 0
    return count


@inlined
def spread(s, job, which):  # type: ignore[no-untyped-def]
    """Fill `scratch` with the number of items per shard of a scatter."""
    counts = s.scratch
    counts[:] = 1 if which == SPREAD_EACH else 0
    if which == SPREAD_PAGE or which == SPREAD_MISSING:
        for k in range(s.settings[SET_PAGE]):
            post = s.job_page[job, k]
            if post > 0 and (which == SPREAD_PAGE or not s.post_cached[post]):
                counts[post_shard(s.ring_points, s.ring_owners, post)] += 1
    elif which == SPREAD_HOT:
        user = s.jobs[job, J_USER]
        for k in range(s.hot_offsets[user], s.hot_offsets[user + 1]):
            counts[s.hot_shard[s.hot_authors[k]]] += 1
    elif which == SPREAD_SEATS:
        spread_seats(
            s.jobs, job, counts, s.crowd, s.law, s.class_begins, s.runs, s.follower_offsets, s.followers,
        )  # fmt: skip
    elif which == SPREAD_BATCH:
        author = s.jobs[job, J_USER]
        begin = s.follower_offsets[author] + s.jobs[job, J_CURSOR]
        for k in range(begin, begin + s.jobs[job, J_ITEMS]):
            counts[s.timeline_shard[s.followers[k]]] += 1


@subroutine
def deliver(jobs, job, settings, follower_offsets, followers, timeline_exists, timeline_length, pages, page_head):  # type: ignore[no-untyped-def]
    """The current batch of followers has the post; returns how many of their timelines exist."""
    post = jobs[job, J_TARGET]
    begin = follower_offsets[jobs[job, J_USER]] + jobs[job, J_CURSOR]
    delivered = 0
    width = pages.shape[1]
    for k in range(begin, begin + jobs[job, J_ITEMS]):
        user = followers[k]
        if timeline_length[user] < settings[SET_TIMELINE_CAP]:
            timeline_length[user] += 1
        pages[user, page_head[user] % width] = post
        page_head[user] = (page_head[user] + 1) % width
        if timeline_exists[user]:
            delivered += 1
    jobs[job, J_CURSOR] += jobs[job, J_ITEMS]
    return delivered


@subroutine
def route(x, jobs, job, settings, known, replayed, session_lsn, own_writes):  # type: ignore[no-untyped-def]
    """Choose the server of a read, and count what was chosen."""
    written = session_lsn[jobs[job, J_USER]]
    standbys = settings[SET_STANDBYS]
    seen = known[jobs[job, J_LANE], :standbys]
    server = choose_server(settings[SET_ROUTING], written if own_writes != 0 else 0, seen, jobs[job, J_ENTITY])
    jobs[job, J_SERVER] = server
    if server < 0:
        x[X_PRIMARY_READS] += 1
    else:
        x[X_STANDBY_READS] += 1
        if replayed[server] < written:
            x[X_STALE_READS] += 1


@subroutine
def move(x, queues, messages, log, source, target, count, now):  # type: ignore[no-untyped-def]
    """Relink `count` messages that a relay has published; the outbox delay of each is logged."""
    for _ in range(count):
        message = queues[source, Q_HEAD]
        queues[source, Q_HEAD] = messages[message, M_NEXT]
        if messages[message, M_NEXT] < 0:
            queues[source, Q_TAIL] = -1
        queues[source, Q_LENGTH] -= 1
        messages[message, M_NEXT] = -1
        if queues[target, Q_TAIL] < 0:
            queues[target, Q_HEAD] = message
        else:
            messages[queues[target, Q_TAIL], M_NEXT] = message
        queues[target, Q_TAIL] = message
        queues[target, Q_LENGTH] += 1
        queues[target, Q_PUT] += 1
        append_log(x, log, LOG_OUTBOX, ZERO, now, now - messages[message, M_STAMP], ONE)


@inlined
def effect(s, job, which, a, b, _, now):  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0915
    """Apply effect `which` of `job` at `now` (ns)."""
    jobs = s.jobs
    user = jobs[job, J_USER]
    target = jobs[job, J_TARGET]
    if which == E_TIMELINE_LOOKUP:
        jobs[job, J_SHARD] = s.timeline_shard[user]
        if s.timeline_exists[user]:
            s.x[X_HITS] += 1
            jobs[job, J_FLAG] = 0
            jobs[job, J_ITEMS] = min(s.settings[SET_PAGE], s.timeline_length[user])
        else:
            s.x[X_MISSES] += 1
            jobs[job, J_FLAG] = 1
            jobs[job, J_ITEMS] = 0
    elif which == E_TIMELINE_FILL:
        s.timeline_exists[user] = True
    elif which == E_REBUILD_SIZE:
        jobs[job, J_ITEMS] = s.timeline_length[user]
    elif which == E_HAS_HOT:
        jobs[job, J_FLAG] = 1 if s.hot_offsets[user + 1] > s.hot_offsets[user] else 0
    elif which == E_PAGE:
        jobs[job, J_ITEMS] = choose_page(
            s.job_page[job], user, s.pages, s.page_head, s.timeline_length[user], s.hot_offsets, s.hot_authors,
            s.hot_row, s.hot_pages, s.hot_head,
        )  # fmt: skip
    elif which == E_PAGE_MISSING or which == E_PAGE_ITEMS or which == E_PAGE_FILL:
        items = 0
        for k in range(s.settings[SET_PAGE]):
            post = s.job_page[job, k]
            if post > 0:
                if which == E_PAGE_FILL:
                    s.post_cached[post] = True
                if which == E_PAGE_ITEMS or not s.post_cached[post]:
                    items += 1
        jobs[job, J_ITEMS] = items
        jobs[job, J_FLAG] = 1 if items > 0 else 0
    elif which == E_POST_LOOKUP:
        jobs[job, J_SHARD] = post_shard(s.ring_points, s.ring_owners, target)
        jobs[job, J_FLAG] = 0 if s.post_cached[target] else 1
    elif which == E_POST_FILL:
        s.post_cached[target] = True
    elif which == E_POST_ABSENT:
        jobs[job, J_FLAG] = 0 if s.post_exists[target] else 1
        if not s.post_exists[target]:
            jobs[job, J_OUTCOME] = 1
    elif which == E_ROUTE:
        route(s.x, jobs, job, s.settings, s.known, s.replayed, s.session_lsn, a)
    elif which == E_PRIMARY:
        jobs[job, J_SERVER] = -1
    elif which == E_COMMIT:
        s.x[X_COMMITTED] += 1
        jobs[job, J_LSN] = s.x[X_COMMITTED]
        jobs[job, J_STAMP] = now
    elif which == E_POST_CREATED:
        s.post_exists[target] = True
        s.x[X_POSTS] += 1
    elif which == E_REPLAYED:
        server = jobs[job, J_SERVER]
        s.replayed[server] = max(s.replayed[server], jobs[job, J_LSN])
        append_log(s.x, s.log, LOG_REPLICA, server, now, now - jobs[job, J_STAMP], ONE)
    elif which == E_LEARN:
        s.known[jobs[job, J_LANE], jobs[job, J_SERVER]] = s.replayed[jobs[job, J_SERVER]]
    elif which == E_TAKE:
        taken = min(s.queues[a, Q_LENGTH], b)
        jobs[job, J_ITEMS] = taken
        jobs[job, J_FLAG] = 1 if taken > 0 else 0
    elif which == E_MOVE:
        move(s.x, s.queues, s.messages, s.log, a, b, jobs[job, J_ITEMS], now)
    elif which == E_FULL:
        jobs[job, J_FLAG] = 1 if jobs[job, J_ITEMS] >= a else 0
    elif which == E_FOLLOWERS:
        jobs[job, J_FLAG] = 0 if s.pulled[user] else 1
        jobs[job, J_ITEMS] = 0 if s.pulled[user] else s.follower_offsets[user + 1] - s.follower_offsets[user]
    elif which == E_NEXT_BATCH:
        left = s.follower_offsets[user + 1] - s.follower_offsets[user] - jobs[job, J_CURSOR]
        jobs[job, J_ITEMS] = min(left, a)
        jobs[job, J_FLAG] = 1 if left > 0 else 0
    elif which == E_DELIVER:
        delivered = deliver(
            jobs, job, s.settings, s.follower_offsets, s.followers, s.timeline_exists, s.timeline_length, s.pages,
            s.page_head,
        )  # fmt: skip
        s.x[X_EXPECTED] += delivered
        if delivered > 0:
            append_log(s.x, s.log, LOG_DELIVERY, ZERO, now, now - jobs[job, J_STAMP], delivered)
    elif which == E_HOT_SHARD:
        jobs[job, J_SHARD] = s.hot_shard[user]
    elif which == E_HOT_DELIVER:
        row = s.hot_row[user]
        width = s.hot_pages.shape[1]
        s.hot_pages[row, s.hot_head[row] % width] = target
        s.hot_head[row] = (s.hot_head[row] + 1) % width
    elif which == E_ITEMS:
        jobs[job, J_ITEMS] = a
    elif which == E_WROTE:
        jobs[job, J_WROTE] = now
    elif which == E_SINCE_WROTE:
        jobs[job, J_STAMP] = jobs[job, J_WROTE]
    elif which >= E_SEAT:
        crowd_effect(s, job, which, a, now)
    elif which == E_WORKER_SERVER:
        standbys = s.settings[SET_STANDBYS]
        jobs[job, J_SERVER] = jobs[job, J_ENTITY] % standbys if standbys > 0 else -1
