"""The tables of a data plane: allocated once, grown by doubling, handed to the kernel as one tuple."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.engine import layout as c

IntArray = npt.NDArray[np.int64]


class State(NamedTuple):
    """Everything the kernel reads and writes; shapes in brackets."""

    x: IntArray  # [SCALARS]
    heap: IntArray  # [capacity, 3]
    jobs: IntArray  # [capacity, JOB_COLUMNS]
    stations: IntArray  # [stations, STATION_COLUMNS]
    hosts: IntArray  # [hosts, HOST_COLUMNS]
    queues: IntArray  # [queues, QUEUE_COLUMNS]
    messages: IntArray  # [capacity, MESSAGE_COLUMNS]
    log: IntArray  # [capacity, LOG_COLUMNS]
    program: IntArray  # [operations, PROGRAM_COLUMNS]
    entry: IntArray  # [endpoints] first operation of each
    costs: npt.NDArray[np.float64]  # [cost rows, COST_COLUMNS]
    tables: npt.NDArray[np.float64]  # [tables, TABLE_STRIDE]
    keys: IntArray  # [cost rows + tables + 2] random-number keys: by cost row, by table, stalls, stall gaps
    visits: IntArray  # [cost rows, 3] visits, items, residence
    caches: IntArray  # [caches, CACHE_COLUMNS]
    slots: IntArray  # [entries of all caches, SLOT_COLUMNS]
    buckets: IntArray  # [hash buckets of all caches]
    limiters: IntArray  # [limiters, LIMITER_COLUMNS]
    allowances: IntArray  # [keys of all limiters] when each token bucket is full again, ns
    flights: IntArray  # [capacity, FLIGHT_COLUMNS]
    flight_buckets: IntArray  # [FLIGHT_BUCKETS]
    switches: IntArray  # [switches] 0 or 1
    todo: IntArray  # [2 * jobs + MARGIN] jobs to go on with at this instant
    arrivals: IntArray  # [4, n] time, endpoint, user, target
    sessions: IntArray  # [4, sessions, requests] endpoint, user, target, think time
    stalls: npt.NDArray[np.float64]  # [2] rate per ns, table row
    # Data structures that the platform's effects use.
    follower_offsets: IntArray
    followers: npt.NDArray[np.int32]
    hot_offsets: IntArray  # pulled accounts that each user follows
    hot_authors: npt.NDArray[np.int32]
    pulled: npt.NDArray[np.bool_]  # [users]
    timeline_exists: npt.NDArray[np.bool_]  # [users]
    timeline_length: npt.NDArray[np.int32]  # [users] entries a rebuild would give
    timeline_shard: npt.NDArray[np.uint8]  # [users]
    hot_shard: npt.NDArray[np.uint8]  # [users]
    pages: IntArray  # [users, page] newest posts, a ring
    page_head: npt.NDArray[np.int32]  # [users]
    hot_row: npt.NDArray[np.int32]  # [users] row of a pulled author, -1 otherwise
    hot_pages: IntArray  # [pulled, page]
    hot_head: npt.NDArray[np.int32]
    post_cached: npt.NDArray[np.bool_]  # [posts + 1]
    post_exists: npt.NDArray[np.bool_]  # [posts + 1]
    job_page: IntArray  # [jobs, page] posts a home read will fetch
    scratch: IntArray  # [shards] items of a scatter
    session_lsn: IntArray  # [users] commit a user must see
    replayed: IntArray  # [max(standbys, 1)] last commit replayed
    known: IntArray  # [lanes, max(standbys, 1)] as each API process knows it
    replay_delay: IntArray  # [max(standbys, 1)] injected, ns
    ring_points: IntArray
    ring_owners: npt.NDArray[np.int32]
    settings: IntArray  # [SETTINGS]
    # A population too large for the above, see `model.workload.implicit`.
    seats: npt.NDArray[np.uint16]  # [users] timelines
    crowd: IntArray  # [CROWD_COLUMNS]
    law: npt.NDArray[np.float64]  # [W_CLASS + classes]
    class_begins: IntArray  # [classes + 1]
    runs: IntArray  # [classes, 2] scratch: an author's followers
    pulled_runs: IntArray  # [pulled, classes, 2]


def grown(table: Any, rows: int, fill: int = 0) -> Any:
    """A copy of `table` with `rows` rows; new ones hold `fill`."""
    bigger = np.full((rows, *table.shape[1:]), fill, dtype=table.dtype)
    bigger[: len(table)] = table
    return bigger


def empty_jobs(capacity: int) -> IntArray:
    return np.zeros((capacity, c.JOB_COLUMNS), dtype=np.int64)
