"""What exists at time zero, as the tables that the data plane's effects read: graph, timelines, posts, shards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.policy import KEY_HOT, KEY_TIMELINE, ring_points, shards_of
from model.spec import Scenario
from model.spec.seed_tables import SeedTables

IntArray = npt.NDArray[np.int64]


def platform_data(scenario: Scenario, seeds: SeedTables, posts_hint: int) -> dict[str, Any]:
    """The data structures for `DataPlane(data=...)`; `posts_hint` is the highest post id expected."""
    platform, policies = scenario.platform, scenario.policies
    users, standbys = seeds.users, platform.postgres.standbys
    page = policies.page_size
    points, owners = ring_points(platform.redis.shards, platform.redis.virtual_nodes)
    everyone = np.arange(users)
    offsets, entries = seeds.timelines(everyone=True)
    hot = seeds.hot
    posts = max(posts_hint, int(seeds.post_ids[-1]) if len(seeds.post_ids) else 0) + 1
    cached = np.zeros(posts, np.bool_)
    exists = np.zeros(posts, np.bool_)
    exists[seeds.post_ids] = True
    cached[seeds.post_ids[seeds.cached_from :]] = True
    hot_rows = np.full(users, -1, np.int32)
    hot_rows[hot] = np.arange(int(hot.sum()), dtype=np.int32)
    hot_pages, hot_head = _newest_per_author(seeds, hot_rows, page)
    pages, head = _first_page(offsets, entries, page)
    hot_offsets, hot_authors = hot_followees(seeds)
    return {
        "follower_offsets": seeds.follower_offsets.astype(np.int64),
        "followers": seeds.followers.astype(np.int32),
        "hot_offsets": hot_offsets,
        "hot_authors": hot_authors,
        "pulled": hot.astype(np.bool_),
        "timeline_exists": seeds.materialized.astype(np.bool_).copy(),
        "timeline_length": np.diff(offsets).astype(np.int32),
        "timeline_shard": shards_of(KEY_TIMELINE, everyone, points, owners).astype(np.uint8),
        "hot_shard": shards_of(KEY_HOT, everyone, points, owners).astype(np.uint8),
        "pages": pages,
        "page_head": head,
        "hot_row": hot_rows,
        "hot_pages": hot_pages,
        "hot_head": hot_head,
        "post_cached": cached,
        "post_exists": exists,
        "session_lsn": np.zeros(users, np.int64),
        "replayed": np.zeros(max(1, standbys), np.int64),
        "known": np.zeros((max(platform.api.processes, platform.workers.processes), max(1, standbys)), np.int64),
        "replay_delay": np.zeros(max(1, standbys), np.int64),
        "ring_points": points.astype(np.int64),
        "ring_owners": owners.astype(np.int32),
    }


def _first_page(offsets: IntArray, entries: IntArray, page: int) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """Rings [users, page] with the newest `page` entries of each timeline (given newest first), and their heads."""
    lengths = np.minimum(np.diff(offsets), page)
    rank = np.arange(page)
    within = rank < lengths[:, None]
    rows = np.where(within, offsets[:-1, None] + rank, 0)
    newest_first = np.where(within, entries[rows] if len(entries) else 0, 0)
    # The ring is written forwards, so the newest stands just before the head.
    rings = np.zeros_like(newest_first)
    columns = np.where(within, lengths[:, None] - 1 - rank, rank)
    np.put_along_axis(rings, columns, newest_first, axis=1)
    return rings.astype(np.int64), (lengths % page).astype(np.int32)


def _newest_per_author(
    seeds: SeedTables, rows: npt.NDArray[np.int32], page: int
) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """The same rings [pulled authors, page] for the posts of pulled authors."""
    pulled = int((rows >= 0).sum())
    row_of_post = rows[seeds.post_authors]
    chosen = np.flatnonzero(row_of_post >= 0)[::-1]  # newest first
    order = np.argsort(row_of_post[chosen], kind="stable")
    offsets = np.zeros(max(pulled, 1) + 1, np.int64)
    np.cumsum(np.bincount(row_of_post[chosen], minlength=max(pulled, 1)), out=offsets[1:])
    return _first_page(offsets, seeds.post_ids[chosen][order], page)


def hot_followees(seeds: SeedTables) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """Which pulled authors each user follows, as offsets into one array."""
    authors = np.repeat(np.arange(seeds.users, dtype=np.int32), np.diff(seeds.follower_offsets))
    of_hot = seeds.hot[authors]
    followers, authors = seeds.followers[of_hot], authors[of_hot]
    order = np.argsort(followers, kind="stable")
    offsets = np.zeros(seeds.users + 1, np.int64)
    np.cumsum(np.bincount(followers, minlength=seeds.users), out=offsets[1:])
    return offsets, authors[order].astype(np.int32)
