"""Decisions that the model and the real backend share: plain functions that numba can compile as they stand."""

from model.policy.bounded_loads import assign_bounded, most_keys
from model.policy.fanout import FANOUT_CODES, is_pulled
from model.policy.routing import ROUTING_CODES, choose_api_process, choose_server
from model.policy.sharding import (
    KEY_HOT,
    KEY_POST,
    KEY_TIMELINE,
    hash64,
    key_hash,
    ring_points,
    ring_positions,
    shard_of,
    shards_of,
)

__all__ = [
    "FANOUT_CODES",
    "KEY_HOT",
    "KEY_POST",
    "KEY_TIMELINE",
    "ROUTING_CODES",
    "assign_bounded",
    "choose_api_process",
    "choose_server",
    "hash64",
    "is_pulled",
    "key_hash",
    "most_keys",
    "ring_points",
    "ring_positions",
    "shard_of",
    "shards_of",
]
