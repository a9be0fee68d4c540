"""The broker between relay and workers, through FastStream: Redis Streams, or RabbitMQ by URL, same subscriber.

Delivery is at least once. A message is acknowledged after its handler is through; what a dead worker left
unacknowledged goes to another one: on Redis after it lay idle for `CLAIM_IDLE_S`, on RabbitMQ as the connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Self

from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.message import RedisStreamMessage
from redis.exceptions import RedisError, ResponseError

from real_backend.config import CONSUMER_GROUP, POST_CHANNEL, BackendConfig
from real_backend.messages import NewPost
from real_backend.telemetry import Trace

log = logging.getLogger("real_backend.broker")

READ_BLOCK_MS = 2_000
CLAIM_INTERVAL_MS = 1_000
CLAIM_IDLE_S = 3.0
"""A message that nobody has touched for so long belongs to a dead or stopped worker."""
REMEMBERED_MESSAGES = 256

QUEUE = RabbitQueue(POST_CHANNEL, durable=True)

Handler = Callable[[NewPost], Awaitable[None]]
Acknowledged = Callable[[], None]


class Publisher(Protocol):
    """Publishes messages in order; they are with the broker when `publish` returns.

    The trace's step `ending` ends as the messages leave.
    """

    async def publish(self, trace: Trace, ending: int, messages: Sequence[NewPost]) -> None: ...


class _RedisPublisher:
    def __init__(self, broker: RedisBroker, client: Any) -> None:
        self._broker = broker
        self._client = client

    async def publish(self, trace: Trace, ending: int, messages: Sequence[NewPost]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for message in messages:
                await self._broker.publish(message, stream=POST_CHANNEL, pipeline=pipeline)
            trace.mark(ending, len(messages))
            await pipeline.execute()


class _RabbitPublisher:
    def __init__(self, broker: RabbitBroker) -> None:
        self._broker = broker

    async def publish(self, trace: Trace, ending: int, messages: Sequence[NewPost]) -> None:
        trace.mark(ending, len(messages))
        await asyncio.gather(*(self._broker.publish(message, QUEUE, persist=True) for message in messages))


@contextlib.asynccontextmanager
async def open_publisher(config: BackendConfig) -> AsyncIterator[Publisher]:
    """A connected publisher; the stream and its consumer group, or the queue, exist from then on."""
    if config.broker_kind == "rabbitmq":
        rabbit = RabbitBroker(config.broker_url, logger=None)
        async with rabbit:
            await rabbit.start()
            await rabbit.declare_queue(QUEUE)
            yield _RabbitPublisher(rabbit)
        return
    broker = RedisBroker(config.broker_url, logger=None)  # type: ignore[arg-type]
    async with broker:
        client = await broker.connect()
        await _create_group(client)
        yield _RedisPublisher(broker, client)


@contextlib.asynccontextmanager
async def consuming(
    config: BackendConfig, consumer: str, handler: Handler, acknowledged: Acknowledged
) -> AsyncIterator[None]:
    """Inside, `handler` gets one message at a time; `acknowledged` is called after each acknowledgement."""
    receiver = _Receiver(consumer, handler, acknowledged)
    broker: RedisBroker | RabbitBroker
    if config.broker_kind == "rabbitmq":
        one = Channel(prefetch_count=1)
        broker = RabbitBroker(config.broker_url, logger=None, default_channel=one, apply_types=False, decoder=_decode)
        subscriptions: list[Any] = [broker.subscriber(QUEUE, ack_policy=AckPolicy.MANUAL)]
    else:
        broker = RedisBroker(
            config.broker_url,
            logger=None,  # type: ignore[arg-type]
            apply_types=False,
            decoder=_decode,
        )
        await _create_group(await broker.connect())
        group: dict[str, Any] = {"group": CONSUMER_GROUP, "consumer": consumer, "max_records": 1}
        new = _Stream(POST_CHANNEL, polling_interval=READ_BLOCK_MS, **group)
        abandoned = _Stream(
            POST_CHANNEL, polling_interval=CLAIM_INTERVAL_MS, min_idle_time=round(1000 * CLAIM_IDLE_S), **group
        )
        subscriptions = [broker.subscriber(stream=stream, ack_policy=AckPolicy.MANUAL) for stream in (new, abandoned)]

    async def receive(received: _Received) -> None:
        await receiver.receive(received.post, received.message)

    for subscription in subscriptions:
        subscription(receive)
    async with broker:
        await broker.start()
        yield


class _Stream(StreamSub):
    """Without a prefix it stays itself: FastStream asks for it with every message and would copy it deeply."""

    def add_prefix(self, prefix: str) -> Self:
        return super().add_prefix(prefix) if prefix else self


class _Received(NamedTuple):
    post: NewPost
    message: StreamMessage[Any]


async def _decode(message: StreamMessage[Any]) -> _Received:
    # FastStream's own injection of the message runs in a thread and costs four hand-overs per message.
    return _Received(NewPost.model_validate_json(message.body), message)


class _Receiver:
    """One message at a time to the handler, then its acknowledgement; meanwhile other workers leave it alone."""

    def __init__(self, consumer: str, handler: Handler, acknowledged: Acknowledged) -> None:
        self._consumer = consumer
        self._handler = handler
        self._acknowledged = acknowledged
        self._one_at_a_time = asyncio.Lock()
        self._handled: deque[str] = deque(maxlen=REMEMBERED_MESSAGES)
        self._refreshes: set[asyncio.Task[None]] = set()

    async def receive(self, post: NewPost, message: StreamMessage[Any]) -> None:
        async with self._one_at_a_time:
            # After this process was stopped for a while, it may claim what it is still handling.
            if message.correlation_id not in self._handled:
                try:
                    with self._kept(message):
                        await self._handler(post)
                except Exception:
                    log.exception("post %d is not delivered yet", post.post)
                    await message.nack()
                    return
                self._handled.append(message.correlation_id)
            await _acknowledge(message)
            self._acknowledged()

    @contextlib.contextmanager
    def _kept(self, message: StreamMessage[Any]) -> Iterator[None]:
        """Refresh a Redis message's claim while a slow handler is at it; RabbitMQ needs no such thing."""
        if not isinstance(message, RedisStreamMessage):
            yield
            return
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def refresh() -> None:
            nonlocal timer
            task = loop.create_task(self._claim(message))
            self._refreshes.add(task)
            task.add_done_callback(self._refreshes.discard)
            timer = loop.call_later(CLAIM_IDLE_S / 3, refresh)

        timer = loop.call_later(CLAIM_IDLE_S / 3, refresh)
        try:
            yield
        finally:
            timer.cancel()

    async def _claim(self, message: RedisStreamMessage) -> None:
        client: Any = message.consumer
        ids = message.raw_message["message_ids"]
        with contextlib.suppress(RedisError):
            await client.xclaim(POST_CHANNEL, CONSUMER_GROUP, self._consumer, 0, ids, justid=True)


async def _acknowledge(message: StreamMessage[Any]) -> None:
    if isinstance(message, RedisStreamMessage):
        # Acknowledged entries are deleted, so that the stream's length is what is still to be done. Deleted first:
        # a claim drops what is pending and deleted, but nothing would ever drop an entry that is only acknowledged.
        ids = message.raw_message["message_ids"]
        client: Any = message.consumer
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.xdel(POST_CHANNEL, *ids)
            pipeline.xack(POST_CHANNEL, CONSUMER_GROUP, *ids)
            await pipeline.execute()
    else:
        await message.ack()


async def _create_group(client: Any) -> None:
    # From the stream's beginning, so that nothing published before the first worker came is skipped.
    try:
        await client.xgroup_create(POST_CHANNEL, CONSUMER_GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
