"""Fan-out on write: one new post into its author's followers' timelines, or into the author's hot list."""

from __future__ import annotations

import asyncio
import time

from model.policy.fanout import is_pulled
from model.policy.routing import PRIMARY_SERVER
from real_backend.config import BackendConfig
from real_backend.lag_log import LagLog
from real_backend.messages import NewPost
from real_backend.stores.database import Database, pulled_from
from real_backend.stores.timelines import Timelines
from real_backend.telemetry import STEP_CODES, Telemetry, Trace

CONSUME = STEP_CODES["broker.consume"]
ACK = STEP_CODES["broker.ack"]
RECEIVE = STEP_CODES["worker.receive"]
BATCH = STEP_CODES["worker.batch"]
HOT = STEP_CODES["worker.hot"]
DONE = STEP_CODES["worker.done"]
FOLLOWERS_READ = STEP_CODES["db.followers_read"]


class FanOut:
    """`deliver` handles one message; the caller acknowledges it and then calls `acknowledged`."""

    def __init__(
        self, config: BackendConfig, database: Database, timelines: Timelines, log: LagLog, telemetry: Telemetry
    ) -> None:
        self._database = database
        self._timelines = timelines
        self._log = log
        self._telemetry = telemetry
        self._mode = config.fanout_code
        self._threshold = config.celebrity_threshold_followers
        self._pulled_from = pulled_from(self._mode, self._threshold)
        self._batch_size = config.worker_batch_size
        self._wait_per_batch_s = config.wait_per_batch_s
        self._standbys = len(config.standby_urls)
        self._messages = 0
        self._trace = Trace(telemetry)

    async def deliver(self, message: NewPost) -> None:
        """Idempotent: repeating it, whole or from any point on, changes nothing."""
        trace = self._trace = Trace(self._telemetry)
        trace.mark(CONSUME)
        server = self._messages % self._standbys if self._standbys else PRIMARY_SERVER
        self._messages += 1
        self._telemetry.reads[server] += 1
        count, followers = await self._database.followers(server, message.author, self._pulled_from)
        trace.mark(FOLLOWERS_READ, len(followers), f"standby{server}" if self._standbys else "primary")
        trace.mark(RECEIVE, len(followers))
        if is_pulled(self._mode, count, self._threshold):
            await self._timelines.push_hot(trace, HOT, message.post, message.lsn, message.author)
        else:
            for start in range(0, len(followers), self._batch_size):
                batch = followers[start : start + self._batch_size]
                pushed = await self._timelines.push(trace, BATCH, message.post, message.lsn, batch)
                now_ns = time.time_ns()
                if pushed.pushed:
                    self._log.add(now_ns, now_ns - message.created_ns, pushed.pushed)
                self._telemetry.count("deliveries", pushed.pushed)
                self._telemetry.count("deliveries_present", pushed.present)
                self._telemetry.count("deliveries_absent", pushed.absent)
                if self._wait_per_batch_s:
                    await asyncio.sleep(self._wait_per_batch_s)
                    trace.resume()
        self._log.flush()
        trace.mark(DONE)

    def acknowledged(self) -> None:
        self._trace.mark(ACK)
