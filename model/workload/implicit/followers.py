"""Who follows whom, computed: an author's followers are one run of seats in each class of readers.

Accounts are numbered by rank: account 0 is the most followed. A keyed permutation gives each its seat, and the seats
are divided into classes by how readily their accounts follow others. An author's followers in a class are
consecutive seats from a keyed beginning on, round the end to the class's first. So a push walks along seats, and
whether a user follows an author is one comparison.

How many of an author's followers are in which class follows from the explicit graph's sampling without replacement:
an account with readiness w follows an author with f followers with probability 1 - exp(-t w), where t makes the
expected number f (Efraimidis and Spirakis, 2006). Parts are rounded so that their sum is f exactly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.rng.compiled import inlined, njit, subroutine
from model.workload.implicit.columns import (
    U_CLASSES,
    U_FOLLOWERS_KEY,
    U_PULLED,
    U_USERS,
    W_BEYOND,
    W_CLASS,
    W_MOST,
    W_READIEST,
    W_READINESS,
    W_SCALE,
    W_SLOPE,
)  # fmt: skip
from model.workload.implicit.hashing import hash64
from model.workload.implicit.permutation import seat_of

_RARE = 0.01
"""Where no account follows an author with a higher probability, the exponential is taken for a line."""
_ROUNDS = 60
_CLASS_BITS = 8
_BEGIN = 0  # columns of a run of seats: its first, counted within the class, and its length
_LENGTH = 1


@inlined
def followers_of(crowd, law, user):  # type: ignore[no-untyped-def]
    """How many followers the account of this rank has: the quantile of its rank in a shifted power law."""
    if user == 0:
        return np.int64(law[W_MOST])
    above = (user - 0.5) / (crowd[U_USERS] - 1)  # share of the others that has more
    survival = above + law[W_BEYOND] * (1.0 - above)
    count = law[W_SCALE] * (survival ** law[W_SLOPE] - 1.0)
    return np.int64(min(count, law[W_MOST]) + 0.5)


@inlined
def class_of(crowd, class_begins, seat):  # type: ignore[no-untyped-def]
    """The class to which a seat belongs."""
    which = np.int64(0)
    while which + 1 < crowd[U_CLASSES] and seat >= class_begins[which + 1]:
        which += 1
    return which


@subroutine
def runs_of(crowd, law, class_begins, author, count, runs):  # type: ignore[no-untyped-def]
    """Fill `runs` int64 [classes, 2] with the seats of the author's `count` followers: per class the first one,
    counted within the class, and how many. The author is not among them."""
    classes = crowd[U_CLASSES]
    own_seat = seat_of(crowd, author)
    own_class = class_of(crowd, class_begins, own_seat)
    pressure = _pressure(crowd, law, class_begins, own_class, count)
    key = hash64(author + crowd[U_FOLLOWERS_KEY])
    # A number that is the same for all classes rounds their sum up or down without bias.
    shift = 0.001 + 0.998 * ((key & 0xFFFFF) / 1048576.0)
    expected = 0.0
    placed = np.int64(0)
    for which in range(classes):
        size = class_begins[which + 1] - class_begins[which]
        others = size - 1 if which == own_class else size
        expected += others * _share(law[W_CLASS + which], pressure, law[W_READIEST])
        until = min(np.int64(expected + shift), count)
        if which == classes - 1:
            until = count
        length = min(until - placed, others)
        placed += length
        h = hash64((key >> _CLASS_BITS) + (np.int64(which) << 55))
        if which == own_class:
            runs[which, _BEGIN] = (own_seat - class_begins[which] + 1 + h % (size - length)) % size
        else:
            runs[which, _BEGIN] = h % size
        runs[which, _LENGTH] = length


@inlined
def _share(readiness, pressure, readiest):  # type: ignore[no-untyped-def]
    """The probability with which an account of this readiness follows the author."""
    if pressure * readiest < _RARE:
        return pressure * readiness
    return -math.expm1(-pressure * readiness)


@inlined
def _pressure(crowd, law, class_begins, own_class, count):  # type: ignore[no-untyped-def]
    """The t at which `count` followers are expected, by Newton's method from below, where it only rises."""
    total = law[W_READINESS] - law[W_CLASS + own_class]
    pressure = count / total
    if pressure * law[W_READIEST] < _RARE:
        return pressure
    for _ in range(_ROUNDS):
        missing = np.float64(count)
        slope = 0.0
        for which in range(crowd[U_CLASSES]):
            size = class_begins[which + 1] - class_begins[which] - (1 if which == own_class else 0)
            beyond = math.exp(-pressure * law[W_CLASS + which])
            missing -= size * (1.0 - beyond)
            slope += size * law[W_CLASS + which] * beyond
        pressure += missing / slope
        if missing < 1e-9 * count:
            break
    return pressure


@inlined
def follows(crowd, class_begins, seat, runs):  # type: ignore[no-untyped-def]
    """Whether the account at `seat` is in an author's `runs`."""
    which = class_of(crowd, class_begins, seat)
    size = class_begins[which + 1] - class_begins[which]
    after = seat - class_begins[which] - runs[which, _BEGIN]
    if after < 0:
        after += size
    return after < runs[which, _LENGTH]


def pulled_runs(
    crowd: NDArray[np.int64], law: NDArray[np.float64], class_begins: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The runs of every pulled author, int64 [pulled, classes, 2]."""
    runs = np.zeros((max(int(crowd[U_PULLED]), 1), len(class_begins) - 1, 2), np.int64)
    _fill_runs(crowd, law, class_begins, int(crowd[U_PULLED]), runs)
    return runs


@njit
def _fill_runs(crowd, law, class_begins, authors, runs):  # type: ignore[no-untyped-def]
    """Those of the first `authors` accounts."""
    for author in range(authors):
        runs_of(crowd, law, class_begins, author, followers_of(crowd, law, author), runs[author])
