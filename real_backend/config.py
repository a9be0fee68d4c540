"""What the API, the relay and the workers are told: one frozen value, passed as a JSON file.

The stack writes the file and names it in the environment variable `FEEDTWIN_BACKEND`; each process reads it once.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from model.spec.errors import MachineError
from model.spec.scenario import Scenario

CONFIG_VARIABLE = "FEEDTWIN_BACKEND"
"""Environment variable with the path of the JSON file."""

POST_CHANNEL = "feedtwin-posts"
"""The Redis stream, or the RabbitMQ queue, that carries new posts from the relay to the workers."""
CONSUMER_GROUP = "fanout"
"""The consumer group of the workers on that stream."""

BrokerKind = Literal["redis_streams", "rabbitmq"]
FanoutMode = Literal["push", "pull", "hybrid"]
RoutingMode = Literal["primary", "any", "read_your_writes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """Addresses, limits and policies of one running backend."""

    runtime_dir: str
    """Folder of this stack; ready files, telemetry and logs of the Python processes go there."""
    postgres_url: str
    """The primary, as a libpq URI."""
    standby_urls: tuple[str, ...]
    redis_urls: tuple[str, ...]
    """One `redis://` URL per shard; the position is the shard's number in `model.policy.sharding`."""
    broker_kind: BrokerKind
    broker_url: str

    database_pool: int
    """Connections of one API process to each PostgreSQL server."""
    request_timeout_s: float
    replica_poll_interval_s: float
    virtual_nodes: int
    """Points of each shard on the consistent-hash ring."""
    worker_batch_size: int
    """Followers per pipelined batch."""
    wait_per_batch_s: float
    relay_interval_s: float
    relay_batch_size: int

    fanout: FanoutMode
    celebrity_threshold_followers: int
    timeline_cap: int
    page_size: int
    replica_routing: RoutingMode

    freeze_gc: bool = False
    """Quiet rig: freeze the garbage collector's generations and switch collection off once the process is warm."""
    span_limit: int = 100_000
    """Spans kept in memory by one API process until `GET /spans` drains them; further ones are dropped."""

    @property
    def fanout_code(self) -> int:
        """The integer code of `fanout` in `model.policy.fanout`."""
        return get_args(FanoutMode).index(self.fanout)

    @property
    def routing_code(self) -> int:
        """The integer code of `replica_routing` in `model.policy.routing`."""
        return get_args(RoutingMode).index(self.replica_routing)

    @property
    def runtime_path(self) -> Path:
        return Path(self.runtime_dir)

    def ready_file(self, name: str) -> Path:
        """The empty file that the relay ("relay") or a worker ("worker0") makes once it consumes."""
        return self.runtime_path / f"ready-{name}"

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        *,
        runtime_dir: str | Path,
        postgres_url: str,
        standby_urls: tuple[str, ...],
        redis_urls: tuple[str, ...],
        broker_url: str,
        freeze_gc: bool = False,
    ) -> BackendConfig:
        """The configuration that `scenario` asks for, on the given servers."""
        platform, policies = scenario.platform, scenario.policies
        return cls(
            runtime_dir=str(runtime_dir),
            postgres_url=postgres_url,
            standby_urls=standby_urls,
            redis_urls=redis_urls,
            broker_kind=platform.broker.kind,
            broker_url=broker_url,
            database_pool=platform.api.database_pool,
            request_timeout_s=platform.api.request_timeout_s,
            replica_poll_interval_s=platform.api.replica_poll_interval_s,
            virtual_nodes=platform.redis.virtual_nodes,
            worker_batch_size=platform.workers.batch_size,
            wait_per_batch_s=platform.workers.wait_per_batch_s,
            relay_interval_s=platform.relay.interval_s,
            relay_batch_size=platform.relay.batch_size,
            fanout=policies.fanout,
            celebrity_threshold_followers=policies.celebrity_threshold_followers,
            timeline_cap=policies.timeline_cap,
            page_size=policies.page_size,
            replica_routing=policies.replica_routing,
            freeze_gc=freeze_gc,
        )

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path | None = None) -> BackendConfig:
        """Read the JSON file, by default the one that `FEEDTWIN_BACKEND` names.

        Raises MachineError when there is none or when it is not a configuration of this version.
        """
        chosen = path or os.environ.get(CONFIG_VARIABLE)
        if not chosen:
            raise MachineError(f"{CONFIG_VARIABLE} is not set; start the backend with 'feedtwin up'")
        try:
            document: dict[str, Any] = json.loads(Path(chosen).read_text(encoding="utf-8"))
            known = {field.name for field in fields(cls)}
            if unknown := sorted(set(document) - known):
                raise ValueError(f"unknown field {unknown[0]!r}")
            document["standby_urls"] = tuple(document["standby_urls"])
            document["redis_urls"] = tuple(document["redis_urls"])
            return cls(**document)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MachineError(f"{CONFIG_VARIABLE}={chosen}: not a backend configuration ({error})") from None
