"""Push or pull: who gets a new post into the followers' timelines, and whose posts the readers fetch."""

from __future__ import annotations

from types import MappingProxyType

PUSH = 0
PULL = 1
HYBRID = 2

FANOUT_CODES = MappingProxyType({"push": PUSH, "pull": PULL, "hybrid": HYBRID})
"""Integer code of each value of the scenario's `policies.fanout`."""


def is_pulled(mode_code: int, follower_count: int, threshold: int) -> bool:
    """True where readers merge an author's posts in; False where workers push them to the followers' timelines.

    Hybrid pulls the authors with at least `threshold` followers.
    """
    if mode_code == PUSH:
        return False
    if mode_code == PULL:
        return True
    return follower_count >= threshold
