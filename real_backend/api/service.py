"""Everything one API process holds open: pools, stores, the poll of the standbys, telemetry."""

from __future__ import annotations

import asyncio
import contextlib

from real_backend.api.feed import Feed
from real_backend.api.replicas import Replicas
from real_backend.config import BackendConfig
from real_backend.process import freeze_garbage
from real_backend.spans import Tracing
from real_backend.stores import posts, timelines
from real_backend.stores.database import Database
from real_backend.stores.procedures import install_procedures
from real_backend.stores.shards import Shards
from real_backend.telemetry import Telemetry

REDIS_CONNECTIONS = 8
"""Connections to each shard that are made ahead of need; more are made when more requests are under way."""


class Service:
    """``async with Service(config, name)``: open inside, closed afterwards."""

    def __init__(self, config: BackendConfig, name: str) -> None:
        self.config = config
        self.telemetry = Telemetry(name, len(config.standby_urls))
        self.tracing = Tracing(config.span_limit)
        self.database = Database(
            config.postgres_url,
            config.standby_urls,
            connections=config.database_pool,
            timeout_s=config.request_timeout_s,
        )
        self.shards = Shards(config.redis_urls, config.virtual_nodes)
        self.replicas = Replicas(config, self.telemetry)
        self.feed = Feed(
            config,
            self.database,
            timelines.Timelines(self.shards, config.timeline_cap),
            posts.Posts(self.shards),
            self.replicas,
            self.telemetry,
        )
        self._poll: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Service:
        await install_procedures(self.config.postgres_url)
        await self.database.open()
        await self.shards.open(REDIS_CONNECTIONS, (*timelines.SCRIPTS, *posts.SCRIPTS))
        await self.database.warm(self.config.page_size, self.config.timeline_cap)
        for standby in range(len(self.config.standby_urls)):
            await self.replicas.poll(standby)
        self._poll = asyncio.create_task(self.replicas.run())
        if self.config.freeze_gc:
            freeze_garbage(collecting=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._poll is not None:
            self._poll.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poll
        await self.replicas.close()
        await self.shards.close()
        await self.database.close()
