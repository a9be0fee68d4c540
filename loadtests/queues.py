"""How many fan-out messages wait in the broker."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import redis

from real_backend.config import CONSUMER_GROUP, POST_CHANNEL, BackendConfig

_COUNTED = 200


class Queue(Protocol):
    """A connection to the broker that can count."""

    def length(self) -> int: ...
    def close(self) -> None: ...


def queue_of(config: BackendConfig) -> Queue:
    return RabbitQueue(config.broker_url) if config.broker_kind == "rabbitmq" else StreamQueue(config.broker_url)


class StreamQueue:
    """A Redis stream: messages that the workers' group has not read, and those read but not acknowledged."""

    def __init__(self, url: str) -> None:
        self._client: redis.Redis = redis.Redis.from_url(url)

    def length(self) -> int:
        try:
            groups: Any = self._client.xinfo_groups(POST_CHANNEL)
        except redis.ResponseError:  # nothing was ever published
            return 0
        for group in groups:
            if group["name"] == CONSUMER_GROUP.encode():
                return int(group["pending"]) + self._unread(group)
        return int(self._client.xlen(POST_CHANNEL))

    def close(self) -> None:
        self._client.close()

    def _unread(self, group: dict[str, Any]) -> int:
        lag = group.get("lag")
        if lag == 0:
            return 0
        # The server's own figure is unknown, or stays too high, after entries were deleted; few can be counted.
        first = b"(" + group["last-delivered-id"]
        entries: Any = self._client.xrange(POST_CHANNEL, min=first, count=_COUNTED)
        return int(lag) if lag is not None and len(entries) == _COUNTED else len(entries)


class RabbitQueue:
    """A RabbitMQ queue: messages ready for a worker. AMQP does not tell how many are unacknowledged."""

    def __init__(self, url: str) -> None:
        import aio_pika

        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(aio_pika.connect(url))

    def length(self) -> int:
        return self._loop.run_until_complete(self._count())

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    async def _count(self) -> int:
        import aio_pika

        channel = await self._connection.channel()
        try:
            queue = await channel.declare_queue(POST_CHANNEL, passive=True)
            return int(queue.declaration_result.message_count or 0)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return 0
        finally:
            if not channel.is_closed:
                await channel.close()
