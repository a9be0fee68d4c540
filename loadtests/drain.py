"""Waiting until everything that a load set off has come to its end."""

from __future__ import annotations

import time

import psycopg

from loadtests.gauges import ReplicaLagSource
from loadtests.queues import queue_of
from loadtests.telemetry import Documents, Reporter, read_all, visits
from real_backend.stack import Stack

DEADLINE_S = 60.0
_POLL_S = 0.1


def wait_until_drained(
    stack: Stack, reporters: list[Reporter], before: Documents, deadline_s: float = DEADLINE_S
) -> bool:
    """Wait until every committed post was fanned out and every standby has caught up; False at the deadline.

    A message counts as done by the workers' own counters, since a broker need not tell what is being worked on.
    """
    deadline = time.monotonic() + deadline_s
    queue = queue_of(stack.config)
    replicas = ReplicaLagSource(stack.urls.postgres, stack.urls.standbys)
    try:
        with psycopg.connect(stack.urls.postgres, autocommit=True) as primary:
            while True:
                row = primary.execute("SELECT count(*) FROM outbox").fetchone()
                if row is not None and not row[0] and not queue.length() and replicas.caught_up():
                    now = read_all([r for r in reporters if not r.url], stack.runtime_dir)
                    if _unfinished(before, now) <= 0:
                        return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_S)
    finally:
        queue.close()
        replicas.close()


def _unfinished(before: Documents, now: Documents) -> int:
    earlier = {name: before[name] for name in now}
    published = visits(now, "relay.publish", "items") - visits(earlier, "relay.publish", "items")
    return published - (visits(now, "worker.done") - visits(earlier, "worker.done"))
