"""The Schedule of an implicit population: the same requests as `model.workload.schedule` would draw, in compiled code.

Every request is a function of seed and ordinal (Philox, keyed by purpose); nothing is kept from one block to the next
but two numbers, so that memory does not grow with the duration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from model.rng.compiled import njit
from model.rng.philox import purpose_key, u01
from model.spec import Endpoint, Scenario
from model.workload.arrivals import arrival_times_ns, blocks_of, check_rate
from model.workload.implicit.activity import activity_of_crowd, draw_author, draw_reader, pick
from model.workload.implicit.crowd import Crowd
from model.workload.schedule import Block

_CREATE_POST = Endpoint.CREATE_POST.code
_MIX, _USERS, _AUTHORS = 0, 1, 2


class ImplicitSchedule:
    """Open-loop requests of a crowd, generated lazily in blocks of one second.

    A home timeline's user is drawn by its reading rate, a post's author by its posting rate. Created posts have the
    ids after those of the seeded ones, in order. Raises InputError for a rate of which one block would not fit in
    memory.
    """

    def __init__(self, scenario: Scenario, crowd: Crowd) -> None:
        check_rate(scenario.workload)
        self.scenario = scenario
        self.crowd = crowd
        self.seeded_posts = round(scenario.population.posts_per_user * crowd.users)
        self._activity = activity_of_crowd(crowd, scenario.workload)
        self._digest = ""

    def blocks(self) -> Iterator[Block]:
        """The requests from the start, block by block; seconds without an arrival are left out."""
        scenario, crowd = self.scenario, self.crowd
        mix = np.cumsum(scenario.workload.mix.shares)
        purposes = ("schedule.mix", "schedule.users", "schedule.authors")
        keys = np.array([purpose_key(scenario.seed, purpose) for purpose in purposes], np.int64)
        state = hashlib.sha256()
        ordinal, post = 0, self.seeded_posts + 1
        for number in range(blocks_of(scenario.duration_s)):
            time_ns = arrival_times_ns(scenario.workload, scenario.seed, number, scenario.duration_s)
            if (n := len(time_ns)) == 0:
                continue
            block = Block(ordinal, time_ns, np.empty(n, np.uint8), np.empty(n, np.int32), np.empty(n, np.int64))
            post = _draw(
                crowd.crowd, crowd.law, crowd.class_begins, self._activity, mix, keys, ordinal, post,
                block.endpoint, block.user, block.target,
            )  # fmt: skip
            ordinal += n
            for array in (block.time_ns, block.endpoint, block.user, block.target):
                state.update(array.data)
            yield block
        self._digest = state.hexdigest()[:16]

    @property
    def digest(self) -> str:
        """A hash of all requests; known once `blocks` has been read to its end, else computed by doing so."""
        if not self._digest:
            for _ in self.blocks():
                pass
        return self._digest


@njit
def _draw(crowd, law, class_begins, activity, mix, keys, ordinal, post, endpoint, user, target):  # type: ignore[no-untyped-def]
    """Fill one block; returns the id of the next post."""
    for i in range(len(endpoint)):
        entity = np.int64(ordinal + i)
        code, _ = pick(mix, u01(keys[_MIX], entity, 0, 0))
        endpoint[i] = code
        if code == _CREATE_POST:
            user[i] = draw_author(crowd, law, activity, keys[_AUTHORS], entity)
            target[i] = post
            post += 1
        else:
            who = draw_reader(crowd, class_begins, activity, keys[_USERS], entity)
            user[i] = who
            target[i] = who
    return post
