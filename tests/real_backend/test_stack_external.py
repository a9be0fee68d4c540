"""Servers that already run: named by the environment, used, never emptied of what is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg
import pytest
import redis

from model.spec import InputError, MachineError, Scenario
from model.spec.seed_tables import SeedTables
from real_backend.stack import Stack
from real_backend.stack.external import ExternalServers

PLATFORM = Scenario.load("baseline", {"platform.redis.shards": 2, "platform.postgres.standbys": 1}).platform
POSTGRES = {"FEEDTWIN_POSTGRES_URL": "postgresql://p", "FEEDTWIN_STANDBY_URLS": "postgresql://s"}


@pytest.fixture(scope="module")
def servers(small_scenario: Scenario) -> Iterator[Stack]:
    """Empty servers that somebody else has started."""
    with Stack(small_scenario, stores_only=True) as running:
        with psycopg.connect(running.urls.postgres, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        yield running


def _environment(servers: Stack) -> dict[str, str]:
    return {
        "FEEDTWIN_POSTGRES_URL": servers.urls.postgres,
        "FEEDTWIN_STANDBY_URLS": ", ".join(servers.urls.standbys),
        "FEEDTWIN_REDIS_URLS": " ".join(servers.urls.redis),
        "FEEDTWIN_BROKER_URL": servers.urls.broker,
    }


def test_the_environment_is_read() -> None:
    external = ExternalServers.from_environment(
        PLATFORM, {**POSTGRES, "FEEDTWIN_REDIS_URLS": "redis://a,redis://b", "FEEDTWIN_BROKER_URL": "redis://c"}
    )
    assert external.postgres == "postgresql://p"
    assert external.standbys == ("postgresql://s",)
    assert external.redis == ("redis://a", "redis://b")
    assert external.broker == "redis://c"


def test_nothing_set_means_all_embedded() -> None:
    assert ExternalServers.from_environment(PLATFORM, {}) == ExternalServers(None, (), None, None)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FEEDTWIN_STANDBY_URLS": "postgresql://s"}, "FEEDTWIN_POSTGRES_URL is not"),
        ({"FEEDTWIN_POSTGRES_URL": "postgresql://p"}, r"names 0 servers; platform\.postgres\.standbys is 1"),
        ({"FEEDTWIN_REDIS_URLS": "redis://a"}, r"names 1 servers; platform\.redis\.shards is 2"),
    ],
)
def test_numbers_that_do_not_fit_the_scenario_are_refused(environment: Mapping[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExternalServers.from_environment(PLATFORM, environment)


def test_a_stack_on_external_servers(
    servers: Stack, small_scenario: Scenario, small_seed: SeedTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in _environment(servers).items():
        monkeypatch.setenv(name, value)
    # Twice: the second time it recognises what it made.
    for _ in range(2):
        with Stack(small_scenario, stores_only=True) as stack:
            stack.seed(small_seed)
            assert stack.processes == []
            with psycopg.connect(stack.urls.standbys[0]) as standby:
                assert standby.execute("SELECT count(*) FROM users").fetchone() == (small_seed.users,)
    servers.check()


def test_tables_of_others_are_not_touched(
    servers: Stack, small_scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(servers.urls.postgres, autocommit=True) as connection:
        connection.execute("COMMENT ON TABLE users IS NULL") if _has_users(connection) else connection.execute(
            "CREATE TABLE users (id integer)"
        )
    monkeypatch.setenv("FEEDTWIN_POSTGRES_URL", servers.urls.postgres)
    monkeypatch.setenv("FEEDTWIN_STANDBY_URLS", servers.urls.standbys[0])
    with pytest.raises(MachineError, match="'users' that is not feedtwin's"):
        Stack(small_scenario, stores_only=True).start()


def test_keys_of_others_are_not_flushed(
    servers: Stack, small_scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDTWIN_REDIS_URLS", ",".join(servers.urls.redis))
    with redis.Redis.from_url(servers.urls.redis[1]) as client:
        client.flushdb()
        client.set("precious", 1)
        with pytest.raises(MachineError, match=r"FEEDTWIN_REDIS_URLS: .* holds keys that are not feedtwin's"):
            Stack(small_scenario, stores_only=True).start()
        assert client.get("precious") == b"1"


def test_a_server_that_is_not_there_is_named(small_scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDTWIN_REDIS_URLS", "redis://127.0.0.1:1,redis://127.0.0.1:1")
    with pytest.raises(MachineError, match=r"FEEDTWIN_REDIS_URLS: redis://127\.0\.0\.1:1: .*refused"):
        Stack(small_scenario, stores_only=True).start()


def _has_users(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    return connection.execute("SELECT to_regclass('users')").fetchone() != (None,)
