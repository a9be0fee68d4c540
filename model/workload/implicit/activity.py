"""Who posts and who reads in an implicit population, drawn by rejection: no weight of an account is stored.

The weights are those of `model.workload.activity`: posting as (followers + 1)^exponent, reading as (accounts
followed + 1)^0.5, each with a lognormal spread, and the two spreads correlated. An account's spread in posting is the
stratum that it has in its block of 256 consecutive ranks, its own spread in reading that in its block of 256 seats.
So a draw chooses a group of blocks in proportion to the highest weight in it, a stratum in proportion to its spread,
and takes the one account that has both, with the probability by which its weight falls short of what was assumed.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.rng.compiled import inlined, subroutine
from model.rng.philox import u01_pair
from model.spec.scenario import Workload
from model.workload.activity import POSTING_SIGMA, READING_EXPONENT, READING_SIGMA, SHARED_CORRELATION
from model.workload.implicit.columns import U_POSTING_KEY, U_READING_KEY, U_USERS
from model.workload.implicit.crowd import Crowd, counts_by_rank
from model.workload.implicit.followers import followers_of
from model.workload.implicit.permutation import STRATA, place_of, stratum_of, user_at

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BLOCK_RATIO = 1.1
_BLOCK_BITS = 8


class Activity(NamedTuple):
    """Tables for compiled draws; cumulative ones end with their sum."""

    posting_exponent: FloatArray
    """[1]"""
    author_sums: FloatArray
    """[groups] of blocks x the highest (followers + 1)^exponent of the group."""
    author_blocks: IntArray
    """[groups + 1] first block of each group."""
    author_highest: FloatArray
    """[groups]"""
    posting_sums: FloatArray
    """[STRATA] of the spreads in posting."""
    reader_sums: FloatArray
    """[classes] of blocks x (accounts followed + 1)^0.5."""
    reader_blocks: IntArray
    """[classes]"""
    reading_sums: FloatArray
    """[STRATA] of the readers' own spreads."""
    shared: FloatArray
    """[STRATA] what the spread in posting does to reading, at most 1."""


def spreads() -> FloatArray:
    """The standard normal quantile in the middle of each stratum, [STRATA]."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / STRATA) for i in range(STRATA)])


def followees_by_class(crowd: Crowd) -> FloatArray:
    """How many accounts one of each class follows on average, [classes]."""
    followees: FloatArray = crowd.ranks.accounts @ crowd.follow_shares()
    return followees


def reading_spread() -> FloatArray:
    """A reader's own part of the spread in reading, by stratum, [STRATA]."""
    own: FloatArray = np.exp(READING_SIGMA * np.sqrt(1 - SHARED_CORRELATION**2) * spreads())
    return own


def activity_of_crowd(crowd: Crowd, workload: Workload) -> Activity:
    """The tables of a crowd under a scenario's workload."""
    blocks = -(-crowd.users // STRATA)
    edges = [0]
    while edges[-1] < blocks:
        edges.append(min(max(edges[-1] + 1, int(edges[-1] * _BLOCK_RATIO)), blocks))
    groups = np.array(edges, np.int64)
    exponent = workload.activity_exponent
    highest = (counts_by_rank(groups[:-1] * STRATA, crowd.users, crowd.law) + 1.0) ** exponent
    reader_blocks = -(-crowd.class_sizes // STRATA)
    reading = (followees_by_class(crowd) + 1.0) ** READING_EXPONENT
    z = spreads()
    shared = np.exp(READING_SIGMA * SHARED_CORRELATION * (z - z.max()))
    return Activity(
        np.array([exponent]),
        np.cumsum(np.diff(groups) * highest),
        groups,
        highest,
        np.cumsum(np.exp(POSTING_SIGMA * z)),
        np.cumsum(reader_blocks * reading),
        reader_blocks,
        np.cumsum(reading_spread()),
        shared,
    )


@inlined
def pick(sums, u):  # type: ignore[no-untyped-def]
    """The index whose part of the last sum `u` in (0, 1) falls into, and how far into it, in [0, 1)."""
    x = u * sums[len(sums) - 1]
    low, high = 0, len(sums) - 1
    while low < high:
        middle = (low + high) >> 1
        if sums[middle] <= x:
            low = middle + 1
        else:
            high = middle
    before = sums[low - 1] if low > 0 else 0.0
    return low, min((x - before) / (sums[low] - before), 0.9999999999999999)


@subroutine
def draw_author(crowd, law, activity, key, entity):  # type: ignore[no-untyped-def]
    """An account in proportion to its posting rate."""
    attempt = np.int64(0)
    while True:
        u, v = u01_pair(key, entity, attempt)
        attempt += 1
        group, within = pick(activity.author_sums, u)
        begin = activity.author_blocks[group]
        block = begin + np.int64(within * (activity.author_blocks[group + 1] - begin))
        stratum, rest = pick(activity.posting_sums, v)
        user = (block << _BLOCK_BITS) + place_of(crowd[U_POSTING_KEY], block, stratum)
        if user >= crowd[U_USERS]:
            continue
        weight = (followers_of(crowd, law, user) + 1.0) ** activity.posting_exponent[0]
        if rest * activity.author_highest[group] < weight:
            return user


@subroutine
def draw_reader(crowd, class_begins, activity, key, entity):  # type: ignore[no-untyped-def]
    """An account in proportion to its reading rate."""
    attempt = np.int64(0)
    while True:
        u, v = u01_pair(key, entity, attempt)
        attempt += 1
        which, within = pick(activity.reader_sums, u)
        block = np.int64(within * activity.reader_blocks[which])
        stratum, rest = pick(activity.reading_sums, v)
        seat = class_begins[which] + (block << _BLOCK_BITS) + reading_place(crowd, which, block, stratum)
        if seat >= class_begins[which + 1]:
            continue
        user = user_at(crowd, seat)
        if rest < activity.shared[stratum_of(crowd[U_POSTING_KEY], user >> _BLOCK_BITS, user & 255)]:
            return user


@inlined
def reading_place(crowd, which, block, stratum):  # type: ignore[no-untyped-def]
    """Which of the 256 seats of a class's block has this stratum."""
    return place_of(crowd[U_READING_KEY], (np.int64(which) << 40) + block, stratum)


@inlined
def reading_stratum(crowd, which, after):  # type: ignore[no-untyped-def]
    """The stratum of the seat that stands `after` the first of its class."""
    return stratum_of(crowd[U_READING_KEY], (np.int64(which) << 40) + (after >> _BLOCK_BITS), after & 255)
