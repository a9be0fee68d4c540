"""From a committed post to its followers' timelines: outbox, relay, broker, workers."""

from __future__ import annotations

from model.engine import effects as e
from model.engine.plant import Plant
from model.engine.program import (
    Effect,
    Forever,
    Get,
    Path,
    While,
    delay,
    scatter,
    serve,
    when,
)  # fmt: skip
from model.platform.replication import COMMIT_FLUSH, replicate
from model.spec import Scenario


def relay(scenario: Scenario, plant: Plant) -> Path:
    """Poll the outbox; publish what is there and delete it; pause unless the batch was full."""
    most = scenario.platform.relay.batch_size
    outbox, fanout = plant.queues["outbox"], plant.queues["fanout"]
    publish: Path = (
        serve("relay.publish", on="relay"),
        serve("broker.publish", on="broker"),
        Effect(e.E_MOVE, outbox, fanout),
        serve("db.outbox_delete", on="primary"),
        COMMIT_FLUSH,
        Effect(e.E_COMMIT),
        *replicate(scenario.platform.postgres.standbys),
    )
    pause: Path = (delay(fixed_s=scenario.platform.relay.interval_s),)
    return (
        Forever((
            serve("relay.poll", on="relay"),
            Effect(e.E_TAKE, outbox, most),
            serve("db.outbox_read", on="primary"),
            when(publish),
            Effect(e.E_FULL, most),
            when((), pause),
        )),
    )  # fmt: skip


def worker(scenario: Scenario) -> Path:
    """Take a post, read the author's followers, push it to their timelines batch by batch."""
    workers = scenario.platform.workers
    push: Path = (
        While(Effect(e.E_NEXT_BATCH, workers.batch_size), (
            serve("worker.batch", on="worker"),
            scatter(e.SPREAD_BATCH, [serve("redis.timeline_push", on="redis")]),
            Effect(e.E_DELIVER),
            *((delay(fixed_s=workers.wait_per_batch_s),) if workers.wait_per_batch_s > 0 else ()),
        )),
    )  # fmt: skip
    hot: Path = (
        serve("worker.hot", on="worker"),
        Effect(e.E_HOT_SHARD),
        serve("redis.hot_post_push", on="redis"),
        Effect(e.E_HOT_DELIVER),
    )
    return (
        Forever((
            Get("fanout"),
            serve("broker.consume", on="broker"),
            Effect(e.E_WORKER_SERVER),
            Effect(e.E_FOLLOWERS),
            serve("db.followers_read", on="db"),
            serve("worker.receive", on="worker"),
            when(push, hot),
            serve("worker.done", on="worker"),
            serve("broker.ack", on="broker"),
        )),
    )  # fmt: skip
