"""Names of the Redis keys, and the two conventions that seeding, API, workers and audit must agree on.

A home timeline is a list of post ids, newest first. Redis has no empty lists, yet an account that follows nobody (or
only pulled authors) has a timeline too, and must not be rebuilt on every read. So a list shorter than the cap ends with
`TIMELINE_END`: a timeline is materialized exactly when its key exists. Trimming to the cap may drop the mark, for a
full list exists without it.
"""

from __future__ import annotations

TIMELINE_END = "0"
"""The last element of a timeline that has fewer entries than the cap; no post has this id."""

TIMELINE_PREFIX = "tl:"
TIMELINE_VERSION_PREFIX = "tlv:"
HOT_POSTS_PREFIX = "hot:"
HOT_POSTS_VERSION_PREFIX = "hotv:"

GUARD_FLOOR_KEY = "tlv:floor"
"""One per shard: the log position below which the shard knows no guards, for it may have lost them."""


def timeline_key(user: int) -> str:
    """List of post ids, newest first; on the shard of (KEY_TIMELINE, user)."""
    return f"{TIMELINE_PREFIX}{user}"


def timeline_version_key(user: int) -> str:
    """Guard of a rebuild against a push that races it, as a log position; on the timeline's shard."""
    return f"{TIMELINE_VERSION_PREFIX}{user}"


def hot_followees_key(user: int) -> str:
    """Set of the followed authors whose posts are pulled; on the timeline's shard."""
    return f"hf:{user}"


def post_key(post: int) -> str:
    """Hash of a post: author, body, created_ns, reactions; on the shard of (KEY_POST, post)."""
    return f"post:{post}"


def hot_posts_key(author: int) -> str:
    """List of a pulled author's newest post ids, newest first; on the shard of (KEY_HOT, author)."""
    return f"{HOT_POSTS_PREFIX}{author}"


def hot_posts_version_key(author: int) -> str:
    """The guard of a hot list, as that of a timeline; on the hot list's shard."""
    return f"{HOT_POSTS_VERSION_PREFIX}{author}"
