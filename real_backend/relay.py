"""``python -m real_backend.relay``: moves new posts from the outbox table to the broker; nothing is lost on the way.

A batch is read under row locks that others skip, published, deleted and committed. A crash between publishing and the
commit leaves the rows, so that they are published again: duplicates are possible, losses are not, and delivery is
idempotent.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

import uvloop
from psycopg import AsyncConnection

from model.spec.errors import FeedtwinError
from real_backend.broker import Publisher, open_publisher
from real_backend.config import BackendConfig
from real_backend.lag_log import LagLog
from real_backend.messages import NewPost
from real_backend.process import freeze_garbage, until_signalled
from real_backend.stores.procedures import COMMIT_LSN
from real_backend.telemetry import STEP_CODES, Telemetry, TelemetryFile, Trace

logger = logging.getLogger("real_backend.relay")

RELAY_POLL = STEP_CODES["relay.poll"]
RELAY_PUBLISH = STEP_CODES["relay.publish"]
BROKER_PUBLISH = STEP_CODES["broker.publish"]
DB_OUTBOX_READ = STEP_CODES["db.outbox_read"]
DB_OUTBOX_DELETE = STEP_CODES["db.outbox_delete"]

RETRY_S = 0.5
"""Pause after a round that failed because a server did not answer."""

# Most polls find nothing; those take no transaction.
_OUTBOX_PEEK = b"SELECT FROM outbox LIMIT 1"
# One round trip for both; the log position is read with the rows, hence lies behind their commits.
_OUTBOX_READ = """
    BEGIN;
    SELECT id, post_id, author_id, (extract(epoch FROM created_at) * 1000000)::bigint * 1000, {lsn}
    FROM outbox ORDER BY id LIMIT {limit} FOR UPDATE SKIP LOCKED"""


class Relay:
    """`round` moves one batch; `run` repeats it, with a pause after a batch that was not full."""

    def __init__(self, config: BackendConfig, publisher: Publisher, log: LagLog, telemetry: Telemetry) -> None:
        self._url = config.postgres_url
        self._interval_s = config.relay_interval_s
        self._batch_size = config.relay_batch_size
        self._publisher = publisher
        self._log = log
        self._telemetry = telemetry
        self._read = _OUTBOX_READ.format(lsn=COMMIT_LSN, limit=config.relay_batch_size).encode()

    async def round(self, connection: AsyncConnection[Any]) -> int:
        """Publish and delete one batch; how many messages it had. The connection commits by itself.

        Whatever it raises, close the connection: that gives the batch back.
        """
        trace = Trace(self._telemetry)
        trace.mark(RELAY_POLL)
        rows = await self._take(connection)
        trace.mark(DB_OUTBOX_READ, len(rows), "primary")
        if not rows:
            return 0
        messages = [
            NewPost(post=post, author=author, created_ns=created, lsn=lsn) for _, post, author, created, lsn in rows
        ]
        await self._publisher.publish(trace, RELAY_PUBLISH, messages)
        trace.mark(BROKER_PUBLISH, len(rows))
        published_ns = time.time_ns()
        done = ",".join(str(row[0]) for row in rows)
        await connection.execute(f"DELETE FROM outbox WHERE id IN ({done}); COMMIT".encode())
        trace.mark(DB_OUTBOX_DELETE, len(rows), "primary")
        # Only now: what could not be deleted will be published, and counted, again.
        for message in messages:
            self._log.add(published_ns, published_ns - message.created_ns)
        self._log.flush()
        return len(rows)

    async def _take(self, connection: AsyncConnection[Any]) -> list[tuple[int, int, int, int, int]]:
        """The oldest rows, locked in an open transaction; none, and no transaction, where there are none."""
        cursor = await connection.execute(_OUTBOX_PEEK, prepare=True)
        if not cursor.rowcount:
            return []
        await cursor.execute(self._read)
        cursor.nextset()
        rows = await cursor.fetchall()
        if not rows:
            await connection.execute("COMMIT")
        return rows

    async def run(self) -> None:
        """Until cancelled; a server that does not answer is tried again."""
        while True:
            try:
                async with await AsyncConnection.connect(self._url, autocommit=True) as connection:
                    while True:
                        if await self.round(connection) < self._batch_size:
                            await asyncio.sleep(self._interval_s)
            except Exception as error:
                logger.warning("the outbox waits: %s: %s", type(error).__name__, error)
                await asyncio.sleep(RETRY_S)


async def serve(config: BackendConfig) -> None:
    """Until SIGTERM or SIGINT."""
    telemetry = Telemetry("relay", len(config.standby_urls))
    with LagLog(config.runtime_path, "relay") as lags:
        async with open_publisher(config) as publisher:
            if config.freeze_gc:
                freeze_garbage(collecting=True)
            config.ready_file("relay").touch()
            relay = Relay(config, publisher, lags, telemetry)
            await until_signalled(relay.run(), TelemetryFile(telemetry, config.runtime_path).run())


def main() -> int:
    try:
        uvloop.run(serve(BackendConfig.load()))
    except FeedtwinError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
