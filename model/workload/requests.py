"""From uniform numbers to requests: endpoint, user and target, the same way in open and closed mode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.rng import generator
from model.spec import Endpoint, Scenario
from model.spec.scenario import Mix
from model.spec.seed_tables import SeedTables
from model.workload.activity import Weighted
from model.workload.graph import FollowerGraph

_AUTHORS_PER_CHUNK = 4_096


def pick_endpoints(mix: Mix, u: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The endpoint's code for each uniform number in [0, 1)."""
    shares = np.array(mix.shares)
    # Rounding must not let a share of zero be drawn: past the last positive share there is nothing.
    last = int(np.flatnonzero(shares)[-1])
    codes = np.searchsorted(np.cumsum(shares / shares.sum()), u, side="right")
    return np.minimum(codes, last).astype(np.uint8)


def is_post_request(endpoint: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each request asks for one post: reading it or reacting to it."""
    return np.isin(endpoint, (Endpoint.REACT.code, Endpoint.READ_POST.code))


def hot_post(graph: FollowerGraph, seeds: SeedTables) -> int:
    """The post that ``workload.hot_post_share`` speaks of: the newest seeded post of the most followed account that
    has one; 1 where nothing is seeded."""
    if seeds.posts == 0:
        return 1
    counts = graph.follower_counts[seeds.post_authors]
    most_followed = seeds.post_authors[int(np.argmax(counts))]
    return int(seeds.post_ids[np.flatnonzero(seeds.post_authors == most_followed)[-1]])


class CreatedAuthors:
    """The author of each post created in a run, by its position among them: a function of seed and position alone."""

    def __init__(self, scenario: Scenario, posting: Weighted) -> None:
        self._seed = scenario.seed
        self._posting = posting
        self._chunks: dict[int, NDArray[np.int32]] = {}

    def of(self, positions: NDArray[np.int64]) -> NDArray[np.int32]:
        """Authors int32 of positions 0, 1, 2, ..., in any order."""
        authors = np.empty(len(positions), np.int32)
        numbers = positions // _AUTHORS_PER_CHUNK
        for number in np.unique(numbers).tolist():
            here = numbers == number
            authors[here] = self._chunk(number)[positions[here] % _AUTHORS_PER_CHUNK]
        return authors

    def _chunk(self, number: int) -> NDArray[np.int32]:
        if number not in self._chunks:
            if len(self._chunks) > 1:
                self._chunks.clear()
            u = generator(self._seed, "schedule.authors", number).random(_AUTHORS_PER_CHUNK)
            self._chunks[number] = self._posting.pick(u)
        return self._chunks[number]
