"""The follower graph: who follows whom, generated from the seed or loaded from an edge list."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.spec import InputError, Scenario
from model.workload.edge_list import load_edge_list
from model.workload.generate import generate_edges


@dataclass(frozen=True, eq=False)
class FollowerGraph:
    """An explicit graph over users 0 .. `users` - 1, in both directions, as offsets into one array of neighbours."""

    users: int
    follower_offsets: NDArray[np.int64]
    """Length users + 1: followers of author a are ``followers[follower_offsets[a]:follower_offsets[a + 1]]``."""
    followers: NDArray[np.int32]
    """Ascending within an author."""
    followee_offsets: NDArray[np.int64]
    followees: NDArray[np.int32]
    """The accounts that a user follows, ascending within a user."""
    labels: NDArray[np.int64]
    """The id of each user in the edge list it came from; 0 .. users - 1 where the graph was generated."""

    @classmethod
    def from_followers(
        cls,
        follower_offsets: NDArray[np.int64],
        followers: NDArray[np.int32],
        labels: NDArray[np.int64] | None = None,
    ) -> FollowerGraph:
        """Complete a graph from each author's ascending list of followers."""
        users = len(follower_offsets) - 1
        followee_offsets, followees = _transpose(follower_offsets, followers)
        if labels is None:
            labels = np.arange(users, dtype=np.int64)
        return cls(users, follower_offsets, followers, followee_offsets, followees, labels)

    @property
    def edges(self) -> int:
        """Number of (follower, followee) pairs."""
        return len(self.followers)

    @cached_property
    def follower_counts(self) -> NDArray[np.int64]:
        """Followers of each user, int64[users]."""
        return np.diff(self.follower_offsets)

    @cached_property
    def followee_counts(self) -> NDArray[np.int64]:
        """How many accounts each user follows, int64[users]."""
        return np.diff(self.followee_offsets)

    def followers_of(self, author: int) -> NDArray[np.int32]:
        """A view of the author's followers, ascending."""
        return self.followers[self.follower_offsets[author] : self.follower_offsets[author + 1]]

    def followees_of(self, user: int) -> NDArray[np.int32]:
        """A view of the accounts that the user follows, ascending."""
        return self.followees[self.followee_offsets[user] : self.followee_offsets[user + 1]]

    @cached_property
    def digest(self) -> str:
        """A hash of the relation and of the labels."""
        state = hashlib.sha256()
        for array in (self.follower_offsets, self.followers, self.labels):
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()[:16]


def graph_of(scenario: Scenario) -> FollowerGraph:
    """The scenario's graph: ``population.graph`` loaded where it is set, else generated from the seed.

    Raises InputError for a bad file or an impossible population, and for one that has no lists of followers.
    """
    population = scenario.population
    if population.kind == "implicit":
        raise InputError(
            "population.kind is 'implicit': it lists no followers, and only 'feedtwin simulate' can use it"
        )
    if population.graph is not None:
        return FollowerGraph.from_followers(*load_edge_list(population.graph))
    return FollowerGraph.from_followers(*generate_edges(population, scenario.seed))


def _transpose(
    offsets: NDArray[np.int64], neighbours: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    users = len(offsets) - 1
    bits = max(users - 1, 1).bit_length()
    keys = np.left_shift(neighbours, bits, dtype=np.int64)
    keys |= np.repeat(np.arange(users, dtype=np.int32), np.diff(offsets))
    keys.sort()
    transposed = np.searchsorted(keys, np.arange(users + 1, dtype=np.int64) << bits).astype(np.int64)
    keys &= (1 << bits) - 1
    return transposed, keys.astype(np.int32)
