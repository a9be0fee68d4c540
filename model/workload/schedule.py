"""The Schedule: the requests of a scenario, the same for the model and for the load test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.rng import generator
from model.spec import Endpoint, Scenario
from model.spec.seed_tables import SeedTables
from model.workload.activity import activity_of
from model.workload.arrivals import arrival_times_ns, arrivals_in, blocks_of, check_rate
from model.workload.closed import ClosedSchedule
from model.workload.graph import FollowerGraph, graph_of
from model.workload.popularity import PostPopularity
from model.workload.requests import CreatedAuthors, hot_post, is_post_request, pick_endpoints
from model.workload.seeding import seed_state

__all__ = ["Block", "ClosedSchedule", "Schedule", "schedule_of"]


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive requests in order of time, n of them."""

    ordinal: int
    """Number of the first request, counted from 0 at the schedule's start."""
    time_ns: NDArray[np.int64]
    """[n], since the schedule's start, ascending."""
    endpoint: NDArray[np.uint8]
    """[n], codes in the order of `ENDPOINTS`."""
    user: NDArray[np.int32]
    """[n], who asks."""
    target: NDArray[np.int64]
    """[n]: the user for home_timeline, the author for profile, the new post's id for create_post, else a post."""

    def __len__(self) -> int:
        return len(self.time_ns)


class Schedule:
    """Open-loop requests, generated lazily in blocks of at most one second of arrivals.

    Every block is a function of seed and position; only the ids of created posts and the popularity of young posts are
    carried on, so memory grows by 8 bytes a created post and by nothing else. Raises InputError for a rate of which one
    block would not fit in memory.
    """

    def __init__(self, scenario: Scenario, graph: FollowerGraph, seeds: SeedTables) -> None:
        check_rate(scenario.workload)
        self.scenario = scenario
        self.graph = graph
        self.seeds = seeds
        self._activity = activity_of(scenario.workload, graph, scenario.seed)
        self._authors = CreatedAuthors(scenario, self._activity.posting)
        self._hot_post = hot_post(graph, seeds)
        self._digest = ""

    @cached_property
    def requests(self) -> int:
        """The exact number of requests, without making them."""
        workload, seed, duration_s = self.scenario.workload, self.scenario.seed, self.scenario.duration_s
        return sum(arrivals_in(workload, seed, number, duration_s) for number in range(blocks_of(duration_s)))

    @property
    def highest_post_id(self) -> int:
        """No post has a higher id, but for a chance below 1e-13 (eight standard deviations of a binomial number)."""
        share = self.scenario.workload.mix.create_post
        created = self.requests * share
        return self.seeds.posts + math.ceil(created + 8 * math.sqrt(created * (1 - share)) + 10 * (share > 0))

    def blocks(self) -> Iterator[Block]:
        """The requests from the start, block by block; seconds without an arrival are left out."""
        scenario = self.scenario
        workload = scenario.workload
        posts = PostPopularity(self.seeds, self._activity.popularity.weights, workload.popularity_half_life_s)
        state = hashlib.sha256()
        ordinal = created = 0
        for number in range(blocks_of(scenario.duration_s)):
            time_ns = arrival_times_ns(workload, scenario.seed, number, scenario.duration_s)
            if len(time_ns) == 0:
                continue
            block = self._block(number, ordinal, created, time_ns, posts)
            creates = block.endpoint == Endpoint.CREATE_POST.code
            posts.append(time_ns[creates], block.user[creates])
            ordinal += len(block)
            created += int(creates.sum())
            for array in (block.time_ns, block.endpoint, block.user, block.target):
                state.update(array.data)
            yield block
        self._digest = state.hexdigest()[:16]

    def materialize(self) -> Block:
        """All requests at once."""
        blocks = list(self.blocks())
        if not blocks:
            return Block(0, np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.int64))
        return Block(
            0,
            np.concatenate([block.time_ns for block in blocks]),
            np.concatenate([block.endpoint for block in blocks]),
            np.concatenate([block.user for block in blocks]),
            np.concatenate([block.target for block in blocks]),
        )

    @property
    def digest(self) -> str:
        """A hash of all requests; known once `blocks` has been read to its end, else computed by doing so."""
        if not self._digest:
            for _ in self.blocks():
                pass
        return self._digest

    def authors_of(self, post_ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """The author of each post, seeded or created, int32 of the same length."""
        ids = np.asarray(post_ids, np.int64)
        if len(ids) and ids.min() < 1:
            raise ValueError(f"post ids begin at 1, got {ids.min()}")
        authors = np.empty(len(ids), np.int32)
        seeded = ids <= self.seeds.posts
        authors[seeded] = self.seeds.post_authors[ids[seeded] - 1]
        authors[~seeded] = self._authors.of(ids[~seeded] - self.seeds.posts - 1)
        return authors

    def _block(
        self, number: int, ordinal: int, created: int, time_ns: NDArray[np.int64], posts: PostPopularity
    ) -> Block:
        n, workload = len(time_ns), self.scenario.workload
        endpoint = pick_endpoints(workload.mix, self._uniform("mix", number, n))
        user = self._activity.reading.pick(self._uniform("users", number, n))
        creates = endpoint == Endpoint.CREATE_POST.code
        positions = np.arange(created, created + int(creates.sum()), dtype=np.int64)
        user[creates] = self._authors.of(positions)
        target = user.astype(np.int64)
        target[creates] = self.seeds.posts + 1 + positions
        u = self._uniform("targets", number, n)
        profiles = endpoint == Endpoint.PROFILE.code
        target[profiles] = self._activity.popularity.pick(u[profiles])
        single = is_post_request(endpoint)
        target[single] = posts.pick(time_ns[single], u[single])
        if workload.hot_post_share > 0:
            target[single & (self._uniform("hot", number, n) < workload.hot_post_share)] = self._hot_post
        return Block(ordinal, time_ns, endpoint, user, target)

    def _uniform(self, purpose: str, number: int, n: int) -> NDArray[np.float64]:
        return generator(self.scenario.seed, f"schedule.{purpose}", number).random(n)


def schedule_of(
    scenario: Scenario, graph: FollowerGraph | None = None, seeds: SeedTables | None = None
) -> Schedule | ClosedSchedule:
    """The scenario's requests, in its mode; graph and seeded state are built when not given."""
    graph = graph_of(scenario) if graph is None else graph
    seeds = seed_state(scenario, graph) if seeds is None else seeds
    if scenario.workload.mode == "closed":
        return ClosedSchedule(scenario, graph, seeds)
    return Schedule(scenario, graph, seeds)
