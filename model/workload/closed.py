"""Closed-loop requests: sessions that wait for each answer and then think."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.rng import generator
from model.spec import Endpoint, InputError, Scenario
from model.spec.seed_tables import SeedTables
from model.workload.activity import activity_of
from model.workload.graph import FollowerGraph
from model.workload.popularity import PostPopularity
from model.workload.requests import hot_post, is_post_request, pick_endpoints

MAX_REQUESTS = 50_000_000
"""Requests of all sessions together: they are held in memory, 21 bytes each."""

_NS_PER_S = 1_000_000_000


class SessionArrays(NamedTuple):
    """Request k of session s is at [s, k] of each array."""

    endpoint: NDArray[np.uint8]
    user: NDArray[np.int32]
    target: NDArray[np.int64]
    """As in `Block`; a created post has the id ``posts seeded + 1 + session * K + k``."""
    think_ns: NDArray[np.int64]
    """Pause before the request, after the answer to the one before (or after the start)."""


class ClosedSchedule:
    """What each of `sessions` users asks for one after another; when depends on the answers.

    A session is one account, chosen by its reading rate. All sessions have the scenario's mix. Requests for posts go to
    seeded ones, since nobody knows when the others will exist. Request k of session s is the same however many
    requests and sessions there are (but for the ids of created posts, which K spaces).
    """

    def __init__(self, scenario: Scenario, graph: FollowerGraph, seeds: SeedTables) -> None:
        workload = scenario.workload
        expected = workload.sessions * scenario.duration_s / workload.think_time_s
        if expected > MAX_REQUESTS:
            raise InputError(
                f"workload.think_time_s is {workload.think_time_s:g}; {workload.sessions} sessions over "
                f"{scenario.duration_s:g} s could send {expected:.3g} requests, at most {MAX_REQUESTS:g} are allowed"
            )
        self.scenario = scenario
        self.graph = graph
        self.seeds = seeds
        self.sessions = workload.sessions
        self._activity = activity_of(workload, graph, scenario.seed)

    @cached_property
    def users(self) -> NDArray[np.int32]:
        """The account of each session, int32[sessions]; no account twice while there are enough."""
        reading = self._activity.reading.weights
        races = generator(self.scenario.seed, "closed.users").standard_exponential(len(reading)) / reading
        return np.resize(np.argsort(races, kind="stable"), self.sessions).astype(np.int32)

    @cached_property
    def requests_per_session(self) -> int:
        """The smallest K for which no session could send all its K requests within the duration, were every answer
        immediate."""
        ends_ns = np.zeros(self.sessions, np.int64)
        k = 0
        while ends_ns.min() < self.scenario.duration_s * _NS_PER_S:
            ends_ns += self._think_ns(k)
            k += 1
        return k

    def session_arrays(self, k_max: int | None = None) -> SessionArrays:
        """The first `k_max` requests of every session (default: `requests_per_session`), arrays [sessions, k_max]."""
        columns = self.requests_per_session if k_max is None else k_max
        workload = self.scenario.workload
        shape = self.sessions, columns
        arrays = SessionArrays(
            np.empty(shape, np.uint8), np.empty(shape, np.int32), np.empty(shape, np.int64), np.empty(shape, np.int64)
        )
        posts = PostPopularity(self.seeds, self._activity.popularity.weights, workload.popularity_half_life_s)
        start_ns = np.zeros(self.sessions, np.int64)
        hot = hot_post(self.graph, self.seeds)
        first_created = self.seeds.posts + 1 + np.arange(self.sessions, dtype=np.int64) * columns
        for k in range(columns):
            endpoint = pick_endpoints(workload.mix, self._uniform("mix", k))
            u = self._uniform("targets", k)
            post = np.where(self._uniform("hot", k) < workload.hot_post_share, hot, posts.pick(start_ns, u))
            target = self.users.astype(np.int64)
            target = np.where(endpoint == Endpoint.PROFILE.code, self._activity.popularity.pick(u), target)
            target = np.where(endpoint == Endpoint.CREATE_POST.code, first_created + k, target)
            arrays.endpoint[:, k] = endpoint
            arrays.user[:, k] = self.users
            arrays.target[:, k] = np.where(is_post_request(endpoint), post, target)
            arrays.think_ns[:, k] = self._think_ns(k)
        return arrays

    def authors_of(self, post_ids: NDArray[np.int64], k_max: int | None = None) -> NDArray[np.int32]:
        """The author of each post, seeded or created under this `k_max`, int32 of the same length."""
        columns = self.requests_per_session if k_max is None else k_max
        ids = np.asarray(post_ids, np.int64)
        session = (ids - self.seeds.posts - 1) // columns
        if len(ids) and (ids.min() < 1 or session.max() >= self.sessions):
            raise ValueError(f"post ids must lie in 1 .. {self.seeds.posts + self.sessions * columns}")
        authors = np.empty(len(ids), np.int32)
        seeded = ids <= self.seeds.posts
        authors[seeded] = self.seeds.post_authors[ids[seeded] - 1]
        authors[~seeded] = self.users[session[~seeded]]
        return authors

    @cached_property
    def digest(self) -> str:
        """A hash of every request that the sessions could send."""
        state = hashlib.sha256()
        for array in self.session_arrays():
            state.update(array.tobytes())
        return state.hexdigest()[:16]

    def _uniform(self, purpose: str, k: int) -> NDArray[np.float64]:
        return generator(self.scenario.seed, f"closed.{purpose}", k).random(self.sessions)

    def _think_ns(self, k: int) -> NDArray[np.int64]:
        pauses = generator(self.scenario.seed, "closed.think", k).standard_exponential(self.sessions)
        think_ns: NDArray[np.int64] = np.rint(pauses * self.scenario.workload.think_time_s * _NS_PER_S).astype(np.int64)
        return think_ns
