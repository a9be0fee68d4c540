"""CPU time and wake-ups by role: like the stack's own meter, but PostgreSQL's processes told apart by their titles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.spec.steps import Process
from real_backend.stack import Stack
from real_backend.stack.usage import UsageMeter

BACKENDS, WAL_SENDER, REPLAY, OTHER = "backends", "wal_sender", "replay", "other"
_TITLES = {"walsender": WAL_SENDER, "startup": REPLAY, "walreceiver": REPLAY}
_HOUSEKEEPING = (
    "checkpointer", "background writer", "walwriter", "autovacuum", "logical replication", "io worker", "archiver",
    "logger",
)  # fmt: skip


@dataclass(frozen=True)
class RoleUsage:
    """Totals of one role since the meter began."""

    cpu_s: float
    wakes: float


class RoleMeter:
    """Reads usage by role: `api`, `redis`, `broker`, `relay`, `worker`, and for PostgreSQL `primary.backends`,
    `primary.wal_sender`, `primary.other`, `standby.backends`, `standby.replay`, `standby.other`.

    The processes are those that exist when the meter is made; connections are pooled, so none comes or goes.
    """

    def __init__(self, stack: Stack) -> None:
        self._roles: dict[str, str] = {}
        roots: dict[str, int] = {}
        for info in stack.processes:
            if info.kind in (Process.PRIMARY, Process.STANDBY):
                for pid in info.pids[1:]:
                    name = f"{info.name}:{pid}"
                    roots[name] = pid
                    self._roles[name] = f"{info.kind.value}.{postgres_role(pid)}"
            else:
                roots[info.name] = info.pids[0]
                self._roles[info.name] = info.kind.value
        self._meter = UsageMeter(roots)

    def sample(self) -> dict[str, RoleUsage]:
        """Usage of every role now, summed over its processes."""
        cpu: dict[str, float] = {}
        wakes: dict[str, float] = {}
        for name, usage in self._meter.sample().items():
            role = self._roles[name]
            cpu[role] = cpu.get(role, 0.0) + usage.cpu_s
            wakes[role] = wakes.get(role, 0.0) + usage.wakes
        return {role: RoleUsage(cpu[role], wakes[role]) for role in cpu}


def kind_of(role: str) -> Process:
    """The kind of process that plays a role."""
    return Process(role.partition(".")[0])


def postgres_role(pid: int) -> str:
    """What a PostgreSQL process does, by its title."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return OTHER
    title = title.replace("\0", " ").removeprefix("postgres: ").strip()
    for word, role in _TITLES.items():
        if title.startswith(word):
            return role
    return OTHER if title.startswith(_HOUSEKEEPING) else BACKENDS
