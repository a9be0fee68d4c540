"""The stores as they run: pinned settings, streaming standbys, loopback only, everything in the runtime folder."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from model.spec import Scenario
from model.spec.steps import Process
from real_backend.stack import Stack


def _show(url: str, setting: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
        assert row is not None
        return str(row[0])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "local"),
        ("shared_buffers", "32MB"),
        ("checkpoint_timeout", "15min"),
        ("max_wal_size", "2GB"),
        ("autovacuum", "off"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
    ],
)
def test_every_server_has_the_scenarios_settings(stores: Stack, setting: str, expected: str) -> None:
    for url in (stores.urls.postgres, *stores.urls.standbys):
        assert _show(url, setting) == expected


def test_standbys_stream_under_their_names(stores: Stack) -> None:
    with psycopg.connect(stores.urls.postgres) as connection:
        rows = connection.execute("SELECT application_name, state FROM pg_stat_replication").fetchall()
    assert rows == [("standby0", "streaming")]


def test_connections_suffice_for_every_pool(stores: Stack) -> None:
    api = stores.scenario.platform.api
    assert int(_show(stores.urls.postgres, "max_connections")) >= api.processes * api.database_pool + 20


def test_shards_evict_by_bytes_and_never_persist(stores: Stack) -> None:
    for url in stores.urls.redis:
        with redis.Redis.from_url(url, decode_responses=True) as client:
            settings = client.config_get("maxmemory", "maxmemory-policy", "save", "appendonly")
        assert settings == {
            "maxmemory": str(256 * 2**20),
            "maxmemory-policy": "allkeys-lru",
            "save": "",
            "appendonly": "no",
        }


def test_the_broker_never_evicts(stores: Stack) -> None:
    with redis.Redis.from_url(stores.urls.broker, decode_responses=True) as client:
        assert client.config_get("maxmemory") == {"maxmemory": "0"}


def test_everything_listens_on_loopback_only(stores: Stack) -> None:
    listening = [
        connection.laddr
        for process in stores.processes
        for pid in process.pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= len(stores.processes)
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_processes_have_names_kinds_and_children(stores: Stack) -> None:
    by_name = {process.name: process for process in stores.processes}
    assert sorted(by_name) == ["broker", "primary", "redis0", "redis1", "standby0"]
    assert by_name["standby0"].kind is Process.STANDBY
    assert len(by_name["primary"].pids) > 1
    assert len(by_name["redis0"].pids) == 1


def test_versions_are_the_servers_own(stores: Stack) -> None:
    versions = stores.versions()
    assert versions["postgres"].startswith("18.")
    assert versions["redis"] == versions["broker"]
    assert versions["redis"].startswith("valkey 9.")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's servers run as that user")
def test_for_root_the_servers_run_as_nobody(stores: Stack) -> None:
    assert {psutil.Process(pid).username() for process in stores.processes for pid in process.pids} == {"nobody"}


def test_a_commit_waits_for_a_standby_where_the_scenario_says_so(small_scenario: Scenario) -> None:
    scenario = small_scenario.with_(platform__postgres__synchronous_commit="remote_apply", platform__redis__shards=1)
    with Stack(scenario, stores_only=True) as stores, psycopg.connect(stores.urls.postgres, autocommit=True) as primary:
        primary.execute("INSERT INTO users (id, handle) VALUES (1, 'ann')")
        with psycopg.connect(stores.urls.standbys[0]) as standby:
            assert standby.execute("SELECT handle FROM users").fetchall() == [("ann",)]


def test_without_standbys_and_with_unreachable_binaries(
    small_scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = Path(psycopg.__file__).parents[1]

    def outside_packages(path: Path) -> bool:
        return packages not in path.parents

    monkeypatch.setattr("real_backend.stack.postgres.traversable", outside_packages)
    monkeypatch.setattr("real_backend.stack.valkey.traversable", outside_packages)
    scenario = small_scenario.with_(platform__postgres__standbys=0, platform__redis__shards=1)
    with Stack(scenario, stores_only=True) as stores:
        assert stores.urls.standbys == ()
        binary = psutil.Process(stores.processes[0].pids[0]).exe()
        assert binary.startswith(str(stores.runtime_dir))
        with psycopg.connect(stores.urls.postgres) as connection:
            assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)
