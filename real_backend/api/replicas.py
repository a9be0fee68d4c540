"""Which server answers a read: the shared policy, fed with what each standby is known to have replayed."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import AsyncConnection, Error

from model.policy.routing import PRIMARY_SERVER, ROUTE_ANY, ROUTE_PRIMARY, ROUTE_READ_YOUR_WRITES, choose_server
from real_backend.config import BackendConfig
from real_backend.stores.database import REPLAYED, configure
from real_backend.telemetry import STEP_CODES, Telemetry, Trace

API_REPLAY_POLL = STEP_CODES["api.replay_poll"]
DB_REPLAY_POLL = STEP_CODES["db.replay_poll"]

UNREACHABLE = -1
POLL_TIMEOUT_S = 1.0


class Replicas:
    """Keeps `known_replayed` by polling, and chooses servers; reads are counted by server."""

    def __init__(self, config: BackendConfig, telemetry: Telemetry) -> None:
        self._urls = config.standby_urls
        self._interval_s = config.replica_poll_interval_s
        self._mode = config.routing_code
        self._telemetry = telemetry
        self._connections: list[AsyncConnection[Any] | None] = [None] * len(self._urls)
        self._ordinal = 0
        self.known_replayed = [0] * len(self._urls)
        """Log position that each standby is known to have replayed; UNREACHABLE where it does not answer."""
        self.names = [*(f"standby{i}" for i in range(len(self._urls))), "primary"]
        """Server names; the primary's is the last, so that -1 names it."""

    def choose(self, session_lsn: int) -> int:
        """The server of a read in a session whose last commit ends at `session_lsn` (0: none)."""
        server = choose_server(self._mode, session_lsn, self.known_replayed, self._ordinal)
        if self._mode == ROUTE_ANY and server != PRIMARY_SERVER and self.known_replayed[server] < session_lsn:
            self._telemetry.stale_reads += 1
        return self._count(server)

    def choose_replayed(self, session_lsn: int, needed_lsn: int) -> int:
        """A server that has replayed `needed_lsn` whatever the policy says of lag, or more where it asks for that."""
        needed = max(needed_lsn, session_lsn) if self._mode == ROUTE_READ_YOUR_WRITES else needed_lsn
        mode = ROUTE_PRIMARY if self._mode == ROUTE_PRIMARY else ROUTE_READ_YOUR_WRITES
        return self._count(choose_server(mode, needed, self.known_replayed, self._ordinal))

    def _count(self, server: int) -> int:
        self._ordinal += 1
        self._telemetry.reads[server] += 1
        return server

    async def run(self) -> None:
        """Until cancelled: ask each standby at the declared interval how far it has replayed, independently."""
        async with asyncio.TaskGroup() as polls:
            for standby in range(len(self._urls)):
                polls.create_task(self._watch(standby))

    async def _watch(self, standby: int) -> None:
        while True:
            await self.poll(standby)
            await asyncio.sleep(self._interval_s)

    async def close(self) -> None:
        for connection in self._connections:
            if connection is not None:
                await connection.close()

    async def poll(self, standby: int) -> None:
        """Ask one standby once."""
        trace = Trace(self._telemetry)
        trace.mark(API_REPLAY_POLL)
        try:
            async with asyncio.timeout(POLL_TIMEOUT_S):
                connection = self._connections[standby]
                if connection is None or connection.closed:
                    connection = await AsyncConnection.connect(self._urls[standby])
                    await configure(connection)
                    self._connections[standby] = connection
                cursor = await connection.execute(REPLAYED, binary=True)
                row = await cursor.fetchone()
        except (Error, OSError, TimeoutError):
            self.known_replayed[standby] = UNREACHABLE
            return
        trace.mark(DB_REPLAY_POLL, 0, self.names[standby])
        self.known_replayed[standby] = row[0] if row and row[0] is not None else 0
