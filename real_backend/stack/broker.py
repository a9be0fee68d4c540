"""The broker between relay and workers: emptied between runs."""

from __future__ import annotations

import redis

from real_backend.config import POST_CHANNEL, BackendConfig
from real_backend.stack import rabbitmq


def empty_broker(config: BackendConfig) -> None:
    """Drop all messages, delivered or not; consumers stay connected."""
    if config.broker_kind == "rabbitmq":
        rabbitmq.purge(config.broker_url, POST_CHANNEL)
        return
    with redis.Redis.from_url(config.broker_url) as client:
        if not client.exists(POST_CHANNEL):
            return
        # The stream and its groups must outlive this: workers are blocked in XREADGROUP on them.
        for group in client.xinfo_groups(POST_CHANNEL):
            while pending := client.xpending_range(POST_CHANNEL, group["name"], min="-", max="+", count=1_000):
                client.xack(POST_CHANNEL, group["name"], *(entry["message_id"] for entry in pending))
        client.xtrim(POST_CHANNEL, maxlen=0, approximate=False)
