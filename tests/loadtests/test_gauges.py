"""Gauges read from real servers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator

import psycopg
import pytest
import redis

from loadtests.gauges import HOST, CpuSource, GaugeSampler, OutboxSource, ReplicaLagSource, Sample
from loadtests.queues import StreamQueue
from model.runs import RunBuilder
from model.spec import Scenario
from model.spec.steps import Process
from real_backend.config import CONSUMER_GROUP, POST_CHANNEL
from real_backend.stack import Stack

SCENARIO = Scenario.load("baseline", {"platform.rig.quiet": "off"})


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(SCENARIO, stores_only=True) as running:
        yield running


def write(stack: Stack) -> None:
    with psycopg.connect(stack.urls.postgres) as primary:
        primary.execute("INSERT INTO outbox (post_id, author_id) VALUES (1, 1)")


def lags(source: ReplicaLagSource) -> dict[str, float]:
    return {sample.label: sample.value for sample in source.read(0.0)}


def wait_until_caught_up(source: ReplicaLagSource) -> None:
    deadline = time.monotonic() + 10
    while not source.caught_up():
        assert time.monotonic() < deadline


def test_replica_lag_follows_what_was_injected(stack: Stack) -> None:
    source = ReplicaLagSource(stack.urls.postgres, stack.urls.standbys)
    write(stack)
    wait_until_caught_up(source)
    assert lags(source) == {"standby0": 0.0, "standby1": 0.0}
    stack.faults.pause_standby(1)
    try:
        write(stack)
        first = lags(source)
        assert first["standby0"] < 0.02
        assert 0.02 <= first["standby1"] < 5
        began, seen = time.monotonic(), first["standby1"]
        while seen < first["standby1"] + 0.2:
            seen = lags(source)["standby1"]
            assert time.monotonic() < began + 10
        assert seen - first["standby1"] <= time.monotonic() - began + 0.001
    finally:
        stack.faults.resume_standby(1)
    wait_until_caught_up(source)
    source.close()


def test_the_outbox_is_counted(stack: Stack) -> None:
    source = OutboxSource(stack.urls.postgres)
    with psycopg.connect(stack.urls.postgres, autocommit=True) as primary:
        primary.execute("TRUNCATE outbox")
        write(stack)
        write(stack)
        assert list(source.read(0.0)) == [Sample("outbox_length", "", 2)]
        primary.execute("TRUNCATE outbox")
    source.close()


def test_a_stream_counts_what_no_worker_has_finished(stack: Stack) -> None:
    queue = StreamQueue(stack.urls.broker)
    assert queue.length() == 0
    with redis.Redis.from_url(stack.urls.broker) as broker:
        broker.xgroup_create(POST_CHANNEL, CONSUMER_GROUP, "$", mkstream=True)
        ids = [broker.xadd(POST_CHANNEL, {"post": i}) for i in range(5)]
        assert queue.length() == 5
        broker.xreadgroup(CONSUMER_GROUP, "worker0", {POST_CHANNEL: ">"}, count=2)
        assert queue.length() == 5
        broker.xack(POST_CHANNEL, CONSUMER_GROUP, *ids[:2])
        assert queue.length() == 3
        broker.xdel(POST_CHANNEL, ids[3])
        assert queue.length() == 2
        broker.xtrim(POST_CHANNEL, maxlen=0, approximate=False)
        assert queue.length() == 0
    queue.close()


def test_cpu_shares_add_up(stack: Stack) -> None:
    kinds = {info.name: info.kind for info in stack.processes}
    source = CpuSource(stack.sample, kinds, frozenset({Process.PRIMARY}))
    assert list(source.read(0.0)) == []
    with psycopg.connect(stack.urls.postgres) as primary:
        primary.execute("SELECT count(*) FROM generate_series(1, 1000000)")
    samples = list(source.read(1.0))
    shares = {sample.label: sample.value for sample in samples if sample.gauge == "utilisation"}
    wakes = {sample.label: sample.value for sample in samples if sample.gauge == "wakes_per_s"}
    assert wakes["primary"] > 0
    several = {name for name, kind in kinds.items() if list(kinds.values()).count(kind) > 1}
    assert several == {"redis0", "redis1", "redis2", "standby0", "standby1"}
    assert set(shares) == {kind.value for kind in kinds.values()} | several | {HOST}
    assert shares["redis"] == pytest.approx(shares["redis0"] + shares["redis1"] + shares["redis2"])
    assert 0.05 < shares["primary"] <= 1.5
    assert shares[HOST] == pytest.approx(shares["primary"])


class Counting:
    def __init__(self, fail_at: int = 0) -> None:
        self.reads = 0
        self.fail_at = fail_at
        self.closed = False
        self.enough = threading.Event()

    def read(self, now_s: float) -> Iterable[Sample]:
        self.reads += 1
        if self.reads == self.fail_at:
            self.enough.set()
            raise RuntimeError("the server is gone")
        if self.reads == 5:
            self.enough.set()
        return [Sample("replica_lag_s", "standby0", 0.25)]

    def close(self) -> None:
        self.closed = True


def test_the_sampler_keeps_its_rhythm_and_fills_a_run() -> None:
    source = Counting()
    with GaugeSampler([source], interval_s=0.02) as sampler:
        sampler.begin(time.monotonic_ns() + 50_000_000)
        assert source.enough.wait(5)
    assert source.closed
    times = [time_s for time_s, _ in sampler.samples()]
    assert times[0] >= 0
    assert all(later - earlier > 0 for earlier, later in itertools.pairwise(times))
    builder = RunBuilder(SCENARIO, "real")
    sampler.add_to(builder)
    run = builder.build({})
    assert run.gauge("replica_lag_s", "standby0").height == len(times)
    assert run.lag("replica", "standby0", scored=False).n == len(times)


def test_an_error_of_a_source_ends_the_measurement() -> None:
    source = Counting(fail_at=2)
    sampler = GaugeSampler([source], interval_s=0.01)
    sampler.begin(time.monotonic_ns())
    assert source.enough.wait(5)
    with pytest.raises(RuntimeError, match="the server is gone"):
        sampler.__exit__()
