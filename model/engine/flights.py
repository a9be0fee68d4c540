"""Coalescing: while somebody fetches a key, whoever else wants it waits for the same answer (single flight)."""

from __future__ import annotations

import numpy as np

from model.engine.decisions import hash64
from model.engine.layout import (
    FLIGHT_BUCKETS, F_CHAIN, F_COALESCER, F_FLAG, F_HEAD, F_ITEMS, F_KEY, F_OUTCOME, F_TAIL, J_FLAG, J_ITEMS,
    J_NEXT, J_OUTCOME, X_FLIGHT_COUNT, X_FLIGHT_FREE,
)  # fmt: skip
from model.rng.compiled import subroutine

GONE = np.int64(-1)
_COALESCER_BITS = np.int64(56)


@subroutine
def _bucket(coalescer, key):  # type: ignore[no-untyped-def]
    return hash64(key ^ (coalescer << _COALESCER_BITS)) & (FLIGHT_BUCKETS - 1)


@subroutine
def join_flight(x, jobs, flights, flight_buckets, coalescer, key, job):  # type: ignore[no-untyped-def]
    """Wait for the flight of `key`, or open it: returns True for the one who fetches."""
    bucket = _bucket(coalescer, key)
    flight = flight_buckets[bucket]
    while flight >= 0 and (flights[flight, F_KEY] != key or flights[flight, F_COALESCER] != coalescer):
        flight = flights[flight, F_CHAIN]
    if flight >= 0:
        jobs[job, J_NEXT] = -1
        if flights[flight, F_TAIL] < 0:
            flights[flight, F_HEAD] = job
        else:
            jobs[flights[flight, F_TAIL], J_NEXT] = job
        flights[flight, F_TAIL] = job
        return False
    flight = x[X_FLIGHT_FREE]
    x[X_FLIGHT_FREE] = flights[flight, F_CHAIN]
    x[X_FLIGHT_COUNT] += 1
    flights[flight, F_COALESCER] = coalescer
    flights[flight, F_KEY] = key
    flights[flight, F_CHAIN] = flight_buckets[bucket]
    flights[flight, F_HEAD] = -1
    flights[flight, F_TAIL] = -1
    flight_buckets[bucket] = flight
    return True


@subroutine
def land(x, jobs, flights, flight_buckets, coalescer, key, job):  # type: ignore[no-untyped-def]
    """The one who fetched is back: the flight of `key` takes no more passengers. Returns its row, or -1 where nobody
    waits in it."""
    bucket = _bucket(coalescer, key)
    flight = flight_buckets[bucket]
    before = GONE
    while flights[flight, F_KEY] != key or flights[flight, F_COALESCER] != coalescer:
        before = flight
        flight = flights[flight, F_CHAIN]
    if before < 0:
        flight_buckets[bucket] = flights[flight, F_CHAIN]
    else:
        flights[before, F_CHAIN] = flights[flight, F_CHAIN]
    if flights[flight, F_HEAD] < 0:
        close_flight(x, flights, flight)
        return GONE
    flights[flight, F_FLAG] = jobs[job, J_FLAG]
    flights[flight, F_OUTCOME] = jobs[job, J_OUTCOME]
    flights[flight, F_ITEMS] = jobs[job, J_ITEMS]
    return flight


@subroutine
def leave_flight(x, jobs, flights, flight):  # type: ignore[no-untyped-def]
    """The first who waits in a landed flight, with what was brought; the row is free after the last."""
    job = flights[flight, F_HEAD]
    flights[flight, F_HEAD] = jobs[job, J_NEXT]
    jobs[job, J_FLAG] = flights[flight, F_FLAG]
    jobs[job, J_OUTCOME] = flights[flight, F_OUTCOME]
    jobs[job, J_ITEMS] = flights[flight, F_ITEMS]
    if flights[flight, F_HEAD] < 0:
        close_flight(x, flights, flight)
    return job


@subroutine
def close_flight(x, flights, flight):  # type: ignore[no-untyped-def]
    flights[flight, F_CHAIN] = x[X_FLIGHT_FREE]
    x[X_FLIGHT_FREE] = flight
    x[X_FLIGHT_COUNT] -= 1
