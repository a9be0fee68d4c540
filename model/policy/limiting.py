"""Rate limiting by a token bucket, as the generic cell rate algorithm states it (ITU-T I.371): one number per key.

That number is the theoretical arrival time: when the bucket will be full again. A request is admitted if that is not
more than the tolerance, ``(burst - 1) * period``, ahead of now.
"""

from __future__ import annotations


def admitted(full_at_ns: int, now_ns: int, tolerance_ns: int) -> bool:
    """Whether a request at `now_ns` finds a token."""
    return full_at_ns - now_ns <= tolerance_ns


def full_again_ns(full_at_ns: int, now_ns: int, period_ns: int) -> int:
    """When the bucket is full again after one token has been taken from it at `now_ns`."""
    return max(full_at_ns, now_ns) + period_ns
