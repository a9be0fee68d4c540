"""Servers that already run, named by URLs in the environment, instead of embedded ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from model.spec.errors import InputError, MachineError
from model.spec.scenario import Platform
from real_backend.stack.postgres import apply_schema

POSTGRES_VARIABLE = "FEEDTWIN_POSTGRES_URL"
STANDBYS_VARIABLE = "FEEDTWIN_STANDBY_URLS"
REDIS_VARIABLE = "FEEDTWIN_REDIS_URLS"
BROKER_VARIABLE = "FEEDTWIN_BROKER_URL"
RABBITMQ_VARIABLE = "FEEDTWIN_RABBITMQ_URL"
OWNER_KEY = "feedtwin:owner"
OWNER_MARK = "feedtwin"


@dataclass(frozen=True, slots=True)
class ExternalServers:
    """URLs from the environment; None where the stack starts its own."""

    postgres: str | None
    standbys: tuple[str, ...]
    redis: tuple[str, ...] | None
    broker: str | None

    @classmethod
    def from_environment(cls, platform: Platform, environment: Mapping[str, str] = os.environ) -> ExternalServers:
        """Read the variables. Raises InputError where their number does not fit the scenario."""
        postgres = environment.get(POSTGRES_VARIABLE) or None
        standbys = _split(environment.get(STANDBYS_VARIABLE, ""))
        shards = _split(environment.get(REDIS_VARIABLE, ""))
        if standbys and postgres is None:
            raise InputError(f"{STANDBYS_VARIABLE} is set but {POSTGRES_VARIABLE} is not; set both or neither")
        if postgres is not None and len(standbys) != platform.postgres.standbys:
            raise InputError(
                f"{STANDBYS_VARIABLE} names {len(standbys)} servers; "
                f"platform.postgres.standbys is {platform.postgres.standbys}"
            )
        if shards and len(shards) != platform.redis.shards:
            raise InputError(
                f"{REDIS_VARIABLE} names {len(shards)} servers; platform.redis.shards is {platform.redis.shards}"
            )
        broker = environment.get(RABBITMQ_VARIABLE if platform.broker.kind == "rabbitmq" else BROKER_VARIABLE)
        return cls(postgres, standbys, shards or None, broker or None)


def claim_postgres(url: str, schema: Path) -> None:
    """Create the schema in an external database, or recognise ours.

    Raises MachineError rather than touch tables of others.
    """
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            row = connection.execute(
                "SELECT t, obj_description(t, 'pg_class') FROM to_regclass('users') AS t"
            ).fetchone()
            assert row is not None
            table, mark = row
            if table is not None and mark != OWNER_MARK:
                raise MachineError(
                    f"{POSTGRES_VARIABLE}: the database has a table 'users' that is not feedtwin's; name an empty one"
                )
            if table is None:
                apply_schema(url, schema)
                connection.execute(f"COMMENT ON TABLE users IS '{OWNER_MARK}'".encode())
    except psycopg.Error as error:
        raise MachineError(f"{POSTGRES_VARIABLE}: {_first_line(error)}") from None


def claim_redis(url: str, variable: str) -> None:
    """Make sure that the external Redis database that `variable` names is empty or ours.

    Raises MachineError rather than flush data of others.
    """
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5) as client:
            if client.dbsize() and not client.exists(OWNER_KEY):
                raise MachineError(f"{variable}: {url} holds keys that are not feedtwin's; name an empty database")
            client.set(OWNER_KEY, OWNER_MARK)
    except redis.exceptions.RedisError as error:
        raise MachineError(f"{variable}: {url}: {_first_line(error)}") from None


def flush(client: redis.Redis) -> None:
    """Drop all keys of a Redis database, but not the mark that an external one is ours."""
    owner = client.get(OWNER_KEY)
    client.flushdb()
    if owner is not None:
        client.set(OWNER_KEY, OWNER_MARK)


def _split(urls: str) -> tuple[str, ...]:
    return tuple(url for url in urls.replace(",", " ").split() if url)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
