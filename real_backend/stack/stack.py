"""The Stack: every server of the real backend, started together and gone together."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
import redis

from model.spec.errors import InputError, MachineError
from model.spec.scenario import Scenario
from model.spec.seed_tables import SeedTables
from model.spec.steps import Process
from real_backend.config import BackendConfig
from real_backend.stack import seeding, speedometer
from real_backend.stack.broker import empty_broker
from real_backend.stack.external import ExternalServers
from real_backend.stack.faults import Faults
from real_backend.stack.ports import assign_ports
from real_backend.stack.proc import tree
from real_backend.stack.python_processes import await_python_processes, launch_python_processes
from real_backend.stack.rig import SPEED_FILE, Rig
from real_backend.stack.runtime import RuntimeFolder, Server, log_tail
from real_backend.stack.stores import StackUrls, api_names, listening_names, start_stores
from real_backend.stack.usage import ProcessUsage, UsageMeter
from real_backend.stack.versions import server_versions

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PORT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One logical process of the backend: "api0", "redis0", "broker", "primary", "standby0", "relay", "worker0"."""

    kind: Process
    name: str
    pids: tuple[int, ...]
    """The process and its children, the root first."""


class Stack:
    """The real backend of one scenario, as a context manager.

    ``with Stack(scenario) as stack: stack.seed(tables); ...`` starts every server, and stops them and removes the
    runtime folder at the end, whatever ends it; a reaper does so even when this process is killed.
    """

    rig: Rig
    """Cores and priorities; set by `start`, as are the following."""
    urls: StackUrls
    config: BackendConfig
    """What the API, the relay and the workers were told."""
    faults: Faults
    startup_s: float
    """How long `start` took."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        runtime_dir: Path | None = None,
        on_progress: Callable[[str], None] | None = None,
        ports: Mapping[str, int] | None = None,
        code: Path | None = None,
        stores_only: bool = False,
    ) -> None:
        """`runtime_dir` must not exist (default: a fresh one in the temporary folder). `on_progress` gets short
        messages. `ports` asks for certain ports by process name ("api0"). `code` is the checkout whose
        `real_backend` (schema, API, relay and workers) is used, by default this one; with `stores_only` the last
        three do not start."""
        if scenario.platform.kind == "cluster":
            raise InputError("platform.kind is 'cluster', which only the model has; allowed here: backend")
        self.scenario = scenario
        self._runtime_dir = runtime_dir
        self._report = on_progress or (lambda _message: None)
        self._requested_ports = dict(ports or {})
        self._code = (code or PROJECT_ROOT).resolve()
        self._stores_only = stores_only
        self._runtime: RuntimeFolder | None = None
        self._servers: list[Server] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; returns once all of it serves. After an error nothing is left.

        Raises MachineError (a taken port, a server that does not come up, a missing package) or InputError.
        """
        started = time.perf_counter()
        platform = self.scenario.platform
        self.rig = Rig.plan(platform.rig)
        external = ExternalServers.from_environment(platform)
        names = listening_names(platform, external) + ([] if self._stores_only else api_names(platform))
        for attempt in range(PORT_ATTEMPTS):
            try:
                self._start(external, assign_ports(names, self._requested_ports))
                break
            except BaseException as error:
                self.stop()
                # Between finding a free port and listening on it, somebody else may have taken it.
                if attempt + 1 == PORT_ATTEMPTS or "address already in use" not in str(error).lower():
                    raise
        self.startup_s = time.perf_counter() - started

    def stop(self) -> None:
        """Stop everything and remove the runtime folder; harmless when repeated."""
        if self._runtime is not None:
            self._runtime.close()
        self._runtime, self._servers = None, []

    def seed(self, seed: SeedTables) -> None:
        """Fill the stores; post ages count from now."""
        now_ns = time.time_ns() // 1_000 * 1_000
        self._report("seeding PostgreSQL")
        lsn = seeding.seed_database(self.config, seed, now_ns)
        self._report("seeding Redis")
        seeding.seed_caches(self.config, seed, now_ns, lsn)

    def reset(self, seed: SeedTables) -> None:
        """Back to the freshly seeded state: faults undone, broker emptied, stores seeded anew. The processes go on.

        Call it when nothing is in flight.
        """
        self.faults.clear()
        empty_broker(self.config)
        self.seed(seed)

    @property
    def processes(self) -> list[ProcessInfo]:
        """The processes that this stack started, with their children as of now; external servers are not among them."""
        return [ProcessInfo(server.kind, server.name, tuple(tree(server.pid))) for server in self._servers]

    @property
    def runtime_dir(self) -> Path:
        return self.config.runtime_path

    def sample(self) -> dict[str, ProcessUsage]:
        """CPU time and wake-ups by process name since the start.

        Raises MachineError with the end of its log where a server has died.
        """
        self.check()
        return self._meter.sample()

    def speed_counts(self) -> tuple[int, float] | None:
        """(walks, CPU seconds) of the speedometer so far: their ratio is the core's speed. None where none runs."""
        return speedometer.read(self.runtime_dir / SPEED_FILE)

    def check(self) -> None:
        """Raise MachineError with the end of its log where a server has died."""
        for server in self._servers:
            if server.popen.poll() is not None:
                raise MachineError(f"{server.name} has died; the end of its log:\n{log_tail(server.log)}")

    @contextlib.contextmanager
    def blamed_for_errors(self) -> Iterator[None]:
        """Where something inside fails because a server has died, say that instead, as `check` does."""
        try:
            yield
        except (OSError, psycopg.Error, redis.RedisError):
            self.check()
            raise

    def versions(self) -> dict[str, str]:
        """Versions of the servers that answer, for a run's or a calibration's provenance."""
        return server_versions(self.config)

    def suspend(self) -> None:
        """Stop every process by signal, so that an idle stack uses no CPU; `resume` lets it go on."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended stack go on."""
        self._signal_all(signal.SIGCONT)

    def _start(self, external: ExternalServers, ports: Mapping[str, int]) -> None:
        platform = self.scenario.platform
        runtime = self._runtime = RuntimeFolder(self._runtime_dir)
        self.urls = StackUrls.of(platform, external, ports)
        self.config = BackendConfig.of(
            self.scenario,
            runtime_dir=runtime.path,
            postgres_url=self.urls.postgres,
            standby_urls=self.urls.standbys,
            redis_urls=self.urls.redis,
            broker_url=self.urls.broker,
            freeze_gc=self.rig.realtime,
        )
        config_path = runtime.path / "backend.json"
        self.config.save(config_path)
        schema = self._code / "real_backend" / "schema.sql"
        self._report("starting the stores and the broker")
        self._servers = start_stores(runtime, platform, external, ports, self.urls, schema=schema)
        if not self._stores_only:
            self._report("starting API, relay and workers")
            self._servers += launch_python_processes(runtime, platform, config_path, ports, code=self._code)
            await_python_processes(runtime, self._servers, self.config, ports)
        self.faults = Faults(self.config, self._servers)
        self.rig.apply(self._servers)
        self.rig.quieten(runtime)
        self._meter = UsageMeter({server.name: server.pid for server in self._servers})

    def _signal_all(self, number: signal.Signals) -> None:
        for server in self._servers:
            for pid in tree(server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
