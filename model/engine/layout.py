"""The columns of the data plane's tables and the codes of its operations.

The data plane keeps its state in a few int64 tables; a row is a job, a station or a queue, and these constants name
the columns. Times are integer nanoseconds throughout.
"""

from __future__ import annotations

# Columns of `jobs`: one row per thread of control (a request, a branch of a scatter, a message, a background loop).
# A row is four cache lines; what every visit touches is in the first.
J_PC = 0  # next operation
J_ENTITY = 1  # who draws random numbers: request ordinal, or a background entity
J_ATTEMPT = 2  # distinguishes the visits of a loop, so that each draws anew
J_BRANCH = 3  # ordinal among the branches of a scatter
J_STATION = 4  # station being visited
J_READY = 5  # time at which the current visit began
J_USER = 6
J_ITEMS = 7
J_NEXT = 8  # linked list of the queue this job stands in; on a shared host, the left child in the heap of shares
J_LANE = 9  # which replica of a group serves the job: API process, worker, relay
J_SHARD = 10
J_SERVER = 11  # -1 the primary, else a standby
J_STALL = 12  # the host's accumulated stall when the current service began; on a shared host, how many began before
J_TARGET = 13
J_FLAG = 14
J_TRACED = 15  # 1 where the residence times of its steps are logged
J_PARENT = 16  # job that waits for this one, or -1
J_PENDING = 17  # branches still running
J_ENDPOINT = 18
J_ARRIVED = 19  # time of arrival
J_STAMP = 20  # a time carried along: the commit that caused this work
J_LSN = 21
J_SESSION = 22  # closed mode: session times requests of a session, plus which of them this is; else -1
J_OUTCOME = 23
J_CURSOR = 24
J_WROTE = 25  # when its row was written, before the flush
J_JOINED = 26  # when it came to the group commit that it waits for
J_FINISH = 27  # on a shared host: the share at which its service is done
J_RIGHT = 28  # the other child in the heap of shares
J_CHILD = 29  # the attempt that this job waits for
J_DEADLINE = 30  # when it stops waiting for it; 0 none
J_TRIES = 31  # attempts that have failed
JOB_COLUMNS = 32
J_END = J_WROTE  # of a fan-out task, which writes no row: where its part of the followers ends

# Columns of `stations`: three cache lines, the first for every visit.
S_KIND = 0
S_HOST = 1
S_BUSY = 2
S_SERVERS = 3
S_LENGTH = 4
S_HEAD = 5
S_SLOWDOWN_PPM = 6  # service times are multiplied by this over 1e6
S_BUSY_NS = 7  # service time begun so far
S_VISITS = 8
S_TAIL = 9
S_PAUSED = 10
S_STATE = 11
S_GATE = 12  # segments left in the current batch of an event loop
S_NEXT = 13  # linked list of the host's run queue
S_WAKE_NS = 14
S_POLL_NS = 15
S_WAKES = 16
S_TABLE = 17  # flush duration of a group commit
S_FLIGHT = 18  # head of the jobs that the current flush covers; S_GATE 1: its leader releases them, S_NEXT the leader
#                now (RUNNING), or the one who leads the next flush once it has had its turn (BLOCKED)
STATION_COLUMNS = 24

# Kinds of station.
K_FIFO = 0  # `servers` servers of its own, first come first served
K_LOOP = 1  # one process on a host: an event loop that serves what is ready in gated batches
K_MULTI = 2  # one process per visit on a host (PostgreSQL backends)
K_POOL = 3  # tokens: connections of a pool
K_BATCH = 4  # group commit: one flush serves all that waited for it

# States of a loop.
BLOCKED = 0
RUNNABLE = 1
RUNNING = 2
STOPPED = 3

# Columns of `hosts`.
H_HEAD = 0
H_TAIL = 1
H_FREE = 2  # cores without a task; on a shared host every task gets one at once
H_CORES = 3
H_STALL_NS = 4  # stalls so far
H_STALL_UNTIL = 5
H_STALL_COUNT = 6
H_SLOWDOWN_PPM = 7  # services on its cores, wake-ups included, are multiplied by this over 1e6
H_SHARED = 8  # 1: its cores are shared by all tasks alike (processor sharing)
H_ROOT = 9  # heap of the services under way by their J_FINISH
H_SHARING = 10  # how many they are
H_SERVED = 11  # what each task that was there all the time has been served, in 2^-SHARE_BITS ns
H_SINCE = 12  # the instant at which H_SERVED was right; in a stall its end
H_EVENT = 13  # the earliest instant for which an event looks after the next end of a service
HOST_COLUMNS = 14
SHARE_BITS = 16
ANY_CORES = 1 << 40
"""Free cores of a shared host."""

# Columns of `queues` (of messages).
Q_HEAD = 0
Q_TAIL = 1
Q_LENGTH = 2
Q_WAIT_HEAD = 3
Q_WAIT_TAIL = 4
Q_PUT = 5
Q_WATCH = 6  # return to the control plane when the length exceeds this; -1 off
QUEUE_COLUMNS = 7

# Columns of `messages`.
M_NEXT = 0
M_ENTITY = 1
M_USER = 2
M_TARGET = 3
M_STAMP = 4
MESSAGE_COLUMNS = 5

# Columns of `caches`: least recently used (or first in) goes first; what has expired is no longer found.
CA_FIRST = 0  # first of its rows in `slots`
CA_CAPACITY = 1
CA_BUCKETS = 2  # first of its rows in `buckets`
CA_MASK = 3  # number of buckets, a power of two, less one
CA_NEWEST = 4
CA_OLDEST = 5
CA_FREE = 6  # list of unused slots
CA_COUNT = 7
CA_TTL_NS = 8  # 0: for ever
CA_TOUCHED = 9  # 1 where a hit makes a key the newest again (LRU), 0 where it does not (FIFO)
CA_HITS = 10
CA_MISSES = 11
CA_EVICTED = 12
CA_EXPIRED = 13
CACHE_COLUMNS = 14

# Columns of `slots`.
V_KEY = 0
V_CHAIN = 1  # next slot of the same bucket; of an unused slot, the next unused one
V_NEWER = 2
V_OLDER = 3
V_EXPIRES_NS = 4
SLOT_COLUMNS = 5

# Columns of `limiters`: token buckets.
B_FIRST = 0  # first of its rows in `allowances`
B_KEYS = 1
B_PERIOD_NS = 2  # time in which a token comes
B_TOLERANCE_NS = 3  # (burst - 1) periods
B_REFUSED = 4
LIMITER_COLUMNS = 5

# Columns of `flights`: keys that somebody is fetching, and who waits for them.
F_COALESCER = 0
F_KEY = 1
F_CHAIN = 2
F_HEAD = 3
F_TAIL = 4
F_FLAG = 5  # what the one who fetched brings back
F_OUTCOME = 6
F_ITEMS = 7
FLIGHT_COLUMNS = 8
FLIGHT_BUCKETS = 1 << 12

# Columns of `log`, drained by Python: what happened, in order.
L_KIND = 0
L_LABEL = 1
L_TIME = 2
L_VALUE = 3
L_WEIGHT = 4
L_ORDINAL = 5
LOG_COLUMNS = 6
LOG_REQUEST = 0  # label endpoint, time arrival, value latency, weight outcome
LOG_DELIVERY = 1
LOG_OUTBOX = 2
LOG_REPLICA = 3  # label standby
LOG_STEP = 4  # label operation, time its beginning, value residence, weight branch

# Scalars.
X_NOW = 0
X_HEAP = 1
X_JOB_FREE = 2
X_JOB_COUNT = 3
X_MESSAGE_FREE = 4
X_MESSAGE_COUNT = 5
X_LOG = 6
X_ARRIVAL = 7  # next row of the arrival block
X_ARRIVALS = 8
X_IN_FLIGHT = 9
X_ARRIVED = 10
X_COMPLETED = 11
X_EVENTS = 12
X_COMMITTED = 13  # commits on the primary so far
X_HITS = 14
X_MISSES = 15
X_EXPECTED = 16  # deliveries to timelines that exist
X_TRIMMED = 17
X_PRIMARY_READS = 18
X_STANDBY_READS = 19
X_STALE_READS = 20
X_POSTS = 21
X_ENTITY = 22  # next background entity
X_BLOCK_DONE = 23  # no more arrival blocks will come
X_FAILED = 24
X_WATCHED = 25  # queue whose watch fired
X_MESSAGE_HIGH = 26
X_ORDINAL = 27  # ordinal of the first arrival of the block
X_FLIGHT_FREE = 28
X_FLIGHT_COUNT = 29
X_REJECTED = 30  # of the failed: turned away
X_STUCK = 31  # operation at which a path ran without taking time
X_SCHEDULED = 32  # events scheduled so far
X_DUE = 33  # followers of the pushed posts of a cluster
X_UNCACHED = 34  # of these, reached where the cache holds no timeline
SCALARS = 35

# Why the data plane returned.
R_UNTIL = 0
R_NEED_BLOCK = 1
R_GROW = 2
R_LOG = 3
R_WATCH = 4
R_ENDLESS = 5

# Operations: a row of `program` is (code, a, b, c, d).
OP_SERVE = 0  # a first station, b selector, c cost row
OP_DELAY = 1  # a table (or -1), b fixed ns, c 1 if the declared wait scales nothing
OP_ACQUIRE = 2  # a first pool, b selector; c one more than may wait (the flag: refused), or 0 for any number; d size
OP_RELEASE = 3  # a first pool, b selector, d size
OP_FLUSH = 4  # a group-commit station
OP_BRANCH = 5  # continue at a unless the flag is set
OP_JUMP = 6  # continue at a; b is 1 where a loop begins anew, and its visits draw anew
OP_SCATTER = 7  # a which spread, b program counter of the branches
OP_JOIN = 8
OP_SPAWN = 9  # a program counter, b how many, the ordinal becoming the server
OP_END = 10
OP_EXIT = 11
OP_PUT = 12  # a queue
OP_GET = 13  # a queue
OP_EFFECT = 14  # a effect, b, c, d its arguments
OP_UNTIL_STAMP = 15  # sleep until stamp + delay of standby `server`
OP_UNLOCK = 17  # a group-commit station: its leader releases those who waited for the same flush
OP_START = 16  # stands before every path; a is 1 where it is a request's arrival
OP_FAIL = 18  # a the outcome
OP_LOOKUP = 19  # a cache, b job column of the key; the flag: missing
OP_STORE = 20
OP_FORGET = 21
OP_ADMIT = 22  # a limiter, b job column of the key; the flag: refused
OP_SWITCH = 23  # a switch; the flag: it is on
OP_COALESCE = 24  # a coalescer, b job column of the key, c its OP_LAND; who comes first goes on, the others wait for it
OP_LAND = 25  # a coalescer, b job column of the key
OP_ATTEMPT = 26  # a program counter, b time limit in ns; the flag: it failed
OP_RETRY = 27  # a program counter of the next attempt, b how many, c wait in ns, doubled each time
OP_RETURN = 28  # an attempt ends
PROGRAM_COLUMNS = 5
MOST_OPERATIONS = 1 << 12
"""Rows of a program: as many as fit into the order of simultaneous events."""

# Selectors: which station of a group serves the job.
SEL_FIRST = 0
SEL_LANE = 1
SEL_SHARD = 2
SEL_SERVER = 3
SEL_LANE_SERVER = 4  # pools: one per API process and database server
SEL_KEY = 5  # hash of the user over the group's size (in d)

# Columns of `costs` (float64): one row per step.
C_BASE_NS = 0
C_ITEM_NS = 1
C_TABLE = 2
COST_COLUMNS = 3

TABLE_POINTS = 1025
"""Points of a quantile table; one more number, the mean of the exponential tail, follows them."""
TABLE_STRIDE = TABLE_POINTS + 1

# Settings.
SET_TIMEOUT_NS = 0  # the client gives up
SET_LANES = 1  # API processes
SET_SERVERS = 2  # database servers
SET_TIMELINE_CAP = 3
SET_PAGE = 4
SET_ROUTING = 5
SET_STANDBYS = 6
SET_HORIZON_NS = 7  # closed mode: no request is sent from here on; 0 for never
SET_TRACE_MASK = 8  # requests whose ordinal has none of these bits are traced; -1 none
SETTINGS = 9

# Outcomes of a request: positions in `model.runs.run.OUTCOMES`.
OUTCOME_OK = 0
OUTCOME_MISSING = 1
OUTCOME_TIMEOUT = 3
OUTCOME_REJECTED = 5

# Events that are no job's: code -1 - kind - EVENT_KINDS * row.
EVENT_STALL = 0  # of a host
EVENT_FLUSH = 1  # of a group commit
EVENT_SHARE = 2  # of a shared host: look for ended services
EVENT_LAND = 3  # of a flight: more of those who wait go on
EVENT_DEADLINE = 4  # of a job that waits for an attempt
EVENT_KINDS = 8
