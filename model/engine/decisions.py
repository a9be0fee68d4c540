"""The shared decisions of `model.policy`, as compiled code calls them.

They stay plain Python for the backend; this only tells numba that it may compile them as they are, but for the hash.
"""

from __future__ import annotations

from numba.extending import register_jitable

from model.policy import limiting, routing, sharding
from model.workload.implicit.hashing import hash64, key_hash

__all__ = ["admitted", "choose_server", "full_again_ns", "hash64", "key_hash", "shard_of"]

for _shared in (sharding.shard_of, routing.choose_server, limiting.admitted, limiting.full_again_ns):
    register_jitable(_shared)
shard_of = sharding.shard_of
choose_server = routing.choose_server
admitted, full_again_ns = limiting.admitted, limiting.full_again_ns
