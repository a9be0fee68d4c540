"""``python -m real_backend.relay``: moves new posts from the outbox table to the broker; nothing is lost on the way.

A batch is read under row locks that others skip, published, deleted and committed. A crash between publishing and the
commit leaves the rows, so that they are published again: duplicates are possible, losses are not, and delivery is
idempotent.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import Any

import uvloop
from psycopg import AsyncConnection

from model.spec.errors import FeedtwinError
from real_backend.broker import Publisher, open_publisher
from real_backend.config import BackendConfig
from real_backend.messages import NewPost
from real_backend.stores.procedures import COMMIT_LSN
from real_backend.telemetry import STEP_CODES, Telemetry, TelemetryFile, Trace

RELAY_POLL = STEP_CODES["relay.poll"]
RELAY_PUBLISH = STEP_CODES["relay.publish"]
BROKER_PUBLISH = STEP_CODES["broker.publish"]
DB_OUTBOX_READ = STEP_CODES["db.outbox_read"]
DB_OUTBOX_DELETE = STEP_CODES["db.outbox_delete"]

OUTBOX_READ = """
    BEGIN;
    SELECT id, post_id, author_id, (extract(epoch FROM created_at) * 1000000)::bigint * 1000, {lsn}
    FROM outbox ORDER BY id LIMIT {limit} FOR UPDATE SKIP LOCKED"""
"""One round trip for both; the log position is read with the rows, hence behind their commits."""


class Relay:
    """`round` moves one batch; `run` repeats it, with a pause after a batch that was not full."""

    def __init__(
        self, connection: AsyncConnection[Any], publisher: Publisher, *, interval_s: float, batch_size: int,
        telemetry: Telemetry,
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._interval_s = interval_s
        self._batch_size = batch_size
        self._telemetry = telemetry
        self._read = OUTBOX_READ.format(lsn=COMMIT_LSN, limit=batch_size).encode()

    async def round(self) -> int:
        """Publish and delete one batch; how many messages it had."""
        trace = Trace(self._telemetry)
        connection = self._connection
        cursor = connection.cursor()
        trace.mark(RELAY_POLL)
        await cursor.execute(self._read)
        cursor.nextset()
        rows = await cursor.fetchall()
        if not rows:
            await connection.execute("COMMIT")
            trace.mark(DB_OUTBOX_READ, 0, "primary")
            return 0
        trace.mark(DB_OUTBOX_READ, len(rows), "primary")
        messages = [NewPost(post=post, author=author, created_ns=created, lsn=lsn) for _, post, author, created, lsn in rows]
        sending = self._publisher.publish(messages)
        trace.mark(RELAY_PUBLISH, len(rows))
        await sending
        trace.mark(BROKER_PUBLISH, len(rows))
        done = ",".join(str(row[0]) for row in rows)
        await connection.execute(f"DELETE FROM outbox WHERE id IN ({done}); COMMIT".encode())
        trace.mark(DB_OUTBOX_DELETE, len(rows), "primary")
        return len(rows)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if await self.round() < self._batch_size:
                await asyncio.sleep(self._interval_s)


async def serve(config: BackendConfig) -> None:
    """Until SIGTERM or SIGINT."""
    telemetry = Telemetry("relay", len(config.standby_urls))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with await AsyncConnection.connect(config.postgres_url, autocommit=True) as connection:
        async with open_publisher(config) as publisher:
            relay = Relay(
                connection, publisher, interval_s=config.relay_interval_s, batch_size=config.relay_batch_size,
                telemetry=telemetry,
            )
            tasks = [
                asyncio.create_task(relay.run()),
                asyncio.create_task(TelemetryFile(telemetry, config.runtime_path).run()),
            ]
            config.ready_file("relay").touch()
            waiting = asyncio.create_task(stopped.wait())
            done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, waiting):
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def main() -> int:
    try:
        uvloop.run(serve(BackendConfig.load()))
    except FeedtwinError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
