"""From POST /posts to the followers' timelines through outbox, relay, broker and workers, crashes included."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import psycopg
import pytest
import redis

from model.spec import Scenario
from model.spec.seed_tables import SeedTables
from real_backend.audit import AuditResult, audit
from real_backend.broker import open_publisher
from real_backend.config import CONFIG_VARIABLE, CONSUMER_GROUP, POST_CHANNEL, BackendConfig
from real_backend.lag_log import RECORD, lag_path
from real_backend.messages import NewPost
from real_backend.stack import Stack
from real_backend.stack.rabbitmq import SERVER_SCRIPT
from real_backend.telemetry import Telemetry, Trace, telemetry_path
from tests.real_backend.client import Client
from tests.real_backend.polling import eventually

ROOT = Path(__file__).resolve().parents[2]
POSTS = 30
DRAIN_S = 30.0


def _audit(config: BackendConfig, seed: SeedTables) -> AuditResult:
    return audit(config.postgres_url, config.redis_urls, config, since_post_id=seed.posts)


def _create(url: str, seed: SeedTables) -> dict[int, int]:
    """Create posts by authors in turn, every third one by a pulled author; author by id."""
    pulled = np.flatnonzero(seed.hot).tolist()
    first = seed.posts + 1
    authors = {first + i: pulled[i % len(pulled)] if i % 3 == 0 else i for i in range(POSTS)}
    client = Client(url)
    for post, author in authors.items():
        assert client.post("/posts", {"id": post, "author": author, "body": "x"}).status == 200
    client.close()
    return authors


def _outbox(config: BackendConfig) -> int:
    with psycopg.connect(config.postgres_url) as connection:
        row = connection.execute("SELECT count(*) FROM outbox").fetchone()
    assert row is not None
    return int(row[0])


def _queued(config: BackendConfig) -> int:
    with redis.Redis.from_url(config.broker_url) as client:
        return int(client.xlen(POST_CHANNEL))


def _drained(config: BackendConfig) -> None:
    eventually(lambda: _outbox(config) == 0 and _queued(config) == 0, "outbox and queue are empty", DRAIN_S)


def test_every_post_reaches_every_stored_timeline_once(stack: Stack, small_seed: SeedTables) -> None:
    stack.reset(small_seed)
    config = stack.config
    logs = [lag_path(config.runtime_path, name) for name in ("relay", "worker0")]
    before = [log.stat().st_size for log in logs]
    _create(stack.urls.api[0], small_seed)
    _drained(config)
    result = _audit(config, small_seed)
    assert result.posts_created == POSTS
    assert result.deliveries_expected > 0
    assert result.complete, result
    handed_over, delivered = (
        list(RECORD.iter_unpack(log.read_bytes()[size:])) for log, size in zip(logs, before, strict=True)
    )
    assert sum(posts for _, _, posts in handed_over) == POSTS
    assert sum(timelines for _, _, timelines in delivered) == result.deliveries_seen
    assert all(0 < lag_ns < DRAIN_S * 1e9 for _, lag_ns, _ in handed_over + delivered)
    with redis.Redis.from_url(config.broker_url) as client:
        assert client.xpending(POST_CHANNEL, CONSUMER_GROUP)["pending"] == 0


def test_messages_that_come_again_change_nothing(stack: Stack, small_seed: SeedTables) -> None:
    stack.reset(small_seed)
    config = stack.config
    authors = _create(stack.urls.api[0], small_seed)
    _drained(config)
    first = _audit(config, small_seed)

    async def publish_again() -> None:
        async with open_publisher(config) as publisher:
            messages = [NewPost(post=post, author=author, created_ns=1, lsn=1) for post, author in authors.items()]
            await publisher.publish(Trace(Telemetry("test", 0)), 0, messages)

    asyncio.run(publish_again())
    _drained(config)
    assert _audit(config, small_seed) == first
    assert first.complete


def test_relay_and_worker_write_their_telemetry_when_told(stack: Stack, small_seed: SeedTables) -> None:
    stack.reset(small_seed)
    _create(stack.urls.api[0], small_seed)
    _drained(stack.config)
    pids = {process.name: process.pids[0] for process in stack.processes}
    relay, worker = _visits(stack, "relay", pids["relay"]), _visits(stack, "worker0", pids["worker0"])
    assert relay["relay.publish"] == relay["broker.publish"] == relay["db.outbox_delete"] <= relay["db.outbox_read"]
    messages = worker["broker.consume"]
    assert messages >= POSTS
    for step in ("db.followers_read", "worker.receive", "worker.done", "broker.ack"):
        assert worker[step] == messages
    assert worker["redis.hot_post_push"] == worker["worker.hot"] >= POSTS // 3
    assert worker["redis.timeline_push"] >= worker["worker.batch"] > 0


def _visits(stack: Stack, name: str, pid: int) -> dict[str, int]:
    path = telemetry_path(stack.runtime_dir, name)
    asked_ns = time.time_ns()
    os.kill(pid, signal.SIGUSR1)
    eventually(lambda: path.exists() and json.loads(path.read_text())["time_ns"] > asked_ns, f"{path} is written")
    document = json.loads(path.read_text())
    assert (document["name"], document["pid"]) == (name, pid)
    return {step: totals["visits"] for step, totals in document["steps"].items()}


class Processes:
    """Backend processes started by hand on the stores of a stack, so that they can be killed."""

    def __init__(self, stores: Stack, **changes: object) -> None:
        self.config = replace(stores.config, **changes)  # type: ignore[arg-type]
        self._file = stores.runtime_dir / "by-hand.json"
        self.config.save(self._file)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, *arguments: str, ready: str = "") -> subprocess.Popen[bytes]:
        if ready:
            self.config.ready_file(ready).unlink(missing_ok=True)
        environment = {**os.environ, CONFIG_VARIABLE: str(self._file), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
        self._running.append(process)
        if ready:
            eventually(self.config.ready_file(ready).exists, f"{ready} is ready", DRAIN_S)
        return process

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._running:
            process.wait(timeout=20)


@pytest.fixture
def by_hand(stores: Stack, small_seed: SeedTables) -> Iterator[Processes]:
    stores.reset(small_seed)
    processes = Processes(stores, worker_batch_size=4, wait_per_batch_s=0.02)
    yield processes
    processes.stop()


def _insert(config: BackendConfig, seed: SeedTables, posts: int, authors: Sequence[int]) -> None:
    """Posts with their outbox rows, as the API's transaction makes them."""
    with psycopg.connect(config.postgres_url) as connection:
        for i in range(posts):
            values = (seed.posts + 1 + i, authors[i % len(authors)])
            connection.execute("INSERT INTO posts (id, author_id, body) VALUES (%s, %s, 'x')", values)
            connection.execute("INSERT INTO outbox (post_id, author_id) VALUES (%s, %s)", values)


def test_a_relay_killed_between_publishing_and_deleting_loses_nothing(
    stores: Stack, small_seed: SeedTables, by_hand: Processes
) -> None:
    config = by_hand.config
    authors = [author for author in range(small_seed.users) if not small_seed.hot[author]]
    _insert(config, small_seed, POSTS, authors)
    with psycopg.connect(config.postgres_url) as blocker:
        # Row locks for reading are compatible with this lock, the deletion is not.
        blocker.execute("LOCK TABLE outbox IN SHARE MODE")
        relay = by_hand.start("real_backend.relay", ready="relay")
        eventually(lambda: _queued(config) == POSTS, "all posts are published", DRAIN_S)
        relay.kill()
        relay.wait()
        # The server has the deletion already; that it never came is the case to test.
        blocker.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DELETE FROM outbox%'")
    assert _outbox(config) == POSTS
    by_hand.start("real_backend.relay", ready="relay")
    eventually(lambda: _outbox(config) == 0, "the outbox is empty", DRAIN_S)
    assert _queued(config) == 2 * POSTS
    by_hand.start("real_backend.workers", "--index", "0", ready="worker0")
    _drained(config)
    result = _audit(config, small_seed)
    assert result.posts_created == POSTS
    assert result.complete, result


def test_a_worker_killed_amid_a_message_has_it_finished_by_another(
    stores: Stack, small_seed: SeedTables, by_hand: Processes
) -> None:
    config = by_hand.config
    counts = small_seed.follower_offsets[1:] - small_seed.follower_offsets[:-1]
    author = max((a for a in range(small_seed.users) if not small_seed.hot[a]), key=lambda a: int(counts[a]))
    assert counts[author] >= 10, "the message must take several batches"
    _insert(config, small_seed, 3, [author])
    first = by_hand.start("real_backend.workers", "--index", "0", ready="worker0")
    by_hand.start("real_backend.relay", ready="relay")
    eventually(lambda: _audit(config, small_seed).deliveries_seen > 0, "the first batch has arrived", DRAIN_S)
    first.kill()
    first.wait()
    eventually(lambda: _outbox(config) == 0, "the outbox is empty", DRAIN_S)
    assert not _audit(config, small_seed).complete
    by_hand.start("real_backend.workers", "--index", "1", ready="worker1")
    _drained(config)
    result = _audit(config, small_seed)
    assert result.posts_created == 3
    assert result.complete, result


def test_a_worker_stopped_amid_a_message_neither_loses_nor_repeats_when_it_goes_on(
    stores: Stack, small_seed: SeedTables, by_hand: Processes
) -> None:
    config = by_hand.config
    authors = [author for author in range(small_seed.users) if not small_seed.hot[author]]
    stopped = by_hand.start("real_backend.workers", "--index", "0", ready="worker0")
    by_hand.start("real_backend.workers", "--index", "1", ready="worker1")
    _insert(config, small_seed, POSTS, authors)
    by_hand.start("real_backend.relay", ready="relay")
    eventually(lambda: _audit(config, small_seed).deliveries_seen > 0, "the first batch has arrived", DRAIN_S)
    stopped.send_signal(signal.SIGSTOP)
    eventually(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED, "the worker has stopped")
    _drained(config)
    stopped.send_signal(signal.SIGCONT)
    eventually(lambda: psutil.Process(stopped.pid).status() != psutil.STATUS_STOPPED, "the worker goes on")
    _insert_one_more(config, small_seed, authors[0])
    _drained(config)
    result = _audit(config, small_seed)
    assert result.posts_created == POSTS + 1
    assert result.complete, result


def _insert_one_more(config: BackendConfig, seed: SeedTables, author: int) -> None:
    with psycopg.connect(config.postgres_url) as connection:
        values = (seed.posts + 1 + POSTS, author)
        connection.execute("INSERT INTO posts (id, author_id, body) VALUES (%s, %s, 'x')", values)
        connection.execute("INSERT INTO outbox (post_id, author_id) VALUES (%s, %s)", values)


@pytest.mark.skipif(not SERVER_SCRIPT.exists(), reason="RabbitMQ is not installed")
def test_the_same_subscriber_delivers_through_rabbitmq(small_scenario: Scenario, small_seed: SeedTables) -> None:
    with Stack(small_scenario.with_(platform__broker__kind="rabbitmq")) as stack:
        stack.seed(small_seed)
        _create(stack.urls.api[0], small_seed)
        eventually(
            lambda: _outbox(stack.config) == 0 and _audit(stack.config, small_seed).complete, "everything delivered"
        )
        result = _audit(stack.config, small_seed)
        assert result.posts_created == POSTS
        assert result.deliveries_seen > 0
