"""Which servers answer: their own word, so that it holds for external ones too."""

from __future__ import annotations

from typing import Any

import psycopg
import redis

from real_backend.config import BackendConfig


def server_versions(config: BackendConfig) -> dict[str, str]:
    """Name and version of the database, the shards' server and, on Redis Streams, the broker's."""
    with psycopg.connect(config.postgres_url) as connection:
        versions = {"postgres": str(connection.info.parameter_status("server_version"))}
    versions["redis"] = _redis_version(config.redis_urls[0])
    if config.broker_kind == "redis_streams":
        versions["broker"] = _redis_version(config.broker_url)
    return versions


def _redis_version(url: str) -> str:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        info: Any = client.info("server")
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"
