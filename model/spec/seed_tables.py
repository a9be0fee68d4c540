"""SeedTables: what exists before the first request, as plain arrays that the model and the real backend both take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK_PAIRS = 2_000_000


@dataclass(frozen=True, eq=False)
class SeedTables:
    """The state at t = 0: relation, posts, and what of them Redis holds. U users, E relations, P posts."""

    users: int
    follower_offsets: NDArray[np.int64]
    """[U + 1]: author a is followed by ``followers[follower_offsets[a]:follower_offsets[a + 1]]``."""
    followers: NDArray[np.int32]
    """[E], ascending within an author."""
    post_ids: NDArray[np.int64]
    """[P]: 1 .. P, older posts first."""
    post_authors: NDArray[np.int32]
    """[P]"""
    post_ages_s: NDArray[np.float64]
    """[P]: age at t = 0, descending."""
    materialized: NDArray[np.bool_]
    """[U]: the user's home timeline is in Redis."""
    cached_from: int
    """Posts from this index on have their metadata hash in Redis."""
    hot: NDArray[np.bool_]
    """[U]: the account is pulled: its posts are in the hot-post store, not in its followers' timelines."""
    timeline_cap: int
    """Entries that a home timeline and a hot author's list hold at most."""

    @property
    def posts(self) -> int:
        """Number of posts; the first post created in a run has this id plus one."""
        return len(self.post_ids)

    def timelines(self, *, everyone: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Home timelines as offsets int64[U + 1] and post ids, newest first.

        A materialized user has the newest `timeline_cap` posts of the accounts followed that are not hot; the others
        have none, unless `everyone` asks for what a rebuild would give them.
        """
        wanted = np.ones(self.users, bool) if everyone else self.materialized
        pushed = np.flatnonzero(~self.hot[self.post_authors])[::-1]
        counts = np.diff(self.follower_offsets)[self.post_authors[pushed]]
        ends = np.cumsum(counts)
        held = np.zeros(self.users, np.int64)
        parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        first = 0
        while first < len(pushed):
            # From the newest posts to the oldest, so that a full timeline takes no further part.
            last = int(np.searchsorted(ends, ends[first] - counts[first] + _CHUNK_PAIRS, side="right"))
            chunk = pushed[first : max(last, first + 1)]
            first += len(chunk)
            follower, index = self._deliveries(chunk)
            taken = (wanted & (held < self.timeline_cap))[follower]
            user, post = _stable_by_user(follower[taken], index[taken])
            found = np.bincount(user, minlength=self.users)
            rank = np.arange(len(user)) + (held - (np.cumsum(found) - found))[user]
            within = rank < self.timeline_cap
            parts.append((user[within], rank[within], self.post_ids[post[within]]))
            held = np.minimum(held + found, self.timeline_cap)
        offsets = np.zeros(self.users + 1, np.int64)
        np.cumsum(held, out=offsets[1:])
        entries = np.empty(offsets[-1], np.int64)
        for user, rank, post in parts:
            entries[offsets[user] + rank] = post
        return offsets, entries

    def _deliveries(self, posts: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Every (follower, post index) pair of these posts, in the posts' order."""
        authors = self.post_authors[posts]
        starts = self.follower_offsets[authors]
        counts = self.follower_offsets[authors + 1] - starts
        before = np.cumsum(counts) - counts
        index = np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
        return self.followers[index], np.repeat(posts, counts)


def _stable_by_user(user: NDArray[np.int32], post: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both arrays ordered by user, and within a user as given: one sort of packed keys beats a stable argsort."""
    keys = (user.astype(np.int64) << 32) | np.arange(len(user))
    keys.sort()
    return keys >> 32, post[keys & 0xFFFFFFFF]
