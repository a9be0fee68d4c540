"""The Scenario: what to run, validated once at the edge and frozen afterwards.

Every dimensional field carries its unit in its name (``_s``, ``_per_s``, ``_mb``). The same value drives the
model and the real backend; nothing else does.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from model.spec.cluster import MAX_FANOUT_TASKS, Cluster, ClusterStep
from model.spec.fields import Frozen as _Frozen
from model.spec.fields import NonNegative, Positive, Share

SCENARIO_VERSION = 1
MAX_EXPLICIT_USERS = 5_000_000
"""Accounts of whom each has a stored list of followers."""
MIN_IMPLICIT_USERS = 10_000
"""With fewer, the smallest class of an implicit population would be empty."""
MAX_IMPLICIT_SHARE = 0.5


class Endpoint(StrEnum):
    """The requests a client can send; the order is the integer code used in every array."""

    HOME_TIMELINE = "home_timeline"
    PROFILE = "profile"
    CREATE_POST = "create_post"
    REACT = "react"
    READ_POST = "read_post"

    @property
    def code(self) -> int:
        return ENDPOINTS.index(self)


ENDPOINTS: tuple[Endpoint, ...] = tuple(Endpoint)
CLUSTER_ENDPOINTS = (Endpoint.HOME_TIMELINE, Endpoint.CREATE_POST)
"""What a platform of kind `cluster` serves."""


class Population(_Frozen):
    """Who uses the platform, and what exists before the first request."""

    kind: Literal["explicit", "implicit"] = "explicit"
    """`explicit`: a list of followers for every account, at most 5 000 000 accounts. `implicit`: followers are computed
    and stored nowhere, from 10 000 accounts on; needs `platform.kind: cluster`."""
    users: Annotated[int, Field(ge=10, le=2_000_000_000)] = 2_000
    """Number of accounts; with `graph` set, the number of distinct accounts in the file decides instead."""
    graph: Path | None = None
    """An edge list to load instead of generating: one `follower followee` pair of integers a line, `#` comments.
    A relative path counts from the scenario's own folder, with --set from the working folder."""
    mean_followers: Positive = 40.0
    """Mean follower count of the generated graph."""
    follower_exponent: Annotated[float, Field(gt=1.5, le=5)] = 2.276
    """Exponent of the power law of follower counts (Kwak 2010)."""
    max_follower_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The most followed account is followed by this share of all accounts."""
    posts_per_user: NonNegative = 10.0
    """Mean number of seeded posts per account."""
    materialized_share: Share = 0.95
    """Share of accounts whose home timeline exists in Redis at the start; the others are rebuilt on first read."""
    cached_posts_share: Share = 1.0
    """Share of seeded posts, newest first, whose metadata hash is in Redis at the start."""

    @model_validator(mode="after")
    def _of_a_size_that_its_kind_can_have(self) -> Self:
        if self.kind == "explicit":
            if self.users > MAX_EXPLICIT_USERS:
                raise ValueError(
                    f"users is {self.users}; an explicit population has at most {MAX_EXPLICIT_USERS} accounts: "
                    "set kind to implicit"
                )
            return self
        if self.users < MIN_IMPLICIT_USERS:
            raise ValueError(
                f"users is {self.users}; an implicit population has at least {MIN_IMPLICIT_USERS} accounts"
            )
        if self.graph is not None:
            raise ValueError(
                f"graph is {str(self.graph)!r}; an implicit population is drawn from the seed: set kind to explicit"
            )
        if self.max_follower_share > MAX_IMPLICIT_SHARE:
            raise ValueError(
                f"max_follower_share is {self.max_follower_share:g}; in an implicit population at most "
                f"{MAX_IMPLICIT_SHARE:g}"
            )
        return self


class Mix(_Frozen):
    """Shares of the requests per endpoint; they sum to 1."""

    home_timeline: Share = 0.60
    """Read the home timeline of the user."""
    profile: Share = 0.12
    """Read an account and its newest posts."""
    create_post: Share = 0.06
    """Write a post."""
    react: Share = 0.08
    """React to a post."""
    read_post: Share = 0.14
    """Read one post."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(self.shares)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares sum to {total:g}; they must sum to 1")
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares in the order of `ENDPOINTS`."""
        return tuple(float(getattr(self, endpoint.value)) for endpoint in ENDPOINTS)


class RatePoint(_Frozen):
    """From `at_s` on, the offered rate is `factor` times `workload.rate_per_s`."""

    at_s: NonNegative
    """Since the start of the run."""
    factor: NonNegative
    """0 pauses the load."""


class Workload(_Frozen):
    """What the users do."""

    mode: Literal["open", "closed"] = "open"
    """`open`: arrivals at given instants. `closed`: `sessions` users who wait for the answer and then think."""
    rate_per_s: Positive = 300.0
    """Offered rate in open mode."""
    rate_profile: tuple[RatePoint, ...] = ()
    """Changes of the offered rate over time, each holding until the next; empty means constant."""
    burst_cv: NonNegative = 0.0
    """Coefficient of variation of the arrival rate between slots of 100 ms (gamma-modulated Poisson); 0 is Poisson."""
    sessions: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Concurrent users in closed mode."""
    think_time_s: Positive = 0.25
    """Mean think time in closed mode (exponential)."""
    mix: Mix = Mix()
    """What the requests are."""
    activity_exponent: NonNegative = 0.3
    """Posting rate grows as (followers + 1) to this power, so that who is followed also posts more."""
    popularity_exponent: NonNegative = 0.7
    """A profile or post is asked for in proportion to its author's (followers + 1) to this power."""
    popularity_half_life_s: Positive = 3_600.0
    """The rate at which a post is asked for halves with this age."""
    hot_post_share: Share = 0.0
    """Share of read_post and react requests that go to one single post (a hot key)."""

    @model_validator(mode="after")
    def _profile_in_order(self) -> Self:
        times = [point.at_s for point in self.rate_profile]
        if times != sorted(set(times)):
            raise ValueError(f"rate_profile: at_s must increase strictly, got {times}")
        return self


class Api(_Frozen):
    processes: Annotated[int, Field(ge=1, le=16)] = 1
    """Processes of the HTTP API; clients go round robin over them."""
    database_pool: Annotated[int, Field(ge=1, le=64)] = 8
    """Connections of one API process to each PostgreSQL server; a request waits when all are taken."""
    request_timeout_s: Positive = 10.0
    """The client gives up after this time; the abandoned work still burns capacity."""
    replica_poll_interval_s: Positive = 0.05
    """How often an API process asks each standby how far it has replayed."""


class Redis(_Frozen):
    shards: Annotated[int, Field(ge=1, le=64)] = 3
    """Redis servers that share the keys."""
    virtual_nodes: Annotated[int, Field(ge=1, le=1024)] = 128
    """Points of each shard on the consistent-hash ring."""
    maxmemory_mb: Annotated[int, Field(ge=16, le=16_384)] = 256
    """Of each shard; beyond it the least recently used keys are evicted. The model never evicts."""


class Postgres(_Frozen):
    standbys: Annotated[int, Field(ge=0, le=4)] = 2
    """Streaming replicas that answer reads."""
    fsync: bool = True
    """Whether a commit waits for the disk."""
    synchronous_commit: Literal["on", "off", "local", "remote_write", "remote_apply"] = "local"
    """What a commit waits for, as in PostgreSQL. The model waits for the local flush, whatever it is."""
    shared_buffers_mb: Annotated[int, Field(ge=16, le=8_192)] = 128
    """Of each PostgreSQL server."""
    checkpoint_timeout_s: Annotated[int, Field(ge=30, le=86_400)] = 900
    """By default longer than a run, so that no checkpoint falls into it."""
    max_wal_size_mb: Annotated[int, Field(ge=64, le=65_536)] = 2_048
    """As much WAL makes a checkpoint, and is kept for a standby that fell behind."""
    autovacuum: bool = False
    """Off by default so that two runs do the same housekeeping; runs here are shorter than a vacuum cycle."""


class Broker(_Frozen):
    kind: Literal["redis_streams", "rabbitmq"] = "redis_streams"
    """Redis Streams, or RabbitMQ: the server that FEEDTWIN_RABBITMQ_URL names, else the installed one."""


class Workers(_Frozen):
    processes: Annotated[int, Field(ge=1, le=16)] = 1
    """Fan-out workers; each handles one post at a time."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Followers pushed per pipelined batch."""
    wait_per_batch_s: NonNegative = 0.0
    """A declared wait after each batch (awaited, not spun), to make the workers the bottleneck honestly."""


class Relay(_Frozen):
    interval_s: Positive = 0.02
    """Pause between two polls of the outbox that found less than a full batch."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Messages moved to the broker at once, at most."""


class Rig(_Frozen):
    """How the real servers are laid out on the machine's cores, and what the model calls its hosts."""

    layout: Literal["together", "split"] = "together"
    """`together`: the whole backend on one core, the generator on the other. `split`: standbys and workers
    share the generator's core."""
    quiet: Literal["auto", "on", "off"] = "auto"
    """Real-time scheduling of the backend and of the kernel's block-layer workers, frozen garbage collector, an
    idle-priority spinner; `auto`: where permitted."""


class Platform(_Frozen):
    """The size and the settings of every part."""

    kind: Literal["backend", "cluster"] = "backend"
    """`backend`: the real backend's parts, sized by the other sections. `cluster`: of these only `cluster` and
    `api.request_timeout_s` count."""
    cluster: Cluster = Cluster()
    api: Api = Api()
    redis: Redis = Redis()
    postgres: Postgres = Postgres()
    broker: Broker = Broker()
    workers: Workers = Workers()
    relay: Relay = Relay()
    rig: Rig = Rig()


class Policies(_Frozen):
    """The decisions; each is a plain function in `model.policy`, called by the model and the backend alike."""

    fanout: Literal["push", "pull", "hybrid"] = "hybrid"
    """New posts are pushed to the followers' timelines, pulled by the readers, or either, depending on the author."""
    celebrity_threshold_followers: Annotated[int, Field(ge=0)] = 500
    """hybrid: authors with at least this many followers are not pushed; readers merge their posts in."""
    timeline_cap: Annotated[int, Field(ge=1, le=5_000)] = 200
    """Entries kept per home timeline."""
    page_size: Annotated[int, Field(ge=1, le=200)] = 20
    """Posts returned by one home timeline or profile read."""
    replica_routing: Literal["primary", "any", "read_your_writes"] = "read_your_writes"
    """`any`: a standby whatever its lag. `read_your_writes`: a standby only once it is known to have replayed
    the reader's own last commit, else the primary."""


class FaultKind(StrEnum):
    STANDBY_DELAY = "standby_delay"
    """Replay on `target` standby is delayed by `value` seconds (recovery_min_apply_delay)."""
    STANDBY_PAUSE = "standby_pause"
    """Replay on `target` standby stops (pg_wal_replay_pause)."""
    WORKER_PAUSE = "worker_pause"
    """Worker process `target` is stopped by signal."""
    CACHE_FLUSH = "cache_flush"
    """Redis shard `target` loses all keys at once (FLUSHALL); `duration_s` is 0."""


class Fault(_Frozen):
    """Something that goes wrong at `at_s` and is undone `duration_s` later."""

    kind: FaultKind
    """What goes wrong."""
    at_s: NonNegative
    """Since the start of the run."""
    duration_s: NonNegative = 0.0
    """How long it lasts."""
    target: Annotated[int, Field(ge=0)] = 0
    """Which standby, worker or shard, counted from 0."""
    value: NonNegative = 0.0
    """Seconds of delay, for `standby_delay`."""


class Slos(_Frozen):
    """What the platform promises; None means no promise."""

    latency_p99_s: Mapping[Endpoint, Positive] = {}
    """By endpoint; those that are not named have no objective."""
    delivery_p99_s: Positive | None = None
    """From a post's row, just before its commit, to its arrival in a timeline."""
    replica_lag_p99_s: Positive | None = None
    """How far a standby is behind."""


class Cost(_Frozen):
    """Prices per hour in any one currency."""

    api_process_per_h: NonNegative = 0.05
    """One API process."""
    redis_shard_per_h: NonNegative = 0.08
    """One Redis shard."""
    postgres_server_per_h: NonNegative = 0.20
    """One PostgreSQL server, primary or standby."""
    worker_process_per_h: NonNegative = 0.05
    """One worker process."""


class Scenario(_Frozen):
    """One scenario file, validated. Load with `Scenario.load`, vary with `scenario.with_`."""

    version: Literal[1] = 1
    """Of the format."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Lower-case letters, digits and hyphens."""
    question: str = ""
    """The question that the scenario answers, in one sentence."""
    description: str = ""
    """What to look at in the result."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Root of every random number: the population, the requests, the service times."""
    duration_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """How long requests are offered, the warm-up included."""
    warmup_s: NonNegative = 5.0
    """The first part of the run, served but not scored."""
    population: Population = Population()
    workload: Workload = Workload()
    platform: Platform = Platform()
    policies: Policies = Policies()
    faults: tuple[Fault, ...] = ()
    slos: Slos = Slos()
    cost: Cost = Cost()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warmup_s >= self.duration_s:
            raise ValueError(f"warmup_s is {self.warmup_s:g}; it must be less than duration_s ({self.duration_s:g})")
        sizes = {
            FaultKind.STANDBY_DELAY: (self.platform.postgres.standbys, "standbys"),
            FaultKind.STANDBY_PAUSE: (self.platform.postgres.standbys, "standbys"),
            FaultKind.WORKER_PAUSE: (self.platform.workers.processes, "workers"),
            FaultKind.CACHE_FLUSH: (self.platform.redis.shards, "Redis shards"),
        }
        for i, fault in enumerate(self.faults):
            size, what = sizes[fault.kind]
            if fault.target >= size:
                raise ValueError(f"faults.{i}.target is {fault.target}; the platform has {size} {what}, counted from 0")
            if fault.at_s + fault.duration_s > self.duration_s:
                raise ValueError(f"faults.{i} ends after duration_s ({self.duration_s:g})")
        if self.platform.kind == "cluster":
            self._check_cluster()
        elif self.population.kind == "implicit":
            raise ValueError(
                "population.kind is 'implicit', which the real backend cannot hold: set platform.kind to cluster"
            )
        return self

    def _check_cluster(self) -> None:
        """What a cluster can serve. Raises ValueError."""
        for endpoint in ENDPOINTS:
            share = getattr(self.workload.mix, endpoint.value)
            if share > 0 and endpoint not in CLUSTER_ENDPOINTS:
                raise ValueError(
                    f"workload.mix.{endpoint.value} is {share:g}; a cluster serves "
                    f"{' and '.join(CLUSTER_ENDPOINTS)}, so it must be 0"
                )
        if self.workload.mode == "closed":
            raise ValueError("workload.mode is 'closed'; requests to a cluster are open")
        if self.policies.fanout == "pull":
            raise ValueError("policies.fanout is 'pull'; in a cluster 'push' and 'hybrid' are allowed")
        if self.faults:
            raise ValueError(f"faults has {len(self.faults)} entries; a cluster has none: use a control process")
        if missing := [step.value for step in ClusterStep if step not in self.platform.cluster.costs]:
            raise ValueError(f"platform.cluster.costs.{missing[0]} is required")
        cluster, share = self.platform.cluster, self.population.max_follower_share
        tasks = math.ceil(share * self.population.users / cluster.followers_per_task)
        if tasks > MAX_FANOUT_TASKS:
            raise ValueError(
                f"platform.cluster.followers_per_task is {cluster.followers_per_task}; a post of the most followed "
                f"account would make {tasks} tasks, at most {MAX_FANOUT_TASKS} are allowed"
            )

    @classmethod
    def load(cls, source: str | Path, overrides: Mapping[str, Any] | None = None) -> Scenario:
        """Read a scenario from a YAML file, or a shipped one by name ("baseline").

        `overrides` maps dotted paths to values. Raises InputError naming file, field, value and what is allowed.
        """
        from model.spec.load import load_scenario

        return load_scenario(source, overrides or {})

    def with_(self, overrides: Mapping[str, Any] | None = None, **sections: Any) -> Scenario:
        """A validated copy: dotted paths in `overrides`, or keywords with `__` for the dot
        (``workload__rate_per_s=200``)."""
        from model.spec.load import override_scenario

        return override_scenario(self, {**(overrides or {}), **{k.replace("__", "."): v for k, v in sections.items()}})

    @property
    def is_steady(self) -> bool:
        """Whether platform and load are the same from beginning to end: no fault, no change of the rate."""
        factors = [point.factor for point in self.workload.rate_profile if point.at_s > 0]
        at_start = next((point.factor for point in self.workload.rate_profile if point.at_s == 0), 1.0)
        return not self.faults and all(factor == at_start for factor in factors)

    @property
    def digest(self) -> str:
        """A hash of everything that can change a result (names and prose are left out)."""
        content = self.model_dump(mode="json", exclude={"name", "question", "description"})
        if self.platform.kind == "backend":
            # As it was before there were clusters, so that calibrations and runs of then still belong to it.
            for section, field in (("population", "kind"), ("platform", "kind"), ("platform", "cluster")):
                del content[section][field]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
