"""The columns of the data plane's tables and the codes of its operations.

The data plane keeps its state in a few int64 tables; a row is a job, a station or a queue, and these constants name
the columns. Times are integer nanoseconds throughout.
"""

from __future__ import annotations

# Columns of `jobs`: one row per thread of control (a request, a branch of a scatter, a message, a background loop).
J_PC = 0  # next operation
J_ENTITY = 1  # who draws random numbers: request ordinal, or a background entity
J_ATTEMPT = 2  # distinguishes the visits of a loop, so that each draws anew
J_BRANCH = 3  # ordinal among the branches of a scatter
J_PARENT = 4  # job that waits for this one, or -1
J_PENDING = 5  # branches still running
J_NEXT = 6  # linked list of the queue this job stands in
J_STATION = 7  # station being visited
J_ENDPOINT = 8
J_USER = 9
J_TARGET = 10
J_LANE = 11  # which replica of a group serves the job: API process, worker, relay
J_SHARD = 12
J_SERVER = 13  # -1 the primary, else a standby
J_ITEMS = 14
J_FLAG = 15
J_ARRIVED = 16  # time of arrival
J_READY = 17  # time at which the current visit began
J_STAMP = 18  # a time carried along: the commit that caused this work
J_LSN = 19
J_CURSOR = 20
J_STALL = 21  # the host's accumulated stall when the current service began
J_OUTCOME = 22
J_SESSION = 23  # closed mode: session index, else -1
J_WROTE = 24  # when its row was written, before the flush
J_JOINED = 25  # when it came to the group commit that it waits for
JOB_COLUMNS = 26

# Columns of `stations`.
S_KIND = 0
S_HOST = 1
S_STATE = 2
S_HEAD = 3
S_TAIL = 4
S_LENGTH = 5
S_SERVERS = 6
S_BUSY = 7
S_GATE = 8  # segments left in the current batch of an event loop
S_NEXT = 9  # linked list of the host's run queue
S_WAKE_NS = 10
S_POLL_NS = 11
S_PAUSED = 12
S_BUSY_NS = 13  # service time begun so far
S_VISITS = 14
S_WAKES = 15
S_SLOWDOWN_PPM = 16  # service times are multiplied by this over 1e6
S_TABLE = 17  # flush duration of a group commit
S_FLIGHT = 18  # head of the jobs that the current flush covers; S_GATE 1: its leader releases them, S_NEXT the leader
#                now (RUNNING), or the one who leads the next flush once it has had its turn (BLOCKED)
STATION_COLUMNS = 19

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
H_FREE = 2
H_CORES = 3
H_STALL_NS = 4  # stalls so far
H_STALL_UNTIL = 5
H_STALL_COUNT = 6
H_SLOWDOWN_PPM = 7  # services on its cores, wake-ups included, are multiplied by this over 1e6
HOST_COLUMNS = 8

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
SCALARS = 28

# Why the data plane returned.
R_UNTIL = 0
R_NEED_BLOCK = 1
R_GROW = 2
R_LOG = 3
R_WATCH = 4

# Operations: a row of `program` is (code, a, b, c, d).
OP_SERVE = 0  # a first station, b selector, c cost row
OP_DELAY = 1  # a table (or -1), b fixed ns, c 1 if the declared wait scales nothing
OP_ACQUIRE = 2  # a first pool, b selector
OP_RELEASE = 3
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
PROGRAM_COLUMNS = 5

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
SETTINGS = 8
