"""What a path does to the platform's data besides taking time: look-ups, fills, routing, fan-out.

Each effect is one branch with up to three integer arguments from the program row. The decisions (which shard, which
server, pushed or pulled) are the functions of `model.policy`, the same that the real backend calls.
"""

from __future__ import annotations

from numba.extending import register_jitable

from model.engine.layout import (
    J_CURSOR, J_ENTITY, J_FLAG, J_ITEMS, J_LANE, J_LSN, J_OUTCOME, J_SERVER, J_SHARD, J_STAMP, J_TARGET,
    J_USER, LOG_DELIVERY, LOG_OUTBOX, LOG_REPLICA, L_KIND, L_LABEL, L_ORDINAL, L_TIME, L_VALUE, L_WEIGHT, M_NEXT,
    M_STAMP, Q_HEAD, Q_LENGTH, Q_PUT, Q_TAIL, SET_PAGE, SET_ROUTING, SET_STANDBYS, SET_TIMELINE_CAP, X_COMMITTED,
    X_EXPECTED, X_HITS, X_LOG, X_MISSES, X_POSTS, X_PRIMARY_READS, X_STALE_READS, X_STANDBY_READS,
)  # fmt: skip
from model.policy import routing, sharding
from model.rng.compiled import njit

# The shared functions stay plain Python for the backend; this only tells numba that it may compile them as they are.
for shared in (sharding.hash64, sharding.key_hash, sharding.shard_of, routing.choose_server):
    register_jitable(shared)
key_hash, shard_of, choose_server = sharding.key_hash, sharding.shard_of, routing.choose_server

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
E_WORKER_SERVER = 26  # standby that a worker reads from, round robin; the primary without standbys

SPREAD_PAGE = 0  # posts of the page over their shards
SPREAD_HOT = 1  # pulled followees over their shards
SPREAD_BATCH = 2  # followers of the current batch over their timelines' shards
SPREAD_MISSING = 3  # posts of the page without a cached hash

KEY_POST = sharding.KEY_POST


@njit
def post_shard(s, post):  # type: ignore[no-untyped-def]
    """Which Redis shard holds a post's hash."""
    return shard_of(key_hash(KEY_POST, post), s.ring_points, s.ring_owners)


@njit
def append_log(s, kind, label, time, value, weight, ordinal):  # type: ignore[no-untyped-def]
    row = s.x[X_LOG]
    s.x[X_LOG] += 1
    s.log[row, L_KIND] = kind
    s.log[row, L_LABEL] = label
    s.log[row, L_TIME] = time
    s.log[row, L_VALUE] = value
    s.log[row, L_WEIGHT] = weight
    s.log[row, L_ORDINAL] = ordinal


@njit
def choose_page(s, job):  # type: ignore[no-untyped-def]
    """Merge the timeline's newest entries with the hot posts of pulled followees, newest (highest id) first."""
    user = s.jobs[job, J_USER]
    page = s.settings[SET_PAGE]
    count = 0
    width = s.pages.shape[1]
    for k in range(min(width, s.timeline_length[user])):
        post = s.pages[user, (s.page_head[user] - 1 - k) % width]
        if post > 0:
            s.merge[count] = post
            count += 1
    for k in range(s.hot_offsets[user], s.hot_offsets[user + 1]):
        row = s.hot_row[s.hot_authors[k]]
        width = s.hot_pages.shape[1]
        for i in range(width):
            post = s.hot_pages[row, (s.hot_head[row] - 1 - i) % width]
            if post <= 0 or count >= s.merge.shape[0]:
                break
            s.merge[count] = post
            count += 1
    s.merge[:count].sort()
    taken = min(page, count)
    for k in range(taken):
        s.job_page[job, k] = s.merge[count - 1 - k]
    for k in range(taken, page):
        s.job_page[job, k] = 0
    return taken


@njit
def spread(s, job, which):  # type: ignore[no-untyped-def]
    """Fill `scratch[0]` with the number of items per shard of a scatter."""
    counts = s.scratch[0]
    counts[:] = 0
    if which == SPREAD_PAGE or which == SPREAD_MISSING:
        for k in range(s.settings[SET_PAGE]):
            post = s.job_page[job, k]
            if post > 0 and (which == SPREAD_PAGE or not s.post_cached[post]):
                counts[post_shard(s, post)] += 1
    elif which == SPREAD_HOT:
        user = s.jobs[job, J_USER]
        for k in range(s.hot_offsets[user], s.hot_offsets[user + 1]):
            counts[s.hot_shard[s.hot_authors[k]]] += 1
    else:
        author = s.jobs[job, J_USER]
        begin = s.follower_offsets[author] + s.jobs[job, J_CURSOR]
        for k in range(begin, begin + s.jobs[job, J_ITEMS]):
            counts[s.timeline_shard[s.followers[k]]] += 1


@njit
def deliver(s, job, now):  # type: ignore[no-untyped-def]
    """The current batch of followers has the post: an entry for each timeline that exists."""
    jobs = s.jobs
    author = jobs[job, J_USER]
    post = jobs[job, J_TARGET]
    begin = s.follower_offsets[author] + jobs[job, J_CURSOR]
    delivered = 0
    width = s.pages.shape[1]
    for k in range(begin, begin + jobs[job, J_ITEMS]):
        user = s.followers[k]
        if s.timeline_length[user] < s.settings[SET_TIMELINE_CAP]:
            s.timeline_length[user] += 1
        s.pages[user, s.page_head[user] % width] = post
        s.page_head[user] = (s.page_head[user] + 1) % width
        if s.timeline_exists[user]:
            delivered += 1
    jobs[job, J_CURSOR] += jobs[job, J_ITEMS]
    s.x[X_EXPECTED] += delivered
    if delivered > 0:
        append_log(s, LOG_DELIVERY, 0, now, now - jobs[job, J_STAMP], delivered, jobs[job, J_ENTITY])


@njit
def route(s, job, own_writes):  # type: ignore[no-untyped-def]
    """Choose the server of a read, and count what was chosen."""
    jobs = s.jobs
    lane = jobs[job, J_LANE]
    lsn = s.session_lsn[jobs[job, J_USER]] if own_writes != 0 else 0
    standbys = s.settings[SET_STANDBYS]
    server = choose_server(s.settings[SET_ROUTING], lsn, s.known[lane, :standbys], jobs[job, J_ENTITY])
    jobs[job, J_SERVER] = server
    if server < 0:
        s.x[X_PRIMARY_READS] += 1
    else:
        s.x[X_STANDBY_READS] += 1
        if s.replayed[server] < s.session_lsn[jobs[job, J_USER]]:
            s.x[X_STALE_READS] += 1


@njit
def take(s, job, queue, most):  # type: ignore[no-untyped-def]
    taken = min(s.queues[queue, Q_LENGTH], most)
    s.jobs[job, J_ITEMS] = taken
    s.jobs[job, J_FLAG] = 1 if taken > 0 else 0


@njit
def move(s, job, source, target, now):  # type: ignore[no-untyped-def]
    """Relink the messages a relay has published; the outbox delay of each is logged."""
    queues, messages = s.queues, s.messages
    for _ in range(s.jobs[job, J_ITEMS]):
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
        append_log(s, LOG_OUTBOX, 0, now, now - messages[message, M_STAMP], 1, 0)


@njit
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
        jobs[job, J_ITEMS] = choose_page(s, job)
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
        jobs[job, J_SHARD] = post_shard(s, target)
        jobs[job, J_FLAG] = 0 if s.post_cached[target] else 1
    elif which == E_POST_FILL:
        s.post_cached[target] = True
    elif which == E_POST_ABSENT:
        jobs[job, J_FLAG] = 0 if s.post_exists[target] else 1
        if not s.post_exists[target]:
            jobs[job, J_OUTCOME] = 1
    elif which == E_ROUTE:
        route(s, job, a)
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
        append_log(s, LOG_REPLICA, server, now, now - jobs[job, J_STAMP], 1, 0)
    elif which == E_LEARN:
        s.known[jobs[job, J_LANE], jobs[job, J_SERVER]] = s.replayed[jobs[job, J_SERVER]]
    elif which == E_TAKE:
        take(s, job, a, b)
    elif which == E_MOVE:
        move(s, job, a, b, now)
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
        deliver(s, job, now)
    elif which == E_HOT_SHARD:
        jobs[job, J_SHARD] = s.hot_shard[user]
    elif which == E_HOT_DELIVER:
        row = s.hot_row[user]
        width = s.hot_pages.shape[1]
        s.hot_pages[row, s.hot_head[row] % width] = target
        s.hot_head[row] = (s.hot_head[row] + 1) % width
    elif which == E_ITEMS:
        jobs[job, J_ITEMS] = a
    elif which == E_WORKER_SERVER:
        standbys = s.settings[SET_STANDBYS]
        jobs[job, J_SERVER] = jobs[job, J_ENTITY] % standbys if standbys > 0 else -1
