"""When servers behind the API do not answer, clients get one clear answer; and what the telemetry counts on the way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from model.spec.seed_tables import SeedTables
from model.spec.steps import STEPS
from real_backend.api.app import Application
from real_backend.api.service import Service
from real_backend.config import BackendConfig
from real_backend.spans import SpanTrace, Tracing
from real_backend.stack import Stack
from real_backend.telemetry import LATENCY_BOUNDS_S, STEP_CODES, Telemetry, Trace, continued, outcome_of
from tests.real_backend.client import Client


async def _call(application: Application, method: str, path: str, document: object = None) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(document).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    await application(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_request_that_gets_no_connection_in_time_fails_clearly(stores: Stack, small_seed: SeedTables) -> None:
    stores.reset(small_seed)
    config = replace(stores.config, database_pool=1, request_timeout_s=0.2)

    async def run() -> list[tuple[int, Any]]:
        async with Service(config, "test") as service:
            application = Application(service)
            with psycopg.connect(config.postgres_url) as blocker:
                blocker.execute("LOCK TABLE posts IN SHARE MODE")
                posts = [{"id": 10**6 + i, "author": 1, "body": "x"} for i in range(2)]
                calls = [asyncio.create_task(_call(application, "POST", "/posts", post)) for post in posts]
                done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                assert len(done) == 1
            return [await call for call in calls]

    (first, second) = asyncio.run(run())
    assert first[0] == 200
    assert second[0] == 503
    assert second[1]["error"].startswith("a server behind the API does not answer")


def test_an_unreachable_standby_is_avoided(stores: Stack, small_seed: SeedTables) -> None:
    stores.reset(small_seed)

    async def run(config: BackendConfig) -> None:
        async with Service(config, "test") as service:
            assert service.replicas.choose(0) == 0
            service.replicas.known_replayed[0] = -1
            assert service.replicas.choose(0) == -1
            assert service.replicas.choose_replayed(0, 1) == -1
            assert service.telemetry.reads == [1, 2]

    asyncio.run(run(replace(stores.config, replica_poll_interval_s=3_600.0)))


def test_connections_that_redis_closed_are_replaced(stack: Stack, small_seed: SeedTables) -> None:
    client = Client(stack.urls.api[0])
    user = int(np.flatnonzero(small_seed.materialized)[0])
    before = client.get(f"/home/{user}").document
    for url in stack.urls.redis:
        with redis.Redis.from_url(url) as shard:
            shard.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    client.get("/healthz")
    assert client.get(f"/home/{user}").document == before
    client.close()


def test_counters_add_up_and_a_continued_step_is_no_further_visit() -> None:
    telemetry = Telemetry("test", 1)
    trace = Trace(telemetry)
    fill, store = STEP_CODES["api.home_timeline.fill"], STEP_CODES["redis.posts_store"]
    trace.mark(fill, 3)
    trace.mark(continued(fill))
    for items in (1, 2):
        trace.visit(store, items, "redis0")
    trace.resume()
    steps = telemetry.document()["steps"]
    assert {name: (step["visits"], step["items"]) for name, step in steps.items()} == {
        "api.home_timeline.fill": (1, 3), "redis.posts_store": (2, 3)
    }  # fmt: skip
    first, more = telemetry.steps[fill], telemetry.steps[continued(fill)]
    assert steps["api.home_timeline.fill"]["total_s"] == pytest.approx(first.total_s + more.total_s)
    assert telemetry.document()["reads"] == {"standby0": 0, "primary": 0}
    assert set(STEP_CODES) == set(STEPS)


def test_latencies_fall_into_their_buckets() -> None:
    counter = Telemetry("test", 0).requests[0]
    for latency_s, bucket in ((0.0001, 0), (0.0005, 0), (0.0006, 1), (10.0, len(LATENCY_BOUNDS_S) - 1), (11.0, -1)):
        before = list(counter.buckets)
        counter.add(200, latency_s)
        assert counter.buckets[bucket] == before[bucket] + 1
    assert sum(counter.buckets) == counter.statuses[200] == 5


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "ok"), (404, "missing"), (400, "rejected"), (413, "rejected"), (503, "failed")]
)
def test_outcomes(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome


def test_spans_beyond_the_limit_are_dropped_and_counted() -> None:
    tracing = Tracing(limit=2)
    trace = SpanTrace(Telemetry("test", 0), tracing, "profile")
    for _ in range(3):
        trace.mark(STEP_CODES["api.profile.receive"])
    trace.finish(200)
    assert len(tracing.store.drain()) == 2
    assert tracing.store.dropped == 2
    assert tracing.store.drain() == []
