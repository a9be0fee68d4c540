"""The section `platform.cluster`: a platform of many machines, and what each of its steps costs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from model.spec.fields import Frozen, NonNegative

MAX_CACHE_SERVERS = 1_000
"""A batch visits all of them at one instant, and the order of events has room for as many."""
MAX_FANOUT_TASKS = 4_000
"""A post begins them at one instant, and the event list has room for as many."""


class ClusterStep(StrEnum):
    """What the processes of a cluster do; the Run's steps have these names."""

    API_RECEIVE = "api_receive"
    """A request comes in; served by `api_processes`."""
    API_RESPOND = "api_respond"
    """The answer goes out; items are timeline entries."""
    CACHE_READ = "cache_read"
    """A home timeline is read from one replica; items are entries."""
    CACHE_STORE = "cache_store"
    """A rebuilt timeline is stored in one replica; items are entries."""
    CACHE_PUSH = "cache_push"
    """A shard's part of a batch is pushed; items are timelines."""
    CACHE_READ_PULLED = "cache_read_pulled"
    """The posts of pulled authors are read; items are authors."""
    POST_INSERT = "post_insert"
    """A post is written; served by `post_processes`."""
    POSTS_READ = "posts_read"
    """The posts of a timeline that is rebuilt are read; items are entries."""
    GRAPH_FOLLOWERS = "graph_followers"
    """A batch of an author's followers is read; served by `graph_processes`; items are followers."""
    GRAPH_FOLLOWEES = "graph_followees"
    """Whom a user follows is read, to rebuild a timeline."""
    WORKER_BATCH = "worker_batch"
    """A fan-out worker prepares a batch; items are followers."""


class ClusterCost(Frozen):
    """A step takes ``base_s + per_item_s * items`` of one process's time, lognormal with coefficient of variation
    `cv`."""

    base_s: NonNegative
    """Of a visit."""
    per_item_s: NonNegative = 0.0
    """Of each item."""
    cv: NonNegative = 0.5
    """Coefficient of variation between visits; 0 is a constant."""


class Cluster(Frozen):
    """A platform of many machines around a replicated cache of timelines; only the model has it. Every process has a
    core of its own, and its costs are assumptions."""

    api_processes: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    """Processes of the HTTP API behind a perfect balancer."""
    cache_shards: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Servers that share the timelines, in each replica; single-threaded. With the replicas at most 1 000."""
    cache_replicas: Annotated[int, Field(ge=1, le=16)] = 3
    """Copies of each timeline: a push goes to all, a read to one of them in turn."""
    graph_processes: Annotated[int, Field(ge=1, le=1_000_000)] = 4
    """Processes of the social graph service."""
    post_processes: Annotated[int, Field(ge=1, le=1_000_000)] = 4
    """Processes of the post store."""
    workers: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    """Fan-out workers; each handles one task at a time, batch after batch."""
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 4_000
    """Followers pushed at a time, at most."""
    followers_per_task: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    """A post with more followers is pushed by several workers at a time; a post makes at most 4 000 tasks."""
    network_s: NonNegative = 0.001
    """Of a request, all that it spends between machines and on its way to the client and back."""
    costs: Mapping[ClusterStep, ClusterCost] = {}
    """Of each step; see docs/cluster.md. All must be stated."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        servers = self.cache_shards * self.cache_replicas
        if servers > MAX_CACHE_SERVERS:
            raise ValueError(
                f"cache_shards times cache_replicas is {servers}; at most {MAX_CACHE_SERVERS} cache servers are allowed"
            )
        return self
