"""Each fault takes effect, and is undone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import psutil
import psycopg
import pytest
import redis

from model.spec import MachineError
from model.spec.scenario import Fault, FaultKind
from model.spec.steps import Process
from real_backend.stack import Stack
from real_backend.stack.faults import Faults
from real_backend.stack.runtime import RuntimeFolder
from tests.real_backend.polling import eventually

POSTS = itertools.count(10_000_000)


@pytest.fixture
def faults(stores: Stack) -> Iterator[Faults]:
    yield stores.faults
    stores.faults.clear()


def _write(stores: Stack) -> int:
    post = next(POSTS)
    with psycopg.connect(stores.urls.postgres) as primary:
        primary.execute("INSERT INTO posts (id, author_id, body) VALUES (%s, 1, '')", (post,))
    return post


def _visible(stores: Stack, post: int) -> bool:
    with psycopg.connect(stores.urls.standbys[0]) as standby:
        return standby.execute("SELECT FROM posts WHERE id = %s", (post,)).fetchone() is not None


def test_a_delayed_standby_shows_each_commit_that_much_later(stores: Stack, faults: Faults) -> None:
    fault = Fault(kind=FaultKind.STANDBY_DELAY, at_s=0, duration_s=1, value=0.4)
    faults.inject(fault)
    began = time.monotonic()
    post = _write(stores)
    eventually(lambda: _visible(stores, post), "the delayed commit is visible")
    assert time.monotonic() - began >= 0.4
    faults.undo(fault)
    post = _write(stores)
    eventually(lambda: _visible(stores, post), "without the fault it is visible soon", deadline_s=0.35)


def test_a_long_delay_ends_when_it_is_undone(stores: Stack, faults: Faults) -> None:
    fault = Fault(kind=FaultKind.STANDBY_DELAY, at_s=0, duration_s=1, value=3600)
    faults.inject(fault)
    post = _write(stores)
    faults.clear()
    eventually(lambda: _visible(stores, post), "the commit is replayed")


def test_a_paused_standby_stands_still_until_resumed(stores: Stack, faults: Faults) -> None:
    fault = Fault(kind=FaultKind.STANDBY_PAUSE, at_s=0, duration_s=1)
    faults.inject(fault)
    post = _write(stores)
    with psycopg.connect(stores.urls.postgres, autocommit=True) as primary:
        eventually(
            lambda: (
                primary.execute("SELECT flush_lsn = pg_current_wal_flush_lsn() FROM pg_stat_replication").fetchone()
                == (True,)
            ),
            "the standby has received the commit",
        )
    assert not _visible(stores, post)
    faults.clear()
    eventually(lambda: _visible(stores, post), "the commit is replayed")


def test_a_flushed_shard_is_empty_and_the_others_are_not(stores: Stack, faults: Faults) -> None:
    for url in stores.urls.redis:
        with redis.Redis.from_url(url) as client:
            client.set("something", 1)
    fault = Fault(kind=FaultKind.CACHE_FLUSH, at_s=0, target=1)
    faults.inject(fault)
    faults.undo(fault)
    sizes = []
    for url in stores.urls.redis:
        with redis.Redis.from_url(url) as client:
            sizes.append(client.dbsize())
            client.delete("something")
    assert sizes[1] == 0 < sizes[0]


def test_a_paused_worker_is_stopped_and_goes_on(stores: Stack) -> None:
    runtime = RuntimeFolder()
    try:
        environment = {"PATH": "/usr/bin:/bin"}
        worker = runtime.launch(Process.WORKER, "worker0", ["sleep", "60"], environment=environment)
        faults = Faults(stores.config, [worker])
        fault = Fault(kind=FaultKind.WORKER_PAUSE, at_s=0, duration_s=1)
        process = psutil.Process(worker.pid)
        faults.inject(fault)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, "it is stopped")
        faults.undo(fault)
        eventually(lambda: process.status() == psutil.STATUS_SLEEPING, "it goes on")
    finally:
        runtime.close()


def test_a_suspended_stack_stops_and_goes_on(stores: Stack) -> None:
    pids = [pid for process in stores.processes for pid in process.pids]
    stores.suspend()
    try:
        eventually(lambda: {psutil.Process(pid).status() for pid in pids} == {"stopped"}, "all are stopped")
    finally:
        stores.resume()
    post = _write(stores)
    eventually(lambda: _visible(stores, post), "writes reach the standby again")


def test_a_fault_that_the_server_refuses_is_named(stores: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(stores.config, [])
    monkeypatch.setattr(faults, "_config", _with_standby(stores, stores.urls.postgres))
    with pytest.raises(MachineError, match="fault on standby0: recovery is not in progress"):
        faults.pause_standby(0)


def _with_standby(stores: Stack, url: str) -> object:
    import dataclasses

    return dataclasses.replace(stores.config, standby_urls=(url,))
