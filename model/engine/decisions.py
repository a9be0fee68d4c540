"""The shared decisions of `model.policy`, as compiled code calls them.

They stay plain Python for the backend; this only tells numba that it may compile them as they are.
"""

from __future__ import annotations

from numba.extending import register_jitable

from model.policy import limiting, routing, sharding

for _shared in (
    sharding.hash64, sharding.key_hash, sharding.shard_of, routing.choose_server, limiting.admitted,
    limiting.full_again_ns,
):  # fmt: skip
    register_jitable(_shared)
hash64, key_hash, shard_of = sharding.hash64, sharding.key_hash, sharding.shard_of
choose_server = routing.choose_server
admitted, full_again_ns = limiting.admitted, limiting.full_again_ns
