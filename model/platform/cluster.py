"""The cluster as a Plant: a replicated cache of timelines with an API in front and a fan-out behind it.

After the platform of R. Krikorian's talk "Timelines at Scale" (QCon, 2012 and 2013). A home timeline is read from one
of the replicas; a post is written, then pushed to the timelines of the author's followers in every replica, in
batches. Every process has a core of its own; what its steps cost is stated in the scenario, and measured nowhere.
"""

from __future__ import annotations

import numpy as np

from model.engine import crowd as e
from model.engine import layout as c
from model.engine.plant import Plant
from model.engine.program import Acquire, Effect, Path, Release, While, delay, scatter, serve, spawn, when
from model.spec import ENDPOINTS, Endpoint, Scenario
from model.spec.cluster import Cluster, ClusterStep

STEP_PROCESSES: dict[ClusterStep, str] = {
    ClusterStep.API_RECEIVE: "api",
    ClusterStep.API_RESPOND: "api",
    ClusterStep.CACHE_READ: "cache",
    ClusterStep.CACHE_STORE: "cache",
    ClusterStep.CACHE_PUSH: "cache",
    ClusterStep.CACHE_READ_PULLED: "cache",
    ClusterStep.POST_INSERT: "posts",
    ClusterStep.POSTS_READ: "posts",
    ClusterStep.GRAPH_FOLLOWERS: "graph",
    ClusterStep.GRAPH_FOLLOWEES: "graph",
    ClusterStep.WORKER_BATCH: "worker",
}
"""The kind of process that serves each step."""


def process_counts(cluster: Cluster) -> dict[str, int]:
    """How many processes of each kind a cluster has."""
    return {
        "api": cluster.api_processes,
        "cache": cluster.cache_shards * cluster.cache_replicas,
        "graph": cluster.graph_processes,
        "posts": cluster.post_processes,
        "worker": cluster.workers,
    }


def cluster_plant(scenario: Scenario) -> Plant:
    """Everything but the data: what serves what, and what it costs."""
    cluster = scenario.platform.cluster
    plant = Plant()
    for step, cost in cluster.costs.items():
        plant.step(step.value, cost.base_s, cost.per_item_s, cost.cv)
    count = process_counts(cluster)
    for kind in ("api", "graph", "posts", "worker"):
        plant.fifo(kind, servers=count[kind])
    plant.fifo("cache", count["cache"], selector=c.SEL_SHARD)
    plant.pool("tasks", cluster.workers)
    paths = {
        Endpoint.HOME_TIMELINE: home_timeline(cluster, merges=scenario.policies.fanout == "hybrid"),
        Endpoint.CREATE_POST: create_post(cluster),
    }
    # The others are asked for by nobody; each endpoint's code is its position.
    plant.endpoints.extend(paths.get(endpoint, (delay(fixed_s=0.0),)) for endpoint in ENDPOINTS)
    return plant


def home_timeline(cluster: Cluster, *, merges: bool) -> Path:
    """The newest entries from one replica; where the cache has none, the timeline is rebuilt from graph and posts."""
    rebuild: Path = (
        serve(ClusterStep.GRAPH_FOLLOWEES, on="graph"),
        Effect(e.E_SEAT_SIZE),
        serve(ClusterStep.POSTS_READ, on="posts"),
        serve(ClusterStep.CACHE_STORE, on="cache"),
        Effect(e.E_SEAT_FILL),
    )
    pulled: Path = (
        Effect(e.E_SEAT_PULLED),
        when((serve(ClusterStep.CACHE_READ_PULLED, on="cache"),)),
    )
    return (
        serve(ClusterStep.API_RECEIVE, on="api"),
        Effect(e.E_SEAT),
        serve(ClusterStep.CACHE_READ, on="cache"),
        when(rebuild),
        *(pulled if merges else ()),
        serve(ClusterStep.API_RESPOND, on="api"),
        delay(fixed_s=cluster.network_s),
    )


def create_post(cluster: Cluster) -> Path:
    """The post is written, and its author answered while the fan-out begins."""
    return (
        serve(ClusterStep.API_RECEIVE, on="api"),
        serve(ClusterStep.POST_INSERT, on="posts"),
        Effect(e.E_POSTED),
        when((spawn(fan_out(cluster)),)),
        serve(ClusterStep.API_RESPOND, on="api"),
        delay(fixed_s=cluster.network_s),
    )


def fan_out(cluster: Cluster) -> Path:
    """A post's followers are divided into tasks; each takes a worker, that pushes its batches one after another."""
    task: Path = (
        Acquire("tasks"),
        While(Effect(e.E_TASK_BATCH, cluster.batch_size), (
            serve(ClusterStep.GRAPH_FOLLOWERS, on="graph"),
            serve(ClusterStep.WORKER_BATCH, on="worker"),
            scatter(e.SPREAD_SEATS, (serve(ClusterStep.CACHE_PUSH, on="cache"),)),
            Effect(e.E_TASK_DELIVER),
        )),
        Release("tasks"),
    )  # fmt: skip
    return (While(Effect(e.E_TASK, cluster.followers_per_task), (spawn(task),)),)


def settings(scenario: Scenario) -> dict[int, int]:
    """The integer settings that the kernel and the effects read."""
    return {
        c.SET_TIMEOUT_NS: int(np.rint(scenario.platform.api.request_timeout_s * 1e9)),
        c.SET_TIMELINE_CAP: scenario.policies.timeline_cap,
        c.SET_PAGE: scenario.policies.page_size,
        c.SET_HORIZON_NS: int(np.rint(scenario.duration_s * 1e9)),
    }
