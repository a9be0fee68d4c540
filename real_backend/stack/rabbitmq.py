"""RabbitMQ as the broker: Debian's server started as an ordinary user, or one that already runs."""

from __future__ import annotations

import asyncio

import aio_pika

from real_backend.stack.ports import LOOPBACK

FURTHER_PORTS = ("epmd", "erlang")
"""What a RabbitMQ server listens on besides AMQP: Erlang's port mapper and its distribution port."""


def rabbitmq_url(port: int) -> str:
    return f"amqp://guest:guest@{LOOPBACK}:{port}/"


def purge(url: str, queue: str) -> None:
    """Drop all messages of a queue that wait for a consumer, if the queue exists."""
    asyncio.run(_purge(url, queue))


async def _purge(url: str, queue: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        try:
            existing = await channel.get_queue(queue)
            await existing.purge()
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return
