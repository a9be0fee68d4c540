"""Step names: the vocabulary that the model's paths, the backend's telemetry and the calibration share.

A *step* is one visit of a request, a message or a background task to one process. `process.operation` names it;
API segments are `api.endpoint.segment`. A step's cost is CPU time on the process, `base + per_item * items`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Process(StrEnum):
    """Kinds of operating-system process on the backend; each competes for its host's cores."""

    API = "api"
    REDIS = "redis"
    BROKER = "broker"
    PRIMARY = "primary"
    STANDBY = "standby"
    RELAY = "relay"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Step:
    """One named operation.

    `processes` are the kinds of process that can serve it (a database read may run on the primary or a standby);
    `items` says what `per_item` counts, empty where the cost does not depend on a size.
    """

    name: str
    processes: tuple[Process, ...]
    items: str = ""


_DB = (Process.PRIMARY, Process.STANDBY)

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        # API segments: synchronous work of the API's event loop between two awaits.
        Step("api.home_timeline.receive", (Process.API,)),
        Step("api.home_timeline.rebuild", (Process.API,)),
        Step("api.home_timeline.store", (Process.API,), "timeline entries"),
        Step("api.home_timeline.hot", (Process.API,)),
        Step("api.home_timeline.merge", (Process.API,), "posts"),
        Step("api.home_timeline.fill", (Process.API,), "posts"),
        Step("api.home_timeline.respond", (Process.API,), "posts"),
        Step("api.profile.receive", (Process.API,)),
        Step("api.profile.respond", (Process.API,)),
        Step("api.create_post.receive", (Process.API,)),
        Step("api.create_post.store", (Process.API,)),
        Step("api.create_post.respond", (Process.API,)),
        Step("api.react.receive", (Process.API,)),
        Step("api.react.count", (Process.API,)),
        Step("api.react.respond", (Process.API,)),
        Step("api.read_post.receive", (Process.API,)),
        Step("api.read_post.fill", (Process.API,)),
        Step("api.read_post.store", (Process.API,)),
        Step("api.read_post.respond", (Process.API,)),
        Step("api.replay_poll", (Process.API,)),
        # Redis shards.
        Step("redis.timeline_read", (Process.REDIS,), "timeline entries"),
        Step("redis.timeline_store", (Process.REDIS,), "timeline entries"),
        Step("redis.timeline_push", (Process.REDIS,), "timelines"),
        Step("redis.hot_posts_read", (Process.REDIS,), "authors"),
        Step("redis.hot_post_push", (Process.REDIS,)),
        Step("redis.posts_multiget", (Process.REDIS,), "posts"),
        Step("redis.posts_store", (Process.REDIS,), "posts"),
        Step("redis.post_read", (Process.REDIS,)),
        Step("redis.post_store", (Process.REDIS,)),
        Step("redis.counter_increment", (Process.REDIS,)),
        # PostgreSQL.
        Step("db.post_insert", (Process.PRIMARY,)),
        Step("db.reaction_insert", (Process.PRIMARY,)),
        Step("db.outbox_read", (Process.PRIMARY,), "messages"),
        Step("db.outbox_delete", (Process.PRIMARY,), "messages"),
        Step("db.profile_read", _DB),
        Step("db.post_read", _DB),
        Step("db.posts_read", _DB, "posts"),
        Step("db.timeline_rebuild", _DB, "timeline entries"),
        Step("db.followers_read", _DB, "followers"),
        Step("db.replay_poll", (Process.STANDBY,)),
        Step("db.wal_send", (Process.PRIMARY,)),
        Step("db.wal_apply", (Process.STANDBY,)),
        # From the outbox to the workers.
        Step("relay.poll", (Process.RELAY,)),
        Step("relay.publish", (Process.RELAY,), "messages"),
        Step("broker.publish", (Process.BROKER,), "messages"),
        Step("broker.consume", (Process.BROKER,)),
        Step("broker.ack", (Process.BROKER,)),
        Step("worker.receive", (Process.WORKER,), "followers"),
        Step("worker.batch", (Process.WORKER,), "timelines"),
        Step("worker.hot", (Process.WORKER,)),
        Step("worker.done", (Process.WORKER,)),
    )
}

WAITS: dict[str, str] = {
    "net.client": "client to API and back: everything of a request outside the backend's core",
    "db.commit_write": "waiting until the file system has written the WAL of a commit",
    "db.commit_sync": "waiting until the disk has made it durable",
    "db.wal_ship": "from a commit on the primary to its WAL on a standby",
}
"""Delays that burn no CPU of the backend's core, by name."""
