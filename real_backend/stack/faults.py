"""Things that go wrong in the real servers, injected from outside: by setting, by signal, by command."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import psycopg
import redis

from model.spec.errors import MachineError
from model.spec.scenario import Fault, FaultKind
from model.spec.steps import Process
from real_backend.config import BackendConfig
from real_backend.stack.external import flush
from real_backend.stack.proc import tree
from real_backend.stack.runtime import Server


class Faults:
    """Injects and undoes faults; targets count from 0."""

    def __init__(self, config: BackendConfig, servers: Sequence[Server]) -> None:
        self._config = config
        self._workers = [server for server in servers if server.kind is Process.WORKER]
        self._active: set[tuple[FaultKind, int]] = set()

    def inject(self, fault: Fault) -> None:
        """Make the scenario's fault happen now."""
        match fault.kind:
            case FaultKind.STANDBY_DELAY:
                self.delay_standby(fault.target, fault.value)
            case FaultKind.STANDBY_PAUSE:
                self.pause_standby(fault.target)
            case FaultKind.WORKER_PAUSE:
                self.pause_worker(fault.target)
            case FaultKind.CACHE_FLUSH:
                self.flush_shard(fault.target)

    def undo(self, fault: Fault) -> None:
        """End the fault (a flushed cache stays flushed)."""
        self._undo(fault.kind, fault.target)

    def clear(self) -> None:
        """Undo every fault that is in effect."""
        for kind, target in sorted(self._active):
            self._undo(kind, target)

    def delay_standby(self, index: int, delay_s: float) -> None:
        """Let a standby replay each commit `delay_s` after it happened; 0 ends the delay."""
        if delay_s > 0:
            setting = f"SET recovery_min_apply_delay = '{round(delay_s * 1e3)}ms'"
        else:
            setting = "RESET recovery_min_apply_delay"
        self._on_standby(index, f"ALTER SYSTEM {setting}", "SELECT pg_reload_conf()")
        self._mark(FaultKind.STANDBY_DELAY, index, active=delay_s > 0)

    def pause_standby(self, index: int) -> None:
        """Stop a standby's replay; it goes on receiving."""
        self._on_standby(index, "SELECT pg_wal_replay_pause()")
        self._mark(FaultKind.STANDBY_PAUSE, index, active=True)

    def resume_standby(self, index: int) -> None:
        self._on_standby(index, "SELECT pg_wal_replay_resume()")
        self._mark(FaultKind.STANDBY_PAUSE, index, active=False)

    def pause_worker(self, index: int) -> None:
        """Stop a worker process by signal."""
        self._signal_worker(index, signal.SIGSTOP)
        self._mark(FaultKind.WORKER_PAUSE, index, active=True)

    def resume_worker(self, index: int) -> None:
        self._signal_worker(index, signal.SIGCONT)
        self._mark(FaultKind.WORKER_PAUSE, index, active=False)

    def flush_shard(self, index: int) -> None:
        """Drop all keys of a Redis shard."""
        with redis.Redis.from_url(self._config.redis_urls[index]) as client:
            flush(client)

    def _undo(self, kind: FaultKind, target: int) -> None:
        match kind:
            case FaultKind.STANDBY_DELAY:
                self.delay_standby(target, 0.0)
            case FaultKind.STANDBY_PAUSE:
                self.resume_standby(target)
            case FaultKind.WORKER_PAUSE:
                self.resume_worker(target)
            case FaultKind.CACHE_FLUSH:
                pass

    def _mark(self, kind: FaultKind, target: int, *, active: bool) -> None:
        (self._active.add if active else self._active.discard)((kind, target))

    def _on_standby(self, index: int, *statements: str) -> None:
        try:
            with psycopg.connect(self._config.standby_urls[index], autocommit=True) as connection:
                for statement in statements:
                    connection.execute(statement.encode())
        except psycopg.Error as error:
            raise MachineError(f"fault on standby{index}: {str(error).strip().splitlines()[0]}") from None

    def _signal_worker(self, index: int, number: signal.Signals) -> None:
        for pid in tree(self._workers[index].pid):
            os.kill(pid, number)
