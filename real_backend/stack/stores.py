"""The stores and the broker of a scenario: what they are called, where they listen, and their start in parallel."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.spec.scenario import Platform
from model.spec.steps import Process
from real_backend.stack import postgres, rabbitmq
from real_backend.stack.external import BROKER_VARIABLE, REDIS_VARIABLE, ExternalServers, claim_postgres, claim_redis
from real_backend.stack.ports import LOOPBACK
from real_backend.stack.runtime import RuntimeFolder, Server, StartCancelledError
from real_backend.stack.valkey import redis_url, start_valkeys


@dataclass(frozen=True, slots=True)
class StackUrls:
    """Where everything listens; positions are the numbers of API processes, shards and standbys."""

    api: tuple[str, ...]
    redis: tuple[str, ...]
    postgres: str
    standbys: tuple[str, ...]
    broker: str

    @classmethod
    def of(cls, platform: Platform, external: ExternalServers, ports: Mapping[str, int]) -> StackUrls:
        """The URLs of external servers where given, else those of our own on `ports`."""
        own_broker = rabbitmq.rabbitmq_url if platform.broker.kind == "rabbitmq" else redis_url
        own_standbys = [name for name in postgres_names(platform) if name != "primary" and external.postgres is None]
        return cls(
            api=tuple(f"http://{LOOPBACK}:{ports[name]}" for name in api_names(platform) if name in ports),
            redis=external.redis or tuple(redis_url(ports[name]) for name in redis_names(platform)),
            postgres=external.postgres or postgres.postgres_url(ports["primary"]),
            standbys=external.standbys or tuple(postgres.postgres_url(ports[name]) for name in own_standbys),
            broker=external.broker or own_broker(ports["broker"]),
        )


def api_names(platform: Platform) -> list[str]:
    return [f"api{i}" for i in range(platform.api.processes)]


def redis_names(platform: Platform) -> list[str]:
    return [f"redis{i}" for i in range(platform.redis.shards)]


def postgres_names(platform: Platform) -> list[str]:
    return ["primary", *(postgres.standby_name(i) for i in range(platform.postgres.standbys))]


def listening_names(platform: Platform, external: ExternalServers) -> list[str]:
    """Names of the stores and the broker that need a port of ours."""
    names = []
    if external.postgres is None:
        names += postgres_names(platform)
    if external.redis is None:
        names += redis_names(platform)
    if external.broker is None:
        names += ["broker", *(rabbitmq.FURTHER_PORTS if platform.broker.kind == "rabbitmq" else ())]
    return names


def start_stores(
    runtime: RuntimeFolder,
    platform: Platform,
    external: ExternalServers,
    ports: Mapping[str, int],
    urls: StackUrls,
    *,
    schema: Path,
) -> list[Server]:
    """Start every store and the broker at once; returns our own servers, all of them serving, `schema` in place."""

    def start_postgres() -> list[Server]:
        if external.postgres is not None:
            claim_postgres(external.postgres, schema)
            return []
        connections = postgres.connections_needed(
            api_processes=platform.api.processes, pool=platform.api.database_pool, workers=platform.workers.processes
        )
        servers = postgres.start_postgres(runtime, platform.postgres, ports, max_connections=connections)
        postgres.apply_schema(urls.postgres, schema)
        postgres.await_streaming(runtime, urls.postgres, platform.postgres.standbys)
        postgres.require_standby_on_commit(urls.postgres, platform.postgres)
        return servers

    def start_redis() -> list[Server]:
        if external.redis is not None:
            for url in external.redis:
                claim_redis(url, REDIS_VARIABLE)
            return []
        shards = {name: ports[name] for name in redis_names(platform)}
        return start_valkeys(runtime, Process.REDIS, shards, maxmemory_mb=platform.redis.maxmemory_mb)

    def start_broker() -> list[Server]:
        if platform.broker.kind == "rabbitmq":
            return [] if external.broker is not None else [rabbitmq.start_rabbitmq(runtime, ports)]
        if external.broker is not None:
            claim_redis(external.broker, BROKER_VARIABLE)
            return []
        return start_valkeys(runtime, Process.BROKER, {"broker": ports["broker"]}, maxmemory_mb=None)

    return _in_parallel(runtime, [start_postgres, start_redis, start_broker])


def _in_parallel(runtime: RuntimeFolder, jobs: Sequence[Callable[[], list[Server]]]) -> list[Server]:
    """Run the jobs at once and join their results; when one fails, the others are told to give up."""
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as executor:
        futures = [executor.submit(job) for job in jobs]
        try:
            done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        except BaseException:
            runtime.cancelled.set()
            raise
        if any(future.exception() for future in done):
            runtime.cancelled.set()
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, StartCancelledError)):
        raise error
    return [server for future in futures for server in future.result()]
